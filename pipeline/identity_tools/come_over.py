"""How far a change of the tenant's key has come: who was met under the new one, and who not yet."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.core.keys import is_account
from pipeline.core.subject import Redirect, Subject


def come_over(held: Iterable[tuple[str, Subject]], since_ms: int) -> dict[str, dict[str, int]]:
    """Of profiles, aliases and accounts: all that are kept, those that came over since then, and the rest.

    What stays at a key that was taken over is none of them. Who was new then has come over too: nothing was known.
    """
    counts = {what: {"kept": 0, "come_over": 0, "earlier": 0} for what in ("profiles", "aliases", "accounts")}
    for key, state in held:
        rotation = state.rotation
        if rotation is not None and rotation.successor:
            continue
        one = counts["accounts" if is_account(key) else "aliases" if isinstance(state, Redirect) else "profiles"]
        one["kept"] += 1
        one["come_over" if rotation is not None and rotation.taken and rotation.at_ms >= since_ms else "earlier"] += 1
    return counts

"""A handler's exception as a dead letter: one record's trouble is that record's alone.

What the letter says names the exception's type, where it was raised, and the release that was live; never its message,
which may quote what is personal. Notes on the exception (`Exception.add_note`) name the clause of the policy.
"""

from __future__ import annotations

import logging
import time
import traceback
from pathlib import Path
from typing import Final

from pipeline.core.keys import tenant_of
from pipeline.flow import Context, DeadLetter, Reason

log = logging.getLogger(__name__)

#: The same trouble is logged once in so many seconds; every record's own letter has it all the same.
LOG_EVERY_S: Final = 60.0

_PACKAGE: Final = Path(__file__).parents[1]

_logged: dict[str, float] = {}


def failed(flow: str, key: str, error: Exception, context: Context) -> DeadLetter:
    """The letter of a record whose handler raised. Its key's state is as it was before."""
    said = f"{type(error).__name__} at {_place(error)}; release {_release(key, context)}"
    notes = getattr(error, "__notes__", ())
    if notes:
        said += f"; {'; '.join(dict.fromkeys(notes))}"
    now_s = time.monotonic()
    if now_s - _logged.get(said, -LOG_EVERY_S) >= LOG_EVERY_S:
        _logged[said] = now_s
        log.error("flow %s: a record could not be handled and is a dead letter now: %s", flow, said)
        log.debug("its traceback", exc_info=error)
    return DeadLetter(
        Reason.FAILED,
        f"{said}: a defect of the engine, or a policy it should have refused; nothing was changed. Publish the release "
        "before it, or upgrade, then `nextbest dead-letters replay`",
    )


def _place(error: Exception) -> str:
    """File, line and function of our own innermost frame."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)] or frames
    if not ours:
        return "an unknown place"
    last = ours[-1]
    return f"{Path(last.filename).name}:{last.lineno} in {last.name}"


def _release(key: str, context: Context) -> str:
    live = context.live(tenant_of(key)) if "/" in key else None
    return live.release if live is not None else "none"

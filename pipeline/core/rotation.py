"""The key of the identifier hashes is changed: what is kept under a hash's earlier one comes over to it, once. Pure.

What is kept keeps its name where chance or an order goes by it (`profile.lasting_name`); all else is renamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from pipeline.core import merge
from pipeline.core.identity import key_of
from pipeline.core.keys import hash_of, tenant_of
from pipeline.core.model import Identifier
from pipeline.core.profile import Profile, Rotation, lasting_name
from pipeline.core.sections.section import changed
from pipeline.core.values import replaced

#: How many earlier hashes a profile remembers as its own: one forgotten is asked again, and says that it leads here.
TAKEN_MAX: Final = 8

_NONE: Final = Rotation()


def of(state: Profile | None) -> Rotation:
    """What became of the key so far."""
    return (None if state is None else state.rotation) or _NONE


def missing(key: str, earlier: Sequence[str], rotation: Rotation) -> list[str]:
    """The earlier hashes whose state is not here yet, those that were asked for it first."""
    own = hash_of(key)
    return [name for name in dict.fromkeys((*rotation.taking, *earlier)) if name != own and name not in rotation.taken]


def asking(state: Profile | None, key: str, names: Iterable[str]) -> Profile:
    """The profile that has asked these earlier hashes for what they keep."""
    rotation = of(state)
    return changed(state or Profile(profile_id=key),
                   rotation=replaced(rotation, taking=(*rotation.taking, *names)))


def led_here(state: Profile, name: str, now_ms: int) -> Profile:
    """The profile once an earlier hash is known to lead here."""
    return changed(state, rotation=_with(of(state), hash_of(state.profile_id), (name,), (), now_ms))


def redirect(key: str, successor: str, state: Profile | None) -> Profile:
    """What stays at a key that was taken over."""
    left = Profile(profile_id=key, alias_of=successor, rotation=Rotation(successor))
    if state is None:
        return left
    return changed(left, erased_at_ms=state.erased_at_ms, suppressed=state.suppressed)


def blank(state: Profile | None) -> bool:
    """Whether nothing is kept but what became of the key."""
    return state is None or changed(state, rotation=None) == Profile(profile_id=state.profile_id)


def arrived(state: Profile | None, given: Profile, key: str, name: str, now_ms: int) -> Profile:
    """What is at a key once the state of an earlier hash has come and nothing else was there: that state.

    `name`: the hash that was asked; what it had was perhaps at another one by then.
    """
    kept = of(given)
    names = tuple(dict.fromkeys((hash_of(given.profile_id), *kept.taken, name)))
    rotation = _with(of(state), hash_of(key), names, kept.taking, now_ms)
    if state is not None and not blank(state):
        return changed(state, rotation=rotation)
    first = "" if blank(given) else lasting_name(given)
    return changed(renamed(given, key), rotation=replaced(rotation, first=first))


def joined(state: Profile, given: Profile, now_ms: int) -> Profile:
    """Two states of one identifier, kept beside each other under two of its hashes. An account's version goes on."""
    one = merge.merged(state, renamed(given, state.profile_id), "", now_ms)
    return changed(one, version=max(state.version, given.version), leases=max(state.leases, given.leases))


def renamed(state: Profile, key: str) -> Profile:
    """The state as that of another key of the same identifier."""
    links = {hash_of(key) if name == hash_of(state.profile_id) else name: link for name, link in state.links.items()}
    return changed(state, profile_id=key, links=links)


def is_own(name: str, key: str, state: Profile | None) -> bool:
    """Whether a key is this one, or one that leads here since the key of the hashes was changed."""
    return name == key or hash_of(name) in of(state).taken


def named(state: Profile, claimed: Identifier) -> Rotation | None:
    """What a state that is given up says of its key, `claimed` perhaps by a newer name: who takes it goes by that."""
    key, known = state.profile_id, of(state)
    newer = key_of(tenant_of(key), claimed) if hash_of(key) in claimed.earlier else ""
    if state.rotation is None and not newer:
        return None
    return Rotation(newer, (), known.taken, known.first, known.at_ms)


def brought(given: Profile) -> Identifier:
    """The identifier that a given-up state was kept under, by the name that `named` says."""
    known, own = of(given), hash_of(given.profile_id)
    newest = hash_of(known.successor) or own
    return Identifier("", newest, [name for name in (own, *known.taken) if name != newest])


def _with(
    rotation: Rotation, own: str, taken: Sequence[str], taking: Sequence[str], now_ms: int
) -> Rotation:
    known = tuple(name for name in dict.fromkeys((*rotation.taken, *taken)) if name != own)[-TAKEN_MAX:]
    left = tuple(name for name in dict.fromkeys((*rotation.taking, *taking)) if name not in (own, *taken, *known))
    return Rotation("", left, known, rotation.first, now_ms)

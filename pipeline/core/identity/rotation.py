"""The key of the identifier hashes is changed: what is kept under a hash's earlier one comes over to it, once. Pure.

What is kept keeps its name where random draws or an order go by it (`profile.lasting_name`); all else is renamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from pipeline.core.identity import merge
from pipeline.core.identity.identifiers import key_of
from pipeline.core.keys import hash_of, tenant_of
from pipeline.core.model.records import Identifier
from pipeline.core.model.values import replaced
from pipeline.core.sections.section import changed
from pipeline.core.subject import Account, Erased, Person, Redirect, Rotation, Subject, blank

#: How many earlier hashes a profile remembers as its own: one forgotten is asked again, and says that it leads here.
TAKEN_MAX: Final = 8

_NONE: Final = Rotation()
_S = TypeVar("_S", Person, Account)
_T = TypeVar("_T", bound=Subject)


def of(state: Subject | None) -> Rotation:
    """What became of the key so far."""
    return (None if state is None else state.rotation) or _NONE


def missing(key: str, earlier: Sequence[str], rotation: Rotation) -> list[str]:
    """The earlier hashes whose state is not here yet, those that were asked for it first."""
    own = hash_of(key)
    return [name for name in dict.fromkeys((*rotation.taking, *earlier)) if name != own and name not in rotation.taken]


def asking(state: Subject | None, key: str, names: Iterable[str]) -> Subject:
    """The state that has asked these earlier hashes for what they keep."""
    rotation = of(state)
    return changed(state or blank(key),
                   rotation=replaced(rotation, taking=(*rotation.taking, *names)))


def led_here(state: Subject, name: str, now_ms: int) -> Subject:
    """The state once an earlier hash is known to lead here."""
    return changed(state, rotation=_with(of(state), hash_of(state.profile_id), (name,), (), now_ms))


def redirect(key: str, successor: str, state: Subject | None) -> Redirect | Erased:
    """What stays at a key that was taken over."""
    if isinstance(state, Erased):
        return Erased(profile_id=key, at_ms=state.at_ms, rotation=Rotation(successor))
    return Redirect(profile_id=key, to=successor, rotation=Rotation(successor))


def is_blank(state: Subject | None) -> bool:
    """Whether nothing is kept but what became of the key."""
    return state is None or changed(state, rotation=None) == blank(state.profile_id)


def arrived(state: Subject | None, given: Subject, key: str, name: str, now_ms: int) -> Subject:
    """What is at a key once the state of an earlier hash has come and nothing else was there: that state.

    `name`: the hash that was asked; what it had was perhaps at another one by then.
    """
    kept = of(given)
    names = tuple(dict.fromkeys((hash_of(given.profile_id), *kept.taken, name)))
    rotation = _with(of(state), hash_of(key), names, kept.taking, now_ms)
    if state is not None and not is_blank(state):
        return changed(state, rotation=rotation)
    first = "" if is_blank(given) else kept.first or given.profile_id
    return changed(renamed(given, key), rotation=replaced(rotation, first=first))


def joined(state: _S, given: _S, now_ms: int) -> _S:
    """Two states of one identifier, kept beside each other under two of its hashes."""
    return merge.merged(state, renamed(given, state.profile_id), "", now_ms)


def renamed(state: _T, key: str) -> _T:
    """The state as that of another key of the same identifier."""
    if not isinstance(state, Person | Redirect):
        return changed(state, profile_id=key)
    links = {hash_of(key) if name == hash_of(state.profile_id) else name: link for name, link in state.links.items()}
    return changed(state, profile_id=key, links=links)


def is_own(name: str, key: str, state: Subject | None) -> bool:
    """Whether a key is this one, or one that leads here since the key of the hashes was changed."""
    return name == key or hash_of(name) in of(state).taken


def named(state: Person, claimed: Identifier) -> Rotation | None:
    """What a state that is given up says of its key, `claimed` perhaps by a newer name: who takes it goes by that."""
    key, known = state.profile_id, of(state)
    newer = key_of(tenant_of(key), claimed) if hash_of(key) in claimed.earlier else ""
    if state.rotation is None and not newer:
        return None
    return Rotation(newer, (), known.taken, known.first, known.at_ms)


def brought(given: Person) -> Identifier:
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

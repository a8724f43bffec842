"""Forgetting a subject: what is left of a profile, and what may bring a new one into being."""

from __future__ import annotations

from pipeline.core.keys import beside, hash_of
from pipeline.core.model.records import IdentityEvent
from pipeline.core.model.words import Basis
from pipeline.core.sections.links import CLAIMED, HELD
from pipeline.core.subject import SETTLE_TIMER, Erased, Person, Redirect, Subject


def erased(profile_id: str, now_ms: int, state: Subject | None = None) -> Erased:
    """All that stays: that the identifier's subject was erased, and when, and by which other hashes it is known. Due at
    once, so that what still waited to be sent about the subject is gone from the table too once it was."""
    return Erased(profile_id=profile_id, at_ms=now_ms, rotation=None if state is None else state.rotation,
                  timers={SETTLE_TIMER: now_ms})


def identifiers(profile_id: str, state: Subject | None, asked_about: str) -> list[str]:
    """Every identifier whose records are the subject's: the profile's own first.

    One that is claimed, without an answer yet, is not theirs; if it gives itself up after all, it is forgotten then.
    """
    links = state.links if isinstance(state, Person | Redirect) else {}
    linked = (beside(profile_id, name) for name, link in links.items()
              if link.outcome in HELD and link.outcome != CLAIMED)
    merged = state.merged if isinstance(state, Person) else ()
    return list(dict.fromkeys((profile_id, *merged, *linked, *names(profile_id, state), asked_about)))


def names(profile_id: str, state: Subject | None) -> list[str]:
    """One identifier under each of the tenant's keys: what was said about it under another one is encrypted there."""
    if state is None or isinstance(state, Erased) or state.rotation is None:
        return [profile_id]
    rotation = state.rotation
    successor = [rotation.successor] if rotation.successor else []
    return list(dict.fromkeys((profile_id, *(beside(profile_id, name) for name in rotation.taken), *successor)))


def outlived(state: Subject | None, given: Person) -> bool:
    """Whether a given-up profile arrives at one that was erased since it was claimed: it was the same subject's."""
    if not isinstance(state, Person) or state.erased_at_ms is None:
        return isinstance(state, Erased)
    link = state.links.get(hash_of(given.profile_id))
    return link is None or link.outcome not in HELD


def refused(state: Subject | None, at_ms: int) -> bool:
    """Whether what happened at that time may not be learnt any more."""
    if isinstance(state, Person):
        return state.erased_at_ms is not None and at_ms <= state.erased_at_ms
    return isinstance(state, Erased)


def erased_at_ms(state: Subject) -> int | None:
    """When everything about the subject was erased last; None: never, as far as is known here."""
    if isinstance(state, Person):
        return state.erased_at_ms
    return state.at_ms if isinstance(state, Erased) else None


def begins_again(state: Erased, event: IdentityEvent) -> bool:
    """Whether the subject came back: by a consent given after the erasure, not by an old one imported again."""
    return event.at_ms > state.at_ms and any(
        grant.granted and grant.basis is Basis.CONSENT and grant.at_ms > state.at_ms for grant in event.consent
    )


def reborn(state: Erased) -> Person:
    """A new profile that still knows what may not come back."""
    return Person(profile_id=state.profile_id, erased_at_ms=state.at_ms, rotation=state.rotation)

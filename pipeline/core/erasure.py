"""Forgetting a subject: what is left of a profile, and what may bring a new one into being."""

from __future__ import annotations

from pipeline.core.keys import beside, hash_of
from pipeline.core.model import IdentityEvent
from pipeline.core.profile import Profile
from pipeline.core.sections.links import CLAIMED, HELD
from pipeline.core.words import Basis


def erased(profile_id: str, now_ms: int, state: Profile | None = None) -> Profile:
    """All that stays: that the identifier's subject was erased, and when, and by which other hashes it is known. Due at
    once, so that what still waited to be sent about the subject is gone from the table too once it was."""
    rotation = None if state is None else state.rotation
    successor = None if rotation is None else rotation.successor or None
    return Profile(profile_id=profile_id, alias_of=successor, erased_at_ms=now_ms, suppressed=True,
                   segments_due_ms=now_ms, rotation=rotation)


def identifiers(profile_id: str, profile: Profile | None, asked_about: str) -> list[str]:
    """Every identifier whose records are the subject's: the profile's own first.

    One that is claimed, without an answer yet, is not theirs; if it gives itself up after all, it is forgotten then.
    """
    if profile is None:
        return list(dict.fromkeys((profile_id, asked_about)))
    linked = (beside(profile_id, name) for name, link in profile.links.items()
              if link.outcome in HELD and link.outcome != CLAIMED)
    other = names(profile_id, profile)
    return list(dict.fromkeys((profile_id, *profile.merged, *linked, *other, asked_about)))


def names(profile_id: str, profile: Profile | None) -> list[str]:
    """One identifier under each of the tenant's keys: what was said about it under another one is encrypted there."""
    rotation = None if profile is None or profile.suppressed else profile.rotation
    if rotation is None:
        return [profile_id]
    successor = [rotation.successor] if rotation.successor else []
    return list(dict.fromkeys((profile_id, *(beside(profile_id, name) for name in rotation.taken), *successor)))


def outlived(profile: Profile | None, given: Profile) -> bool:
    """Whether a given-up profile arrives at one that was erased since it was claimed: it was the same subject's."""
    if profile is None or profile.erased_at_ms is None:
        return False
    link = profile.links.get(hash_of(given.profile_id))
    return profile.suppressed or link is None or link.outcome not in HELD


def refused(profile: Profile | None, at_ms: int) -> bool:
    """Whether what happened at that time may not be learnt any more."""
    if profile is None or profile.erased_at_ms is None:
        return False
    return profile.suppressed or at_ms <= profile.erased_at_ms


def begins_again(profile: Profile, event: IdentityEvent) -> bool:
    """Whether the subject came back: by a consent given after the erasure, not by an old one imported again."""
    since_ms = profile.erased_at_ms or 0
    return event.at_ms > since_ms and any(
        grant.granted and grant.basis is Basis.CONSENT and grant.at_ms > since_ms for grant in event.consent
    )


def reborn(profile: Profile) -> Profile:
    """A new profile that still knows what may not come back."""
    return Profile(profile_id=profile.profile_id, erased_at_ms=profile.erased_at_ms, rotation=profile.rotation)

"""A merge undone: what one profile had from another is taken out of it again, exactly once. What cannot be told apart
stays (docs/identity.md).
"""

from __future__ import annotations

from collections import Counter as Multiset
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pipeline.core import sessions
from pipeline.core.links import HELD, UNMERGED, hash_of, settled
from pipeline.core.merge import substantial
from pipeline.core.profile import TIMESTAMPS_MAX, Counter, Merge, Profile, changed
from pipeline.core.values import replaced
from pipeline.core.words import ConsentGrant

_T = TypeVar("_T")


def contains(profile: Profile, given: Profile, event_id: str, name: str) -> bool:
    """Whether this very merge is in the profile; of an identifier that brought nothing: whether it is there.

    `name`: the hash by which the profile's links know it.
    """
    if not substantial(given):
        link = profile.links.get(name)
        return link is not None and link.outcome in HELD
    merge = profile.merged.get(given.profile_id)
    return merge is not None and merge.event_id == event_id


def without(profile: Profile, given: Profile, at_ms: int, name: str) -> Profile:
    """The profile without what it had from the given-up one. Segments are the caller's to compute again.

    `at_ms`: when it was undone; events from before then join the two no more. `name`: as the profile's links know it.
    """
    merge = profile.merged.get(given.profile_id, Merge("", 0))
    ledger = {key: _less(one, given, merge) for key, one in profile.merged.items()
              if key != given.profile_id and key not in given.merged}
    links = dict(profile.links)
    for hash_, link in given.links.items():
        if link.outcome in HELD and hash_ not in (name, hash_of(given.profile_id), hash_of(profile.profile_id)):
            links.pop(hash_, None)
    after = changed(
        profile,
        traits=_restored(profile.traits, given.traits, merge.displaced),
        accounts=_restored(profile.accounts, given.accounts, merge.accounts),
        consent=_answers(profile.consent, given.consent, merge.consent),
        stages=tuple(stage for stage in profile.stages if stage not in given.stages),
        behaviour=_behaviour(profile.behaviour, given.behaviour),
        counters=_counters(profile.counters, given.counters),
        merged=ledger,
        links=links,
        segments_release="",
    )
    return settled(after, name, UNMERGED, at_ms=at_ms)


def returned(given: Profile, holder: Profile) -> Profile:
    """What the identifier gets back: its state as it was, with every refusal that was given to the whole since, and
    with what the whole knows of repeats."""
    consent = dict(given.consent)
    for key, answer in holder.consent.items():
        known = consent.get(key)
        if not answer.granted and (known is None or answer.at_ms > known.at_ms):
            consent[key] = answer
    return changed(given, consent=consent, event_ids=given.event_ids.beside(holder.event_ids), segments_release="",
                   sessions=sessions.merged(given.sessions, holder.sessions))


def _answers(
    own: Mapping[str, ConsentGrant], given: Mapping[str, ConsentGrant], displaced: Mapping[str, ConsentGrant]
) -> dict[str, ConsentGrant]:
    """Without the permissions that came from the other side, with what they had put out of force. Refusals stay."""
    result = dict(own)
    for key, answer in own.items():
        if answer.granted and answer == given.get(key):
            del result[key]
            if key in displaced:
                result[key] = displaced[key]
    return result


def _less(merge: Merge, given: Profile, undone: Merge) -> Merge:
    """A later merge that put out of force what the undone one had brought: that is nothing to go back to any more."""
    return replaced(merge, displaced=_restored(merge.displaced, given.traits, undone.displaced),
                   accounts=_restored(merge.accounts, given.accounts, undone.accounts),
                   consent=_answers(merge.consent, given.consent, undone.consent))


def _restored(own: Mapping[str, _T], given: Mapping[str, _T], displaced: Mapping[str, _T]) -> dict[str, _T]:
    """Without what came from the other side, with what that had put out of force."""
    result = {}
    for name, value in own.items():
        if value != given.get(name):
            result[name] = value
        elif name in displaced:
            result[name] = displaced[name]
    return result


def _behaviour(
    own: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    result = {}
    for key, timestamps in own.items():
        left = _minus(timestamps, given.get(key, ()))
        if left:
            result[key] = left
    return result


def _counters(own: Mapping[str, Counter], given: Mapping[str, Counter]) -> dict[str, Counter]:
    result = dict(own)
    for key, other in given.items():
        mine = own.get(key)
        if mine is None:
            continue
        # Where timestamps were forgotten, those that are left may be too few: then none goes.
        full = len(mine.times) >= TIMESTAMPS_MAX
        left = Counter(mine.times if full else _minus(mine.times, other.times), max(0, mine.total - other.total),
                       {name: until for name, until in mine.held.items() if name not in other.held})
        if left.total or left.held or left.times:
            result[key] = left
        else:
            del result[key]
    return result


def _minus(timestamps: Iterable[int], less: Iterable[int]) -> tuple[int, ...]:
    left = Multiset(less)
    result = []
    for moment in timestamps:
        if left[moment] > 0:
            left[moment] -= 1
        else:
            result.append(moment)
    return tuple(result)

"""Two profiles of one subject become one: counters add up, nothing resets, nothing counts twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core import accounts, answers, caps, links, sessions
from pipeline.core.identity_rules import MERGES_MAX
from pipeline.core.profile import (
    REQUESTS_MAX,
    STAGES_MAX,
    Merge,
    Profile,
    Remembered,
    Trait,
    changed,
    newest,
)
from pipeline.core.words import Scalar


def newer_trait(old: Trait | None, new: Trait) -> Trait:
    """The value in force of two: the newest; at the same moment, the one that sorts last, so that order is nothing."""
    if old is None or (new.at_ms, _rank(new.value)) > (old.at_ms, _rank(old.value)):
        return new
    return old


def _rank(value: Scalar) -> tuple[str, str]:
    return type(value).__name__, repr(value)


def merged(own: Profile, given: Profile, event_id: str = "", now_ms: int = 0) -> Profile:
    """The winner's profile with everything the given-up one knew. Segments are the caller's to compute again."""
    traits = dict(own.traits)
    for name, trait in given.traits.items():
        traits[name] = newer_trait(traits.get(name), trait)
    said = answers.merged(own.consent, given.consent)
    # Also what both sides set alike: it stays when the merge is undone.
    displaced = {name: old for name, old in own.traits.items() if traits[name] == given.traits.get(name)}
    unsaid = {key: old for key, old in own.consent.items() if said[key] == given.consent.get(key)}
    members = accounts.merged(own.accounts, given.accounts)
    left = {key: member for key, member in own.accounts.items() if members.get(key) != member}
    return changed(
        own,
        traits=traits,
        accounts=members,
        consent=said,
        segments=_combined(own.segments, given.segments, min),
        stages=tuple(sorted({*own.stages, *given.stages}, key=lambda s: (s.entered_at_ms, s.name)))[-STAGES_MAX:],
        behaviour=_combined(own.behaviour, given.behaviour, newest),
        heard_ms=min(filter(None, (own.heard_ms, given.heard_ms)), default=0),
        counters=caps.merged(own.counters, given.counters),
        sessions=sessions.merged(own.sessions, given.sessions),
        suppressions=_combined(own.suppressions, given.suppressions, max),
        assignments={**given.assignments, **own.assignments},
        requests=_requests(own.requests, given.requests),
        event_ids=own.event_ids.beside(given.event_ids),
        merged=_ledger(own, given, Merge(event_id, now_ms, displaced, left, unsaid)),
        links=links.joined(own, given, now_ms),
        segments_release="",
        alias_clock=max(own.alias_clock, given.alias_clock),
    )


def substantial(given: Profile) -> bool:
    """Whether a given-up profile held anything but identifiers: what is empty leaves nothing to undo."""
    return bool(given.traits or given.consent or given.accounts or given.behaviour or given.counters
                or given.suppressions or given.assignments or given.requests or given.merged)


def _ledger(own: Profile, given: Profile, merge: Merge) -> dict[str, Merge]:
    ledger = {**given.merged, **own.merged}
    if substantial(given):
        ledger[given.profile_id] = merge
    ledger.pop(own.profile_id, None)
    if len(ledger) > MERGES_MAX:
        ledger = dict(sorted(ledger.items(), key=lambda entry: (entry[1].at_ms, entry[0]))[-MERGES_MAX:])
    return ledger


def _combined(a: Mapping[str, Any], b: Mapping[str, Any], both: Any) -> dict[str, Any]:
    return {**a, **{key: both(a[key], value) if key in a else value for key, value in b.items()}}


def _requests(a: Mapping[str, Remembered], b: Mapping[str, Remembered]) -> dict[str, Remembered]:
    everything = sorted({**b, **a}.items(), key=lambda entry: (entry[1].at_ms, entry[0]))
    return dict(everything[-REQUESTS_MAX:])

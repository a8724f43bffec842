"""Who is in which segment and lifecycle stage now, and what changed. Segments are computed in the order of what they
read. Pure: facts in, memberships out.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pipeline.core.features import windows
from pipeline.core.hashing import fraction
from pipeline.core.model.definitions import Lifecycle, Policy, Segment
from pipeline.core.model.moments import moment
from pipeline.core.model.records import Account
from pipeline.core.rules import facts as fact
from pipeline.core.rules import signals
from pipeline.core.rules.rule import passes
from pipeline.core.sections.lifecycle import STAGES_MAX, Stage
from pipeline.core.sections.section import changed
from pipeline.core.subject import SEGMENTS_TIMER, Person, timed

_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_QUARTER_MS: Final = 900_000
#: How long after the clock struck everybody has had a look.
_SPREAD_MS: Final = 60_000
_CLOCKS: Final = frozenset(("today", "local.hour", "local.minute", "local.weekday", "local.date"))
_NO_ITEM: Final[dict[str, Any]] = {}
_NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """A subject entered or left a segment; a lifecycle stage is the segment `lifecycle:<stage>`."""

    segment: str
    entered: bool


def stale(profile: Person, policy: Policy, now_ms: int, account: Account | None = None) -> bool:
    """Whether time, a new release or a change of the account may have changed any membership."""
    due = profile.timers.get(SEGMENTS_TIMER)
    return (
        profile.segments_release != policy.release or (due is not None and now_ms >= due)
        or (policy.account_segments and profile.segments_account != _version(account))
    )


def _version(account: Account | None) -> int:
    return 0 if account is None else account.version


def refresh(
    profile: Person, policy: Policy, now_ms: int, touched: Set[str] | None = _NOTHING,
    facts: dict[str, Any] | None = None, account: Account | None = None,
) -> tuple[Person, tuple[Change, ...]]:
    """The profile with its memberships as of now. `touched`: the paths that changed; None: look at every segment.

    `facts`, where given, are those of this profile at this moment; they are brought up to date in place.
    """
    everything = touched is None or stale(profile, policy, now_ms, account)
    paths: Set[str] = _NOTHING if touched is None else touched
    if not everything and not policy.timed and (not paths or paths.isdisjoint(policy.segment_reads)):
        return profile, ()
    known = fact.of_profile(profile, policy, now_ms, account) if facts is None else facts
    members, changes = _members(profile, policy, now_ms, None if everything else paths, known)
    stages = _stages(profile.stages, policy.lifecycle, known, now_ms, changes)
    if not everything and not paths and not changes:
        return profile, ()
    due = _due_ms(profile, policy, now_ms)
    seen = _version(account) if policy.account_segments else profile.segments_account
    if not changes and (due, policy.release, seen) == (
            profile.timers.get(SEGMENTS_TIMER), profile.segments_release, profile.segments_account):
        return profile, ()
    after = changed(profile, segments=members, stages=stages, segments_release=policy.release,
                    timers=timed(profile.timers, SEGMENTS_TIMER, due), segments_account=seen)
    return after, tuple(changes)


def _members(
    profile: Person, policy: Policy, now_ms: int, touched: Set[str] | None, facts: dict[str, Any]
) -> tuple[dict[str, int], list[Change]]:
    members = dict(profile.segments)
    changes: list[Change] = []
    moved: set[str] = set()
    if touched is None:
        for gone in [name for name in members if name not in policy.segment_paths]:
            del members[gone]
            changes.append(Change(gone, False))
    for segment in policy.segments:
        if touched is None or segment.rule.of_time or _reads(segment, touched) or (moved and _reads(segment, moved)):
            inside = passes(segment.rule, facts, _NO_ITEM)
            facts[segment.path] = inside
            if inside != (segment.id in members):
                moved.add(segment.path)
                changes.append(Change(segment.id, inside))
                if inside:
                    members[segment.id] = now_ms
                else:
                    del members[segment.id]
    if changes and "segments" in facts:
        facts["segments"] = tuple(sorted(members))
    return members, changes


def _reads(segment: Segment, paths: Set[str]) -> bool:
    return not segment.rule.reads.isdisjoint(paths)


def _stages(
    history: tuple[Stage, ...], lifecycle: Lifecycle, facts: dict[str, Any], now_ms: int, changes: list[Change]
) -> tuple[Stage, ...]:
    """The history with the stage the subject is in now: the last of the ordered stages whose rule passes."""
    if not lifecycle.stages:
        return history
    present = history[-1].name if history else ""
    reached = next((stage.name for stage in reversed(lifecycle.stages) if passes(stage.rule, facts, _NO_ITEM)), "")
    if reached in ("", present) or (lifecycle.forward_only and _goes_back(lifecycle, present, reached)):
        return history
    if present:
        changes.append(Change(f"lifecycle:{present}", False))
    changes.append(Change(f"lifecycle:{reached}", True))
    facts["lifecycle"] = reached
    return (*history[-STAGES_MAX + 1:], Stage(reached, now_ms))


def _goes_back(lifecycle: Lifecycle, present: str, reached: str) -> bool:
    order = [stage.name for stage in lifecycle.stages]
    return present in order and order.index(reached) < order.index(present)


def _due_ms(profile: Person, policy: Policy, now_ms: int) -> int | None:
    """When another look is due: exactly where a count's window ends, within the hour for rules that read the time, as
    the subject's clocks strike for those that read them, and daily, so that a new release reaches who does nothing.

    The moment in the hour and in the day is each subject's own, so that never everybody is due at once.
    """
    if not policy.segments and not policy.lifecycle.stages and not policy.journeys:
        return None
    own = fraction("look", profile.profile_id)
    dues = [_next(now_ms, _DAY_MS, int(own * _DAY_MS))]
    if policy.timed:
        dues.append(_next(now_ms, _HOUR_MS, int(own * _HOUR_MS)))
    clock_ms = _QUARTER_MS if "local.minute" in policy.segment_reads else _HOUR_MS
    if not _CLOCKS.isdisjoint(policy.segment_reads):
        ahead = moment(now_ms).astimezone(fact.zone_of(profile, policy)[1]).utcoffset() or timedelta(0)
        dues.append(_next(now_ms, clock_ms, int(own * _SPREAD_MS) - ahead // timedelta(milliseconds=1)))
    counted = signals.due_ms(policy.windowed, profile, now_ms)
    if policy.windowed_features:
        reading, zone = fact.reader(profile, policy, now_ms), fact.zone_of(profile, policy)[1]
        dues += [due for one in policy.windowed_features
                 if (due := windows.due_ms(one, reading.kept(one), profile.heard_ms, now_ms, zone)) is not None]
    return min(dues) if counted is None else min(counted, *dues)


def _next(now_ms: int, every_ms: int, offset_ms: int) -> int:
    return (now_ms - offset_ms) // every_ms * every_ms + every_ms + offset_ms

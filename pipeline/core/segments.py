"""Who is in which segment now, and what changed. Segments are computed in the order of what they read."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core import facts as fact
from pipeline.core import signals
from pipeline.core.definitions import Policy, Segment
from pipeline.core.profile import Profile, changed
from pipeline.core.rules import passes

_HOUR_MS: Final = 3_600_000
_NO_ITEM: Final[dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Change:
    """A subject entered or left a segment."""

    segment: str
    entered: bool


def stale(profile: Profile, policy: Policy, now_ms: int) -> bool:
    """Whether time or a new release alone may have changed a membership."""
    due = profile.segments_due_ms
    return profile.segments_release != policy.release or (due is not None and now_ms >= due)


def refresh(
    profile: Profile, policy: Policy, now_ms: int, touched: Set[str] | None
) -> tuple[Profile, tuple[Change, ...]]:
    """The profile with its memberships as of now. `touched`: the paths that changed; None: look at every segment."""
    if touched is None or stale(profile, policy, now_ms):
        touched = None
    elif not policy.timed and not any(_reads(segment, touched) for segment in policy.segments):
        return profile, ()
    facts = fact.of_profile(profile, policy, now_ms)
    moved: set[str] = set()
    members = dict(profile.segments)
    changes: list[Change] = []
    if touched is None:
        known = policy.segment_paths
        for gone in [name for name in members if name not in known]:
            del members[gone]
            changes.append(Change(gone, False))
    for segment in policy.segments:
        if touched is None or _reads(segment, touched) or _reads(segment, moved) or segment.rule.of_time:
            inside = passes(segment.rule, facts, _NO_ITEM)
            facts[segment.path] = inside
            if inside != (segment.id in members):
                moved.add(segment.path)
                changes.append(Change(segment.id, inside))
                if inside:
                    members[segment.id] = now_ms
                else:
                    del members[segment.id]
    due = _due_ms(profile, policy, now_ms)
    if not changes and due == profile.segments_due_ms and profile.segments_release == policy.release:
        return profile, ()
    return changed(profile, segments=members, segments_release=policy.release, segments_due_ms=due), tuple(changes)


def _reads(segment: Segment, paths: Set[str]) -> bool:
    return not segment.rule.reads.isdisjoint(paths)


def _due_ms(profile: Profile, policy: Policy, now_ms: int) -> int | None:
    windowed = frozenset().union(*(segment.windows for segment in policy.segments))
    due = signals.due_ms((one for one in policy.signals if one.path in windowed), profile.behaviour, now_ms)
    if policy.timed:
        hour = (now_ms // _HOUR_MS + 1) * _HOUR_MS
        due = hour if due is None else min(due, hour)
    return due

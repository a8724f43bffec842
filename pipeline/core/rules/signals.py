"""Behaviour remembered per subject: which events a signal is about, and what it says at a moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.core.model.definitions import Matcher, Policy, Signal
from pipeline.core.model.moments import moment
from pipeline.core.model.records import FeedbackEvent
from pipeline.core.sections.timestamps import TIMESTAMPS_MAX, appended
from pipeline.core.subject import Person

Behaviour = Mapping[str, tuple[int, ...]]


def matches(matcher: Matcher, event: FeedbackEvent, tags: Iterable[str]) -> bool:
    """Whether the event is one the matcher means; `tags` are those of the event's item."""
    return (
        (not matcher.kinds or event.kind in matcher.kinds)
        and (not matcher.names or event.name in matcher.names)
        and (not matcher.items or event.item_id in matcher.items)
        and (not matcher.placements or event.placement in matcher.placements)
        and (not matcher.channels or event.channel in matcher.channels)
        and (not matcher.tags or not matcher.tags.isdisjoint(tags))
    )


def recorded(
    policy: Policy, behaviour: Behaviour, event: FeedbackEvent, tags: Iterable[str], at_ms: int,
    merges: int = 0,
) -> tuple[
    dict[str, tuple[int, ...]] | None, set[str]
]:
    """The behaviour with the event added (None: no signal is about it), and the paths of the signals it touched.

    Kept is what the signal counts up to, once more for every merge that may be undone.
    """
    result: dict[str, tuple[int, ...]] | None = None
    touched: set[str] = set()
    for signal in policy.signals:
        matchers = signal.steps if signal.without is None else (*signal.steps, signal.without)
        for matcher, key in zip(matchers, signal.keys, strict=True):
            if matches(matcher, event, tags):
                result = dict(behaviour) if result is None else result
                result[key] = appended(result.get(key, ()), at_ms, min(signal.up_to * (1 + merges), TIMESTAMPS_MAX))
                touched.add(signal.path)
    return result, touched


def value(signal: Signal, profile: Person, now_ms: int) -> Any:
    """What the signal says now; None where it is unknown: nothing ever happened, for `last`, or some of what would
    count happened before the signal did, for the others."""
    behaviour = profile.behaviour
    if signal.kind == "count":
        count = least(signal, profile, now_ms)
        return count if count == signal.up_to or _whole(signal, profile, now_ms) else None
    if signal.kind == "last":
        timestamps = behaviour.get(signal.keys[0])
        return moment(timestamps[-1]) if timestamps else None
    happened = _happened(signal, [behaviour.get(key, ()) for key in signal.keys])
    if _whole(signal, profile, now_ms) or (happened and signal.without is None):
        return happened
    return None


def least(signal: Signal, profile: Person, now_ms: int) -> int:
    """How often a count has certainly happened."""
    return min(signal.up_to, _count(profile.behaviour.get(signal.keys[0], ()), signal.within_ms, now_ms))


def _whole(signal: Signal, profile: Person, now_ms: int) -> bool:
    """Whether nothing that the signal is about can have happened before it was counted."""
    if not profile.heard_ms or profile.heard_ms >= signal.since_ms:
        return True
    return signal.kind == "count" and signal.within_ms is not None and now_ms - signal.within_ms >= signal.since_ms


def _count(timestamps: tuple[int, ...], within_ms: int | None, now_ms: int) -> int:
    if not timestamps or within_ms is None or timestamps[0] > now_ms - within_ms:
        return len(timestamps)
    return sum(1 for at in timestamps if at > now_ms - within_ms)


def _happened(signal: Signal, timestamps: list[tuple[int, ...]]) -> bool:
    """Whether the steps happened in order, first to last within the window, and `without` did not come after the first.

    Tried from every first step; each further step takes the earliest moment that fits, which leaves the most room.
    """
    steps, barred = (timestamps, ()) if signal.without is None else (timestamps[:-1], timestamps[-1])
    for first in reversed(steps[0]):
        if barred and barred[-1] >= first:
            return False  # And so it came after every earlier one.
        last = _last_of(steps, first)
        if last is not None and (signal.within_ms is None or last - first <= signal.within_ms):
            return True
    return False


def _last_of(steps: list[tuple[int, ...]], first: int) -> int | None:
    """When the last step came, each as soon as it could after the one before; None where one never did."""
    at = first
    for step in steps[1:]:
        place = bisect_right(step, at)
        if place == len(step):
            return None
        at = step[place]
    return at


def due_ms(signals: Iterable[Signal], profile: Person, now_ms: int) -> int | None:
    """When time alone next changes a count: the moment its oldest counted event leaves the window, or its window has
    passed since it began to be counted."""
    due: int | None = None
    for signal in signals:
        if signal.kind == "count" and signal.within_ms is not None:
            begins = () if _whole(signal, profile, now_ms) else (signal.since_ms,)
            for at in (*begins, *profile.behaviour.get(signal.keys[0], ())):
                leaves = at + signal.within_ms
                if leaves > now_ms:
                    due = leaves if due is None else min(due, leaves)
                    break
    return due

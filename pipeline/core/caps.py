"""Frequency caps, exact: what counts, whether one more fits, when it fits again. Pure arithmetic on counters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Final

from pipeline.core import windows
from pipeline.core.definitions import Cap, CapUse, Item, Reach
from pipeline.core.profile import MOMENTS_MAX, Counter, appended, newest

EMPTY: Final = Counter()


def reaches(reach: Reach, item: Item, placement: str, channel: str) -> bool:
    """Whether an item shown there is what the cap is about."""
    return (
        (not reach.items or item.id in reach.items)
        and (not reach.kinds or item.kind in reach.kinds)
        and (not reach.tags or not reach.tags.isdisjoint(item.tags))
        and (not reach.campaigns or item.campaign in reach.campaigns)
        and (not reach.placements or placement in reach.placements)
        and (not reach.channels or channel in reach.channels)
    )


def uses(caps: tuple[Cap, ...], item: Item, placement: str, channel: str) -> tuple[CapUse, ...]:
    """The counters that an item shown there is held against."""
    return tuple(
        CapUse(cap, key, cap.id in item.bypass)
        for cap in caps if reaches(cap.reach, item, placement, channel)
        for key in keys(cap, item, placement, channel)
    )


def keys(cap: Cap, item: Item, placement: str, channel: str) -> tuple[str, ...]:
    """The counters of one cap: one per scope value; a tag cap has one per tag of the item."""
    if cap.scope == "item":
        return (f"{cap.id}|{item.id}",)
    if cap.scope == "tag":
        return tuple(f"{cap.id}|{tag}" for tag in item.tags if not cap.reach.tags or tag in cap.reach.tags)
    if cap.scope == "campaign":
        return (f"{cap.id}|{item.campaign}",) if item.campaign else ()
    return (f"{cap.id}|{placement if cap.scope == 'placement' else channel if cap.scope == 'channel' else ''}",)


def used(cap: Cap, counter: Counter, now_ms: int, zone: tzinfo) -> int:
    """How many places of the cap are taken now, reservations included."""
    held = sum(1 for until in counter.held.values() if until > now_ms) if counter.held else 0
    if cap.window.kind == "lifetime":
        return counter.total + held
    start = windows.start_ms(cap.window, now_ms, zone)
    if not counter.times or counter.times[-1] < start:
        return held
    return held + sum(1 for at in counter.times if at >= start)


def full(cap: Cap, counter: Counter | None, now_ms: int, zone: tzinfo) -> bool:
    """Whether one more would pass the limit."""
    return used(cap, counter or EMPTY, now_ms, zone) >= cap.limit


def free_at_ms(cap: Cap, counter: Counter, now_ms: int, zone: tzinfo) -> int | None:
    """When a full cap has room again if nothing more happens; None: never."""
    if cap.limit == 0:
        return None
    moments = [until for until in counter.held.values() if until > now_ms]
    if cap.window.kind == "rolling":
        moments += [at + cap.window.length_ms for at in counter.times if at + cap.window.length_ms > now_ms]
    elif cap.window.kind == "calendar":
        start, end = windows.bounds(cap.window, now_ms, zone)
        moments += [end for at in counter.times if at >= start]
    elif counter.total >= cap.limit:
        return None
    excess = used(cap, counter, now_ms, zone) - cap.limit
    return sorted(moments)[excess] if 0 <= excess < len(moments) else None


def kept(cap: Cap) -> int:
    """How many moments a counter keeps: what the limit can ask about."""
    return 0 if cap.window.kind == "lifetime" else min(cap.limit, MOMENTS_MAX)


def counted(cap: Cap, counter: Counter | None, at_ms: int) -> Counter:
    """The counter after one more."""
    old = counter or EMPTY
    return Counter(appended(old.times, at_ms, kept(cap)), old.total + 1, old.held)


def reserved(counter: Counter | None, holder: str, until_ms: int, now_ms: int) -> Counter:
    """The counter with a place held for a decision whose event has not come yet; run-out ones are given back."""
    old = counter or EMPTY
    held = {name: until for name, until in old.held.items() if until > now_ms}
    held[holder] = until_ms
    return Counter(old.times, old.total, held)


def settled(cap: Cap, counter: Counter | None, holder: str, at_ms: int) -> Counter:
    """The counter after the event came: the place held for its decision, if any, becomes a count."""
    old = counter or EMPTY
    held = {name: until for name, until in old.held.items() if name != holder} if holder in old.held else old.held
    return Counter(appended(old.times, at_ms, kept(cap)), old.total + 1, held)


def merged(a: Mapping[str, Counter], b: Mapping[str, Counter]) -> dict[str, Counter]:
    """Both sides' counters added up."""
    result = dict(a)
    for key, other in b.items():
        own = result.get(key)
        result[key] = other if own is None else Counter(
            newest(own.times, other.times), own.total + other.total, {**own.held, **other.held}
        )
    return result


def pruned(counters: Mapping[str, Counter], limits: Mapping[str, Cap], now_ms: int) -> dict[str, Counter]:
    """Without the counters that can no longer stop anything: no reservation, nothing within the longest look back."""
    return {key: one for key, one in counters.items() if _matters(one, limits.get(key.partition("|")[0]), now_ms)}


def _matters(counter: Counter, cap: Cap | None, now_ms: int) -> bool:
    if cap is None:
        return False
    if cap.window.kind == "lifetime" or any(until > now_ms for until in counter.held.values()):
        return True
    longest = cap.window.length_ms if cap.window.kind == "rolling" else _CALENDAR_MS[cap.window.unit] * cap.window.count
    return bool(counter.times) and counter.times[-1] > now_ms - longest


_DAY_MS: Final = 86_400_000
#: Never shorter than the calendar unit, changes of clocks and of zone included.
_CALENDAR_MS: Final = {
    "minute": 60_000, "hour": 2 * 3_600_000, "day": 3 * _DAY_MS, "week": 9 * _DAY_MS, "month": 33 * _DAY_MS,
}

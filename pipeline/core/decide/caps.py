"""Frequency caps, exact: what counts, whether one more fits, when it fits again. Pure arithmetic on counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Final

from pipeline.core.model.definitions import Cap, CapUse, Item, Reach, Suppression
from pipeline.core.model.values import replaced
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.timestamps import TIMESTAMPS_MAX, appended, newest

EMPTY: Final = Counter()
#: How long, and for how many decisions a counter, a reservation that ran out still tells where its item was shown.
LATE_MS: Final = 86_400_000
LATE_MAX: Final = 16
_ANY: Final[frozenset[str]] = frozenset()


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


def may_reach(reach: Reach, item: Item, placement: str, channel: str) -> bool:
    """As `reaches`, where a placement or channel that is not known ("") may be any."""
    somewhere = Reach(reach.items, reach.kinds, reach.tags, reach.campaigns, reach.placements if placement else _ANY,
                      reach.channels if channel else _ANY)
    return reaches(somewhere, item, placement, channel)


def uses(caps: tuple[Cap, ...], item: Item, placement: str, channel: str) -> tuple[CapUse, ...]:
    """The counters that an item shown there is held against."""
    return tuple(
        CapUse(cap, key, cap.id in item.bypass, weight, kept(cap), cap.limit - cap.weight_max)
        for cap in caps if reaches(cap.reach, item, placement, channel)
        and (weight := 1 if cap.weights is None else cap.weights.get(channel, 0))
        for key in keys(cap, item, placement, channel)
    )


def keys(cap: Cap | Suppression, item: Item, placement: str, channel: str) -> tuple[str, ...]:
    """The counters of one cap: one per value of its scope; a tag cap has one per tag of the item. What counts within a
    session is counted by channel."""
    scope = cap.scope
    where = f"|{channel}" if isinstance(cap, Cap) and cap.window.by_channel else ""
    if scope == "item":
        return (f"{cap.id}|{item.id}{where}",)
    if scope == "tag":
        return tuple(f"{cap.id}|{tag}{where}" for tag in item.tags if not cap.reach.tags or tag in cap.reach.tags)
    if scope == "campaign":
        return (f"{cap.id}|{item.campaign}{where}",) if item.campaign else ()
    return (f"{cap.id}|{placement if scope == 'placement' else channel if scope == 'channel' else ''}{where}",)


def taken(cap: Cap, counter: Counter, start_ms: int, now_ms: int) -> int:
    """How many places of the cap are taken, reservations included; `start_ms`: when its window began."""
    held = sum(1 for until in counter.held.values() if until > now_ms) if counter.held else 0
    if not cap.window.forgets:
        return counter.total + held
    times = counter.times
    if not times or times[-1] < start_ms:
        return held
    return held + (len(times) if times[0] >= start_ms else sum(1 for at in times if at >= start_ms))


def used(cap: Cap, counter: Counter, now_ms: int, zone: tzinfo) -> int:
    """As `taken`, for the window that holds now in the zone."""
    return taken(cap, counter, cap.window.start_ms(now_ms, zone), now_ms)


def holder(decision_id: str, item_id: str, placement: str, channel: str, at_ms: int) -> str:
    """Under which name a decision holds a place: it tells where the item was to be shown, and when it was decided."""
    return f"{decision_id}/{item_id}/{placement}/{channel}/{at_ms}"


def free_at_ms(
    cap: Cap, counter: Counter, now_ms: int, zone: tzinfo, weight: int = 1, pause_ms: int = 0
) -> int | None:
    """When a full cap has room again for a decision of this weight, if nothing more happens; None: never. `pause_ms`:
    what ends a session."""
    if weight > cap.limit:
        return None
    at_once_ms = cap.window.all_free_ms(now_ms, pause_ms)
    if at_once_ms is not None:
        return at_once_ms
    if not cap.window.forgets and counter.total >= cap.limit:
        return None
    timestamps = [until for until in counter.held.values() if until > now_ms]
    timestamps += cap.window.frees(counter.times, now_ms, zone)
    excess = used(cap, counter, now_ms, zone) + weight - 1 - cap.limit
    return sorted(timestamps)[excess] if 0 <= excess < len(timestamps) else None


def kept(cap: Cap, merges: int = 0) -> int:
    """How many timestamps a counter keeps: what the limit can ask about, once more per merge that may be undone."""
    return min(cap.limit * (1 + merges), TIMESTAMPS_MAX) if cap.window.forgets else 0


def counted(counter: Counter | None, at_ms: int, weight: int, keep: int) -> Counter:
    """The counter after so many more; it keeps no more timestamps than its limit can ask about."""
    old = counter or EMPTY
    if weight == 1:
        return Counter(appended(old.times, at_ms, keep), old.total + 1, old.held)
    return Counter(newest(old.times, (at_ms,) * min(weight, keep), keep=keep), old.total + weight, old.held)


def holds(cap: Cap, counter: Counter) -> int:
    """The most that may be taken of a cap, whatever its window says."""
    return (len(counter.times) if cap.window.forgets else counter.total) + len(counter.held)


def reserved(counter: Counter | None, holder: str, until_ms: int, now_ms: int) -> Counter:
    """The counter with a place held for a decision whose event has not come yet.

    Places that ran out are given back. Their names are kept for `LATE_MS`, the newest `LATE_MAX`: a late event still
    learns where the decision was shown.
    """
    old = counter or EMPTY
    held = old.held
    late = sorted(((until, name) for name, until in held.items() if until <= now_ms), reverse=True)
    if late:
        gone = {name for place, (until, name) in enumerate(late) if place >= LATE_MAX or until <= now_ms - LATE_MS}
        held = {name: until for name, until in held.items() if name not in gone}
    return Counter(old.times, old.total, {**held, holder: until_ms})


def held_on(counters: dict[str, Counter], now_ms: int, reported_ms: Callable[[], int]) -> dict[str, Counter]:
    """The counters with the places still held that ran out while what was reported in time waits to be read: it may
    say that they were used. The same mapping where there are none.

    :param reported_ms: up to when everything that was reported is known (epoch ms); asked only where a place ran out.
    """
    ran_out = [key for key, one in counters.items() if one.held and min(one.held.values()) <= now_ms]
    if not ran_out or (known_ms := reported_ms()) > now_ms:
        return counters
    longer = {}
    for key in ran_out:
        held = counters[key].held
        waiting = {name: now_ms + 1 for name, until in held.items() if known_ms <= until <= now_ms}
        if waiting:
            longer[key] = replaced(counters[key], held={**held, **waiting})
    return {**counters, **longer} if longer else counters


def settled(cap: Cap, counter: Counter | None, holders: tuple[str, ...], at_ms: int, merges: int = 0) -> Counter:
    """The counter after the event came: the first place held by one of the holders, if any, becomes a count, no earlier
    than its decision: what is shown was decided before, whatever the clock of who reports it says."""
    old = counter or EMPTY
    held = old.held
    for name in holders:
        if name in held:
            at_ms = max(at_ms, _decided_ms(name))
            held = {other: until for other, until in held.items() if other != name}
            break
    return Counter(appended(old.times, at_ms, kept(cap, merges)), old.total + 1, held)


def holders(
    counter: Counter | None, decision_id: str | None, item_id: str | None, placement: str = "", channel: str = ""
) -> tuple[str, ...]:
    """The reservations that an event may stand for, the newest first: of its item, and of its decision, placement and
    channel where it names them.
    """
    if counter is None or not counter.held or not item_id:
        return ()
    return tuple(name for _, name in sorted(((until, name) for name, until in counter.held.items()), reverse=True)
                 if _stands_for(name, decision_id, item_id, placement, channel))


def _stands_for(name: str, decision_id: str | None, item_id: str, placement: str, channel: str) -> bool:
    decision, at, where = _parts(name, item_id)
    return (
        bool(decision) and (not decision_id or decision == decision_id) and (not placement or at == placement)
        and (not channel or not where or where == channel)
    )


def _parts(name: str, item_id: str) -> tuple[str, str, str]:
    """Decision, placement and channel of a holder's name, empty where it is another item's."""
    decision, _, rest = name.partition("/")
    if not rest.startswith(f"{item_id}/"):
        return "", "", ""
    placement, channel = rest[len(item_id) + 1:].split("/")[:2]
    return decision, placement, channel


def _decided_ms(name: str) -> int:
    return int(name.rpartition("/")[2])


def shown_at(
    counters: Mapping[str, Counter], decision_id: str | None, item_id: str, placement: str
) -> tuple[str, str] | None:
    """Placement and channel at which a decision had the item shown, as its reservations remember: at the placement
    named, if it was shown there, else where it was shown last. None: nothing is remembered.
    """
    best: tuple[bool, int, str] | None = None
    for counter in counters.values():
        for name in holders(counter, decision_id, item_id):
            at = (_parts(name, item_id)[1] == placement, counter.held[name], name)
            best = at if best is None or at > best else best
    return None if best is None else _parts(best[2], item_id)[1:]


def bounded(
    counters: dict[str, Counter], limits: Mapping[str, Cap], suppressions: Mapping[str, Suppression], now_ms: int
) -> dict[str, Counter]:
    """The counters; past a number, without those that can no longer stop anything: no reservation, nothing within the
    longest look back. What can still stop something is never forgotten.
    """
    if len(counters) <= _COUNTERS_MAX:
        return counters
    return {key: one for key, one in counters.items()
            if _matters(key.partition("|")[0], one, limits, suppressions, now_ms)}


def _matters(
    name: str, counter: Counter, limits: Mapping[str, Cap], suppressions: Mapping[str, Suppression], now_ms: int
) -> bool:
    cap, suppression = limits.get(name), suppressions.get(name)
    if cap is None:
        return suppression is not None and bool(counter.times) and counter.times[-1] > now_ms - suppression.within_ms
    if not cap.window.forgets or any(until > now_ms for until in counter.held.values()):
        return True
    return bool(counter.times) and counter.times[-1] > now_ms - cap.window.look_back_ms


_COUNTERS_MAX: Final = 512

"""The stall seen by callers at each kill, and what it consists of: from the logs and the callers' own clocks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.chaos.calls import Asked
from tests.chaos.faults import Done
from tests.chaos.logs import Logs
from tests.chaos.plan import KILL
from topics.catalog import SUBJECT_PARTITIONS


@dataclass(frozen=True, slots=True)
class Stall:
    """One kill -9. Seconds from the kill; None where the load ended before."""

    worker: str
    at_ms: float
    partitions: list[int]
    #: The first partition has a new owner: the session ran out, the group shared the partitions out again.
    first_owner_s: float | None
    #: Every partition has one, its state brought up to date.
    all_owned_s: float | None
    #: Every partition has decided again, as its callers see it.
    all_decide_s: float | None
    #: Callers who were given the declared fallback meanwhile.
    fallbacks: int
    #: No other fault came in between, and the group had recovered from those before.
    alone: bool = True
    #: The group was told; else its session had to run out.
    told: bool = False


def stalls(done: Sequence[Done], asked: Sequence[Asked], logs: Logs) -> Iterator[Stall]:
    """What every kill cost."""
    decided = _sorted_by_partition(asked)
    announced: list[list[float]] = [[] for _ in range(SUBJECT_PARTITIONS)]
    for one in logs.announcements:
        announced[one.partition].append(float(one.at_ms))
    quiet_ms = 0.0
    for fault in sorted(done, key=lambda fault: fault.at_ms):
        owned = [_first_after(times, fault.at_ms) for times in announced]
        deciding = [None if at is None else _first_after(times, at) for times, at in zip(decided, owned, strict=True)]
        first, owned_by, deciding_by = _first(owned), _last(owned), _last(deciding)
        end_ms = deciding_by if deciding_by is not None else float("inf")
        meanwhile = any(fault.at_ms < at_ms < end_ms for other in done for at_ms in (other.at_ms, other.until_ms)
                        if other is not fault)
        if fault.kind == KILL:
            yield Stall(
                fault.worker, fault.at_ms, fault.partitions, _since(fault, first), _since(fault, owned_by),
                _since(fault, deciding_by),
                sum(not one.decided for one in asked if fault.at_ms <= one.due_ms < end_ms),
                alone=not meanwhile and fault.at_ms > quiet_ms and bool(fault.partitions), told=fault.told,
            )
        quiet_ms = max(quiet_ms, fault.until_ms, end_ms if end_ms != float("inf") else 0.0)


def summary(found: Sequence[Stall]) -> dict[str, Any]:
    """Medians and worst, of the kills that came alone, by whether the group was told, and of all."""

    def of(some: Sequence[Stall]) -> dict[str, Any]:
        figures: dict[str, Any] = {"kills": len(some), "fallbacks": sum(one.fallbacks for one in some)}
        for name in ("first_owner_s", "all_owned_s", "all_decide_s"):
            values = [value for one in some if (value := getattr(one, name)) is not None]
            figures[name] = {"median": round(median(values), 2), "max": round(max(values), 2)} if values else None
        return figures

    alone = [one for one in found if one.alone]
    return {
        "told": of([one for one in alone if one.told]), "untold": of([one for one in alone if not one.told]),
        "all": of(found),
    }


def _sorted_by_partition(asked: Sequence[Asked]) -> list[list[float]]:
    """When each partition's decided answers came."""
    found: list[list[float]] = [[] for _ in range(SUBJECT_PARTITIONS)]
    for one in asked:
        if one.decided:
            found[one.partition].append(one.at_ms)
    return [sorted(times) for times in found]


def _first_after(times: Sequence[float], at_ms: float) -> float | None:
    place = bisect_left(times, at_ms)
    return times[place] if place < len(times) else None


def _first(times: Sequence[float | None]) -> float | None:
    known = [at_ms for at_ms in times if at_ms is not None]
    return min(known, default=None)


def _last(times: Sequence[float | None]) -> float | None:
    known = [at_ms for at_ms in times if at_ms is not None]
    return max(known) if len(known) == len(times) else None


def _since(fault: Done, at_ms: float | None) -> float | None:
    return None if at_ms is None else (at_ms - fault.at_ms) / 1000

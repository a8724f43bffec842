"""From samples to figures. Percentiles are by nearest rank: values that were measured, nothing between them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.client import Result


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ascending values that at least `share` of them do not exceed. Raises ValueError for none."""
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(slots=True)
class Latency:
    """All rounds of one target at one rate."""

    target: str
    rate: int
    rounds: list[Result] = field(default_factory=list)
    #: Processor time (s) of each process over all rounds, warm-up included.
    used_s: dict[str, float] = field(default_factory=dict)
    #: How long the rounds took with warm-up.
    lasted_s: float = 0.0

    def summary(self) -> dict[str, Any]:
        """The figures over all rounds, and each round's p95 to see how steady they are."""
        latencies = sorted(ms for one in self.rounds for ms in one.latencies_ms)
        late = sorted(ms for one in self.rounds for ms in one.late_ms)
        if not latencies:
            return {"rate_per_s": self.rate, "requests": 0, "errors": summed(one.errors for one in self.rounds)}
        return {
            "rate_per_s": self.rate,
            "requests": len(latencies),
            "p50_ms": rounded(percentile(latencies, 0.50)),
            "p95_ms": rounded(percentile(latencies, 0.95)),
            "p99_ms": rounded(percentile(latencies, 0.99)),
            "max_ms": rounded(latencies[-1]),
            "rounds_p95_ms": [rounded(percentile(sorted(one.latencies_ms), 0.95)) for one in self.rounds],
            "errors": summed(one.errors for one in self.rounds),
            "reasons": summed(one.reasons for one in self.rounds),
            "fallbacks": summed(one.fallbacks for one in self.rounds),
            "client_late_p99_ms": rounded(percentile(late, 0.99)),
            "processor_shares": {name: round(used_s / self.lasted_s, 3) for name, used_s in self.used_s.items()},
        }


def summed(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Counts by name over all rounds."""
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total


def rounded(value: float) -> float:
    """Two decimals: more would be pretended."""
    return round(value, 2)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """The median of several runs, and all of them."""
    return {"median": round(statistics.median(values)), "runs": [round(value) for value in values]}


def ratio(over: float | None, under: float | None) -> float | None:
    """None where one of them was not measured."""
    return None if over is None or not under else rounded(over / under)

"""From samples to figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.client import Result
from bench.latencies import Latencies


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
        latencies = Latencies(ms for one in self.rounds for ms in one.latencies_ms)
        late = Latencies(ms for one in self.rounds for ms in one.late_ms)
        if not latencies.count:
            return {"rate_per_s": self.rate, "requests": 0, "errors": summed(one.errors for one in self.rounds)}
        return {
            "rate_per_s": self.rate,
            "requests": latencies.count,
            "p50_ms": rounded(latencies.percentile(50)),
            "p95_ms": rounded(latencies.percentile(95)),
            "p99_ms": rounded(latencies.percentile(99)),
            "max_ms": rounded(latencies.longest),
            "rounds_p95_ms": [rounded(Latencies(one.latencies_ms).percentile(95)) for one in self.rounds],
            "errors": summed(one.errors for one in self.rounds),
            "reasons": summed(one.reasons for one in self.rounds),
            "fallbacks": summed(one.fallbacks for one in self.rounds),
            "client_late_p99_ms": rounded(late.percentile(99)),
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

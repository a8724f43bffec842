"""How much is measured: the full run, and the quick one that only shows that the benchmark itself works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of one run. Rates are requests per second; each latency round measures every target once."""

    name: str
    #: The rate the figures are promised at, and a higher one beside it.
    rate: int
    rate_high: int | None
    rounds: int
    round_s: float
    warm_s: float
    #: Load through the bridge before the first round: Java compiles what it runs while it runs it.
    compile_s: float
    #: Profiles with consent and traits; latency and throughput have their own.
    subjects: int
    #: Requests of one throughput run, and runs of each side.
    requests: int
    runs: int
    quix: bool
    #: Whether plain Faust recovers the same changelog too.
    recovery_beside: bool

    @property
    def rates(self) -> tuple[int, ...]:
        """Every rate, the promised one first."""
        return (self.rate,) if self.rate_high is None else (self.rate, self.rate_high)


FULL: Final = Plan(
    "full", rate=200, rate_high=500, rounds=6, round_s=8.0, warm_s=2.0, compile_s=20.0, subjects=20_000,
    requests=40_000, runs=3, quix=True, recovery_beside=True,
)

#: Figures of so few requests mean nothing.
QUICK: Final = Plan(
    "quick", rate=100, rate_high=None, rounds=1, round_s=3.0, warm_s=1.0, compile_s=0.0, subjects=300, requests=1_500,
    runs=1, quix=False, recovery_beside=False,
)

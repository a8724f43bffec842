"""Latency quantiles and the interval of a share. Pure arithmetic.

Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

#: Two-sided 95 % of the normal distribution.
Z95: Final = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


def wilson(successes: float, trials: float) -> Interval:
    """Wilson's 95 % score interval of a proportion, 0 <= successes <= trials; [0, 1] where nothing was tried.

    Unlike the normal interval it never has width 0 and never leaves [0, 1], also for no click in 100 impressions.
    """
    if trials <= 0:
        return Interval(0.0, 1.0)
    rate = successes / trials
    spread = Z95 * Z95 / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * math.sqrt(max(0.0, rate * (1 - rate) / trials + spread / (4 * trials)))
    # At the ends the formula is exactly 0 or 1; rounding must not push the observed rate out of its own interval.
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    high = 1.0 if successes >= trials else min(1.0, centre + half)
    return Interval(low, high)


class Latencies:
    """Durations in a fixed space, whatever their number: quantiles are exact to 1 % of their value."""

    _GROWTH: Final = 1.01
    _SMALLEST_MS: Final = 0.01

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.max_ms = 0.0

    def add(self, ms: float) -> None:
        """Count one duration in milliseconds."""
        step = math.ceil(math.log(max(ms, self._SMALLEST_MS) / self._SMALLEST_MS, self._GROWTH))
        self._counts[step] = self._counts.get(step, 0) + 1
        self.count += 1
        self.max_ms = max(self.max_ms, ms)

    def quantile(self, share: float) -> float | None:
        """The smallest duration in ms that at least `share` (0 to 1) of all do not exceed; None where there is none."""
        if self.count == 0:
            return None
        seen, wanted = 0, max(1, math.ceil(share * self.count))
        for step in sorted(self._counts):
            seen += self._counts[step]
            if seen >= wanted:
                return min(self._SMALLEST_MS * self._GROWTH**step, self.max_ms)
        raise AssertionError("every duration is in a step")

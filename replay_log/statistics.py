"""The figures of a replay: latency quantiles, click rates with intervals, and the replay estimate. Pure arithmetic.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927);
L. Li, W. Chu, J. Langford, X. Wang, "Unbiased offline evaluation of contextual-bandit-based news article
recommendation algorithms", WSDM 2011; D. G. Horvitz, D. J. Thompson, "A generalization of sampling without
replacement from a finite universe", JASA 47 (1952); A. Swaminathan, T. Joachims, "The self-normalized estimator for
counterfactual learning", NIPS 2015; L. Kish, "Survey sampling" (1965), for the effective sample size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

#: Two-sided 95 % of the normal distribution.
Z95: Final = 1.959963984540054

#: Fewer clicks than this among the matches, and the normal interval of the IPS estimate says nothing.
CLICKS_FOR_NORMAL: Final = 10


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


@dataclass(frozen=True, slots=True)
class Estimate:
    """What our decisions would have earned, judged by a log of somebody else's decisions. None: cannot be said.

    `match_rate` is Li's replay estimate: clicks per row among the rows where our item is the logged one; unbiased where
    the logged policy chose uniformly. `ips` weighs each match with 1 / logged propensity; `snips` divides the same sum
    by the sum of the weights, and its interval is Wilson's at Kish's effective sample size.
    """

    rows: int
    matches: int
    match_clicks: int
    match_rate: float | None
    match_interval: Interval | None
    ips: float | None
    ips_interval: Interval | None
    snips: float | None
    snips_interval: Interval | None
    effective_matches: float | None
    logged_clicks: int
    logged_rate: float | None
    logged_interval: Interval | None


@dataclass(slots=True)
class Replayed:
    """Adds up the rows of one placement decision each. Rows must not be chosen by their outcome (clicked or not)."""

    rows: int = 0
    clicks: int = 0
    matches: int = 0
    match_clicks: int = 0
    without_propensity: int = 0
    _weights: float = 0.0
    _squares: float = 0.0
    _earned: float = field(default=0.0)
    _earned_squares: float = field(default=0.0)

    def add(self, matched: bool, clicked: bool, propensity: float | None) -> None:
        """One row: did we choose the logged item, was that clicked, and how likely was the logged policy to show it."""
        self.rows += 1
        self.clicks += clicked
        if propensity is None:
            self.without_propensity += 1
        if not matched:
            return
        self.matches += 1
        self.match_clicks += clicked
        if propensity is not None:
            weight = 1 / propensity
            self._weights += weight
            self._squares += weight * weight
            self._earned += weight * clicked
            self._earned_squares += weight * weight * clicked

    def estimate(self) -> Estimate:
        """The estimates so far."""
        weighed = self.rows > 0 and self.without_propensity == 0
        snips = self._earned / self._weights if weighed and self._weights > 0 else None
        effective = self._weights**2 / self._squares if snips is not None else None
        return Estimate(
            rows=self.rows,
            matches=self.matches,
            match_clicks=self.match_clicks,
            match_rate=self.match_clicks / self.matches if self.matches else None,
            match_interval=wilson(self.match_clicks, self.matches) if self.matches else None,
            ips=self._earned / self.rows if weighed else None,
            ips_interval=self._ips_interval() if weighed else None,
            snips=snips,
            snips_interval=None if snips is None or effective is None else wilson(snips * effective, effective),
            effective_matches=effective,
            logged_clicks=self.clicks,
            logged_rate=self.clicks / self.rows if self.rows else None,
            logged_interval=wilson(self.clicks, self.rows) if self.rows else None,
        )

    def _ips_interval(self) -> Interval | None:
        if self.match_clicks < CLICKS_FOR_NORMAL:
            return None
        mean = self._earned / self.rows
        variance = max(0.0, self._earned_squares / self.rows - mean * mean) * self.rows / (self.rows - 1)
        half = Z95 * math.sqrt(variance / self.rows)
        return Interval(max(0.0, mean - half), mean + half)

"""What is estimated of a log's rows: clicks, conversions, value; by the estimators of `analysis`. Pure arithmetic.

L. Li, W. Chu, J. Langford, X. Wang, "Unbiased offline evaluation of contextual-bandit-based news article recommendation
algorithms", WSDM 2011, for the mean over matches; for IPS and SNIPS see `analysis.off_policy.estimators`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np

from analysis.off_policy.estimators import Declared, Method, estimate
from analysis.off_policy.intervals import RESAMPLED_MAX, Bootstrap, bootstrap
from analysis.off_policy.log import Floats, Ints, Log
from replay_log.rows import Impression
from replay_log.statistics import Interval, wilson

#: Fewer rewarded matches than this, and an interval by resampling says nothing.
REWARDED_FOR_INTERVAL: Final = 10
#: Rows that are kept for the estimates: 400 MB.
ROWS_KEPT: Final = 5_000_000
_RESAMPLES: Final = 1_000
_RESAMPLES_MIN: Final = 100


class Reward(StrEnum):
    """What a row may have earned."""

    CLICK = "click"
    CONVERSION = "conversion"
    VALUE = "value"

    def of(self, impression: Impression) -> float:
        """What the row earned of it; the value of a row that has none is 0."""
        if self is Reward.CLICK:
            return float(impression.clicked)
        return float(impression.converted) if self is Reward.CONVERSION else impression.value or 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What our decisions would have earned, judged by a log of somebody else's decisions. None: cannot be said.

    `match_rate` is Li's replay estimate: the mean reward among the rows where our item is the logged one; unbiased
    where the logged policy chose uniformly. `ips` weighs each match with 1 / logged propensity; `snips` divides the
    same sum by the sum of the weights. `rewarded`: rows that earned anything, of all and of the matches.
    """

    rows: int
    matches: int
    match_rewarded: int
    match_rate: float | None
    match_interval: Interval | None
    ips: float | None
    ips_interval: Interval | None
    snips: float | None
    snips_interval: Interval | None
    effective_matches: float | None
    logged_rewarded: int
    logged_rate: float | None
    logged_interval: Interval | None


@dataclass(slots=True)
class Replayed:
    """The rows of one placement decision each, in order. Rows must not be chosen by what they earned.

    Past `ROWS_KEPT` rows the others are counted in `left_out` alone.
    """

    without_propensity: int = 0
    left_out: int = 0
    _matched: array[int] = field(default_factory=lambda: array("b"))
    _propensities: array[float] = field(default_factory=lambda: array("d"))
    _subjects: array[int] = field(default_factory=lambda: array("q"))
    _numbers: dict[str, int] = field(default_factory=dict)
    _rewards: dict[Reward, array[float]] = field(default_factory=lambda: {one: array("d") for one in Reward})

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._matched)

    def add(self, matched: bool, impression: Impression) -> None:
        """One row: did we choose the logged item, and what the log says of it."""
        if self.rows >= ROWS_KEPT:
            self.left_out += 1
            return
        propensity = impression.propensity
        self.without_propensity += propensity is None
        self._matched.append(matched)
        self._propensities.append(float("nan") if propensity is None else propensity)
        self._subjects.append(self._numbers.setdefault(impression.subject, len(self._numbers)))
        for one, values in self._rewards.items():
            values.append(one.of(impression))

    def estimate(self, reward: Reward = Reward.CLICK) -> Estimate:
        """The estimates so far of one reward, per row."""
        rows = self.rows
        earned = np.frombuffer(self._rewards[reward], np.float64) if rows else np.zeros(0)
        matched = np.frombuffer(self._matched, np.int8) == 1 if rows else np.zeros(0, np.bool_)
        group = np.frombuffer(self._subjects, np.int64) if rows else np.zeros(0, np.int64)
        own = earned[matched]
        ips, snips, effective = self._weighed(earned, matched, group)
        return Estimate(
            rows=rows, matches=len(own), match_rewarded=int(np.count_nonzero(own)),
            match_rate=float(own.mean()) if len(own) else None,
            match_interval=_mean_interval(reward, own, group[matched]),
            ips=ips[0], ips_interval=ips[1], snips=snips[0], snips_interval=snips[1], effective_matches=effective,
            logged_rewarded=int(np.count_nonzero(earned)), logged_rate=float(earned.mean()) if rows else None,
            logged_interval=_mean_interval(reward, earned, group),
        )

    def _weighed(
        self, earned: Floats, matched: np.ndarray[tuple[int], np.dtype[np.bool_]], group: Ints
    ) -> tuple[tuple[float | None, Interval | None], tuple[float | None, Interval | None], float | None]:
        nothing = (None, None)
        if not len(earned) or self.without_propensity:
            return nothing, nothing, None
        if not matched.any():
            return (0.0, None), nothing, None
        # Two actions: ours and another; the policy that is judged shows ours.
        log = Log(matched.astype(np.int64), earned, np.frombuffer(self._propensities, np.float64), 2, group=group)
        ours = np.tile([0.0, 1.0], (log.rows, 1))
        few = int(np.count_nonzero(earned[matched])) < REWARDED_FOR_INTERVAL
        found = []
        for method in (Method.IPS, Method.SNIPS):
            made = estimate(method, log, ours, resampled(group), Declared(rows_min=2))
            known = not few and made.low is not None and made.high is not None
            interval = Interval(float(made.low or 0.0), float(made.high or 0.0)) if known else None
            found.append((made.value, interval))
            effective = made.ess
        return found[0], found[1], effective


def resampled(group: Ints) -> Bootstrap:
    """As many resamples of the subjects as one may ask for, a thousand at most."""
    count = len(np.unique(group))
    return Bootstrap(max(_RESAMPLES_MIN, min(_RESAMPLES, RESAMPLED_MAX // max(1, count))))


def _mean_interval(reward: Reward, earned: Floats, group: Ints) -> Interval | None:
    """Wilson's of a share; of a value by resampling subjects, where enough rows have one."""
    if not len(earned):
        return None
    if reward is not Reward.VALUE:
        return wilson(float(earned.sum()), len(earned))
    if np.count_nonzero(earned) < REWARDED_FOR_INTERVAL:
        return None
    found = bootstrap(earned, np.ones(len(earned)), group, resampled(group))
    return Interval(found.low, found.high)

"""Intervals of an estimate: percentile bootstrap and empirical Bernstein. Pure; chance is a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.errors import AnalysisError
from analysis.off_policy.log import Floats, Ints

#: Drawn at once; bounds the memory, not the result.
_DRAWN_AT_ONCE: Final = 2_000_000
#: Groups times resamples: some ten seconds of one processor.
RESAMPLED_MAX: Final = 500_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """`low` <= `high`, in the reward's unit."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Percentile bootstrap (Efron 1979) over groups, by the counter-based generator Philox.

    A reward model is not fitted anew for each resample. Raises ValueError outside the bounds.
    """

    resamples: int = 1000
    seed: int = 0
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not (100 <= self.resamples <= 100_000 and 0 < self.alpha < 1):
            raise ValueError("100 to 100,000 resamples, and alpha between 0 and 1")


@dataclass(frozen=True, slots=True)
class EmpiricalBernstein:
    """Holds for every sample size, given bounds that were declared before the data were seen.

    Maurer and Pontil, "Empirical Bernstein bounds and sample variance penalization", COLT 2009, theorem 4, once for
    each side. `weight_max` bounds the weights where no clipping does; `reward_low` and `reward_high` bound the reward.
    """

    reward_low: float
    reward_high: float
    weight_max: float | None = None
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not -math.inf < self.reward_low < self.reward_high < math.inf:
            raise ValueError("reward_low must lie below reward_high, both finite")
        if not 0 < self.alpha < 1 or (self.weight_max is not None and not 0 < self.weight_max < math.inf):
            raise ValueError("alpha between 0 and 1, and weight_max above 0")


def bootstrap(top: Floats, bottom: Floats, group: Ints | None, how: Bootstrap) -> Interval:
    """Interval of sum(top) / sum(bottom) [n] each; groups are drawn whole. Resamples whose bottom is 0 are left out.

    Raises AnalysisError for more than `RESAMPLED_MAX` draws.
    """
    if group is not None:
        _, at = np.unique(group, return_inverse=True)
        top = np.asarray(np.bincount(at, weights=top), np.float64)
        bottom = np.asarray(np.bincount(at, weights=bottom), np.float64)
    n = len(top)
    if n * how.resamples > RESAMPLED_MAX:
        raise AnalysisError(f"{n} groups times {how.resamples} resamples are more than {RESAMPLED_MAX}: ask for fewer")
    chance = np.random.Generator(np.random.Philox(how.seed))
    batch = max(1, _DRAWN_AT_ONCE // n)
    values: list[Floats] = []
    for start in range(0, how.resamples, batch):
        drawn = chance.integers(0, n, size=(min(batch, how.resamples - start), n))
        below = bottom[drawn].sum(axis=1)
        usable = below != 0
        values.append(top[drawn].sum(axis=1)[usable] / below[usable])
    low, high = np.quantile(np.concatenate(values), [how.alpha / 2, 1 - how.alpha / 2])
    return Interval(float(low), float(high))


def empirical_bernstein(values: Floats, low: float, high: float, alpha: float) -> Interval:
    """Interval of the mean of independent `values` [n], n >= 2, each within [low, high]; two-sided, 1 - alpha.

    With X in [0, 1] and V their sample variance, E X <= mean + sqrt(2 V ln(2/d) / n) + 7 ln(2/d) / (3 (n - 1)) with
    probability 1 - d (Maurer and Pontil 2009, theorem 4); d = alpha / 2 for each side. Raises ValueError for values
    outside the declared bounds.
    """
    slack = 1e-9 * (high - low)
    if values.min() < low - slack or values.max() > high + slack:
        raise ValueError(f"values lie outside the declared bounds {low} to {high}")
    n, width = len(values), high - low
    log_term = math.log(4 / alpha)
    deviation = math.sqrt(2 * float(values.var(ddof=1)) * log_term / n)
    half = deviation + 7 * width * log_term / (3 * (n - 1))
    mean = float(values.mean())
    return Interval(max(low, mean - half), min(high, mean + half))

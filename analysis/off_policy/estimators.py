"""The estimators, from the literature: what each makes of a row, and of the rows. Pure.

IPS: Horvitz and Thompson, JASA 47 (1952). SNIPS: Swaminathan and Joachims, NIPS 2015. DM, DR: Dudik, Erhan, Langford
and Li, "Doubly robust policy evaluation and optimization", Statistical Science 29 (2014). Switch-DR: Wang, Agarwal and
Dudik, "Optimal and adaptive off-policy evaluation in contextual bandits", ICML 2017. Effective sample size: Kish,
"Survey sampling" (1965). Clipping: Ionides, "Truncated importance sampling", JCGS 17 (2008).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from analysis.off_policy.intervals import Bootstrap, EmpiricalBernstein, Interval, bootstrap, empirical_bernstein
from analysis.off_policy.log import ROWS_MIN, Floats, Log, refusals


class Method(StrEnum):
    """The name of an estimator."""

    IPS = "ips"
    SNIPS = "snips"
    DM = "dm"
    DR = "dr"
    SWITCH_DR = "switch-dr"


NEEDS_MODEL = frozenset((Method.DM, Method.DR, Method.SWITCH_DR))
How: TypeAlias = Bootstrap | EmpiricalBernstein


@dataclass(frozen=True, slots=True)
class Declared:
    """What is chosen before the data are seen.

    `clip`: no weight counts for more than this; it biases the estimate, downwards where rewards are not negative.
    `tau`: switch-DR trusts the model alone where the weight is above it. Raises ValueError for numbers that are not
    above 0.
    """

    clip: float | None = None
    tau: float | None = None
    rows_min: int = ROWS_MIN

    def __post_init__(self) -> None:
        for name in ("clip", "tau"):
            given = getattr(self, name)
            if given is not None and not given > 0:
                raise ValueError(f"{name} must be above 0, not {given}")


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of the mean reward of a decision. `value` None: it cannot be said, and `reasons` say why.

    `low`, `high`: the interval, None where it cannot be had (a reason says why). `ess`: Kish's effective sample size of
    the weights, in rows. `clipped`: rows whose weight was cut, or for switch-DR left to the model.
    """

    value: float | None
    low: float | None
    high: float | None
    method: Method
    n: int
    ess: float | None
    clipped: int
    reasons: tuple[str, ...] = ()


def estimate(
    method: Method, log: Log, target: Floats, how: How, declared: Declared = Declared(), model: Floats | None = None
) -> Estimate:
    """Estimate the policy `target` [n, n_actions], whose rows add up to 1, from a log.

    `model` [n, n_actions] is q, needed for DM, DR and switch-DR; make it by cross-fitting (`reward_models`). Raises
    ValueError where the caller left out what the method needs.
    """
    if method in NEEDS_MODEL and model is None:
        raise ValueError(f"{method} needs a reward model")
    if method is Method.SWITCH_DR and declared.tau is None:
        raise ValueError("switch-dr needs tau to be declared")
    reasons = refusals(log, target, declared.rows_min)
    if not reasons and model is not None and not np.isfinite(model).all():
        reasons = ("the reward model has values that are no number",)
    if reasons:
        return Estimate(None, None, None, method, log.rows, None, 0, reasons)
    weights = log.taken(target) / log.pscore
    used, cut = _used(method, weights, declared)
    top, bottom = _rows(method, log, target, used, model)
    ess = effective_size(weights)
    if method is not Method.DM and ess == 0:
        why = "no logged action is one that the evaluated policy would have shown"
        return Estimate(None, None, None, method, log.rows, 0.0, 0, (why,))
    value = float(top.sum() / bottom.sum())
    interval, why = _interval(method, log, top, bottom, how, declared)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    said = tuple(text for text in (why, _caveat(method, log, cut)) if text)
    return Estimate(value, low, high, method, log.rows, ess, cut, said)


def effective_size(weights: Floats) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2 of weights [n]; 0 where every weight is 0."""
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def _caveat(method: Method, log: Log, cut: int) -> str:
    """What the interval leaves out, in words."""
    if method is Method.DM:
        return "dm: the interval leaves out the reward model's own error"
    if cut and method is not Method.SWITCH_DR:
        return f"{method}: {cut} of {log.rows} weights were clipped, which biases estimate and interval"
    return ""


def _used(method: Method, weights: Floats, declared: Declared) -> tuple[Floats, int]:
    """The weights as the method takes them, and how many of them it cut."""
    if method is Method.DM:
        return weights, 0
    if method is Method.SWITCH_DR:
        kept = weights <= (math.inf if declared.tau is None else declared.tau)
        return np.where(kept, weights, 0.0), int(np.count_nonzero(~kept))
    if declared.clip is None:
        return weights, 0
    return np.minimum(weights, declared.clip), int(np.count_nonzero(weights > declared.clip))


def _rows(method: Method, log: Log, target: Floats, weights: Floats, model: Floats | None) -> tuple[Floats, Floats]:
    """Numerator and denominator of each row; the estimate is the sum of the one over that of the other."""
    ones = np.ones(log.rows)
    if method is Method.SNIPS:
        return weights * log.reward, weights
    if model is None or method is Method.IPS:
        return weights * log.reward, ones
    direct = np.asarray((target * model).sum(axis=1), np.float64)
    if method is Method.DM:
        return direct, ones
    return direct + weights * (log.reward - log.taken(model)), ones


def _interval(
    method: Method, log: Log, top: Floats, bottom: Floats, how: How, declared: Declared
) -> tuple[Interval | None, str]:
    if isinstance(how, Bootstrap):
        if np.ptp(top) == 0 and np.ptp(bottom) == 0:
            return None, "no interval: every row counts the same, and a bootstrap of that has no width"
        return bootstrap(top, bottom, log.group, how), ""
    if method is Method.SNIPS:
        return None, "no empirical-Bernstein interval: SNIPS is a ratio and no mean; take the bootstrap"
    if log.group is not None and len(np.unique(log.group)) < log.rows:
        return None, "no empirical-Bernstein interval: rows of one subject are not independent; take the bootstrap"
    low, high, why = _bounds(method, how, declared)
    if why:
        return None, why
    if top.min() < low - 1e-9 * (high - low) or top.max() > high + 1e-9 * (high - low):
        return None, "no empirical-Bernstein interval: rewards or weights lie outside what was declared"
    return empirical_bernstein(top, low, high, how.alpha), ""


def _bounds(method: Method, how: EmpiricalBernstein, declared: Declared) -> tuple[float, float, str]:
    """Between what a row of the method can lie, and why that cannot be said."""
    low, high = how.reward_low, how.reward_high
    if method is Method.DM:
        return low, high, "no empirical-Bernstein interval: it would not count the model's error; take the bootstrap"
    weight = declared.tau if method is Method.SWITCH_DR else declared.clip
    weight = how.weight_max if weight is None else weight
    if weight is None:
        return low, high, "no empirical-Bernstein interval: nothing bounds the weights; declare clipping or their bound"
    if method is Method.IPS:
        return min(0.0, weight * low), max(0.0, weight * high), ""
    width = weight * (high - low)
    return low - width, high + width, ""

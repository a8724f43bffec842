"""Means, ratios, their differences and relative lifts, with variances; CUPED; winsorising. Pure.

Ratio metrics and relative lift by the delta method: Deng, Knoblich and Lu, "Applying the delta method in metric
analytics", KDD 2018. CUPED: Deng, Xu, Kohavi and Walker, "Improving the sensitivity of online controlled experiments by
utilizing pre-experiment data", WSDM 2013.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.numerics import normal_quantile
from analysis.off_policy.log import Floats


@dataclass(frozen=True, slots=True)
class Estimated:
    """A value with the variance of its estimate, from `n` subjects."""

    value: float
    variance: float
    n: int


def mean(values: Floats) -> Estimated:
    """The mean of values [n], one per subject. Raises ValueError for fewer than two."""
    if len(values) < 2:
        raise ValueError("a variance needs at least two subjects")
    return Estimated(float(values.mean()), float(values.var(ddof=1)) / len(values), len(values))


def ratio(top: Floats, bottom: Floats) -> Estimated:
    """sum(top) / sum(bottom) of subjects [n]. Raises ValueError where the sum below is not above 0."""
    below = float(bottom.mean())
    if not below > 0:
        raise ValueError("a ratio needs a denominator above 0")
    value = float(top.mean()) / below
    influence = mean((top - value * bottom) / below)
    return Estimated(value, influence.variance, influence.n)


def difference(control: Estimated, treated: Estimated) -> Estimated:
    """treated - control of independent variations."""
    return Estimated(treated.value - control.value, control.variance + treated.variance, control.n + treated.n)


def relative_lift(control: Estimated, treated: Estimated) -> Estimated | None:
    """treated / control - 1; None where the control's value is 0, or negative, so that a lift means nothing."""
    if control.value <= 0:
        return None
    value = treated.value / control.value
    variance = treated.variance / control.value**2 + value**2 * control.variance / control.value**2
    return Estimated(value - 1, variance, control.n + treated.n)


def fixed_interval(found: Estimated, alpha: float) -> tuple[float, float]:
    """The normal interval of 1 - alpha: right for one look that was planned, and for no more."""
    half = normal_quantile(1 - alpha / 2) * math.sqrt(found.variance)
    return found.value - half, found.value + half


@dataclass(frozen=True, slots=True)
class Cuped:
    """Outcomes adjusted by a covariate from before the exposure.

    `reduction`: the share of the variance within variations that the covariate takes away, 0 to 1.
    """

    control: Floats
    treated: Floats
    theta: float
    reduction: float


def cuped(control: Floats, treated: Floats, control_before: Floats, treated_before: Floats) -> Cuped | None:
    """Y - theta (X - mean X) with theta = cov(Y, X) / var(X), both within variations and pooled (Deng et al. 2013,
    equation 4).

    All are [n of the variation]. None where the covariate does not vary.
    """
    control_x, treated_x = control_before - control_before.mean(), treated_before - treated_before.mean()
    control_y, treated_y = control - control.mean(), treated - treated.mean()
    spread = float(control_x @ control_x + treated_x @ treated_x)
    if spread <= 0:
        return None
    theta = float(control_x @ control_y + treated_x @ treated_y) / spread
    centre = float(np.concatenate([control_before, treated_before]).mean())
    before = float(control_y @ control_y + treated_y @ treated_y)
    reduction = theta * theta * spread / before if before > 0 else 0.0
    return Cuped(
        control - theta * (control_before - centre), treated - theta * (treated_before - centre), theta, reduction
    )


def winsorised(arms: list[Floats], quantile: float) -> tuple[list[Floats], float]:
    """Each arm's values cut at a declared quantile of all of them together, and the value they were cut at.

    One limit for all variations: a limit of its own for each would hide a difference. Raises ValueError for a quantile
    outside (0.5, 1).
    """
    if not 0.5 < quantile < 1:
        raise ValueError(f"winsorise at a quantile between 0.5 and 1, not {quantile}")
    limit = float(np.quantile(np.concatenate(arms), quantile))
    return [np.minimum(values, limit) for values in arms], limit

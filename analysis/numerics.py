"""The few special functions that tests and intervals need, without SciPy. Pure; scalars in, scalars out."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

_NORMAL: Final = NormalDist()
_TERMS_MAX: Final = 100_000
_EPSILON: Final = 1e-15
#: Keeps Lentz's continued fraction from dividing by zero.
_TINY: Final = 1e-300


def normal_quantile(probability: float) -> float:
    """The z with P(Z <= z) = probability, 0 < probability < 1. Raises statistics.StatisticsError outside."""
    return _NORMAL.inv_cdf(probability)


def chi_square_survival(statistic: float, degrees: int) -> float:
    """P(X >= statistic) of a chi-square variable X. Raises ValueError for no degree of freedom or a negative
    statistic.
    """
    if degrees < 1 or not statistic >= 0:
        raise ValueError(f"chi-square needs degrees >= 1 and statistic >= 0, not {degrees} and {statistic}")
    return upper_gamma(degrees / 2, statistic / 2)


def upper_gamma(shape: float, x: float) -> float:
    """Regularised upper incomplete gamma function Q(shape, x), shape > 0, x >= 0.

    By the power series of P = 1 - Q below shape + 1, by Lentz's continued fraction above (Abramowitz and Stegun 1964,
    6.5.29 and 6.5.31; Lentz, Applied Optics 15, 1976).
    """
    if x <= 0:
        return 1.0
    if math.isinf(x):
        return 0.0
    scale = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    return 1.0 - scale * _series(shape, x) if x < shape + 1 else scale * _fraction(shape, x)


def _series(shape: float, x: float) -> float:
    term = total = 1.0 / shape
    for step in range(1, _TERMS_MAX):
        term *= x / (shape + step)
        total += term
        if term < total * _EPSILON:
            return total
    raise ArithmeticError(f"no convergence of the incomplete gamma function at {shape}, {x}")


def _fraction(shape: float, x: float) -> float:
    b = x + 1 - shape
    c, d = 1 / _TINY, 1 / b
    value = d
    for step in range(1, _TERMS_MAX):
        a = -step * (step - shape)
        b += 2
        d = 1 / _away_from_zero(a * d + b)
        c = _away_from_zero(b + a / c)
        value *= d * c
        if abs(d * c - 1) < _EPSILON:
            return value
    raise ArithmeticError(f"no convergence of the incomplete gamma function at {shape}, {x}")


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY

"""Probabilities that one of several independent random numbers is the largest, by numeric quadrature.

P(i) is the integral of i's density times the product of the others' distribution functions. A quadrature that would
take more than `CELLS_MAX` values of these functions is not made: the caller counts draws instead.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from pipeline.core.models.randomness import Floats

#: Values of distribution functions that one quadrature may take.
CELLS_MAX: Final = 65_536

#: Standard deviations from the mean past which a normal number does not come (5e-16 at 8).
_REACH: Final = 8.0
#: A panel of eight Gauss-Legendre nodes spans so many of the smallest standard deviations: the error is below 1e-8.
_PANEL: Final = 1.5
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)

#: The standard normal distribution function at steps of 1/128, between which it is interpolated (cubic Hermite): the
#: error is below 1e-11.
_STEP: Final = 128
_KNOTS: Final = np.arange(-9 * _STEP, 9 * _STEP + 1) / _STEP
_CDF: Final = np.array([0.5 * math.erfc(-z / math.sqrt(2.0)) for z in _KNOTS])
_SLOPE: Final = np.exp(-0.5 * _KNOTS * _KNOTS) / (math.sqrt(2.0 * math.pi) * _STEP)


def normal_cdf(z: Floats) -> Floats:
    """The standard normal distribution function, to 1e-11."""
    place = (np.clip(z, -8.999, 8.999) + 9.0) * _STEP
    knot = place.astype(np.intp)
    t = place - knot
    low, high, from_slope, to_slope = _CDF[knot], _CDF[knot + 1], _SLOPE[knot], _SLOPE[knot + 1]
    rise = high - low
    found: Floats = low + t * (from_slope + t * (3.0 * rise - 2.0 * from_slope - to_slope
                                                 + t * (from_slope + to_slope - 2.0 * rise)))
    return found


def normals_largest(mean: Floats, sd: Floats) -> Floats | None:
    """By number, the probability that it is the largest of independent normals. A deviation of 0 is a constant.

    Equal constants share what they have. None: the quadrature would be too large. The error is below 1e-7.
    """
    moving = sd > 0.0
    if not moving.any():
        return shared(mean)
    floor = float(mean[~moving].max()) if not moving.all() else -math.inf
    begin = max(float((mean - _REACH * sd).max()), floor)
    end = float((mean + _REACH * sd)[moving].max())
    found = np.zeros(len(mean))
    own = np.flatnonzero(moving & (mean + _REACH * sd > begin))
    if len(own) and end > begin:
        m, s = mean[own], sd[own]
        panels = math.ceil((end - begin) / (_PANEL * float(s.min())))
        if panels * len(_NODES) * len(own) > CELLS_MAX:
            return None
        half = (end - begin) / (2.0 * panels)
        middles = begin + half * (2.0 * np.arange(panels) + 1.0)
        t = (middles[:, None] + half * _NODES[None, :]).ravel()
        weights = np.tile(half * _WEIGHTS, panels)
        z = (t[:, None] - m[None, :]) / s[None, :]
        below = normal_cdf(z)
        found[own] = _integrated(below, np.exp(-0.5 * z * z) / (s * math.sqrt(2.0 * math.pi)), weights)
    if floor > -math.inf:
        # All the others stay below the largest constant.
        below_floor = float(normal_cdf((floor - mean[moving]) / sd[moving]).prod())
        ties = ~moving & (mean == floor)
        found[ties] = below_floor / int(ties.sum())
    return _one(found)


def betas_largest(a: Floats, b: Floats) -> Floats | None:
    """By number, the probability that it is the largest of independent beta numbers. None: it would be too large.

    On the logit scale, where the density is analytic and falls off exponentially, so that equal steps integrate it; the
    distribution functions are its running sums with two terms of Euler and Maclaurin. The error is below 1e-6.
    """
    n = a + b
    # On the logit scale: the mode, the curvature there, and how far the tails reach that are not nothing.
    centre, width = np.log(a / b), np.sqrt(1.0 / a + 1.0 / b)
    reach = 36.0
    low = centre - np.minimum(9.0 * width + 9.0 * width**2, reach / np.minimum(a, 1.0) + 9.0 * width)
    high = centre + np.minimum(9.0 * width + 9.0 * width**2, reach / np.minimum(b, 1.0) + 9.0 * width)
    step = float(np.minimum(width, 1.0).min()) / 6.0
    begin, end = float(low.min()), float(high.max())
    nodes = math.ceil((end - begin) / step) + 1
    if nodes * len(a) > CELLS_MAX:
        return None
    u = begin + step * np.arange(nodes)
    # Where u is large, 1 - share has lost its digits.
    log_share, log_rest = -np.logaddexp(0.0, -u), -np.logaddexp(0.0, u)
    share = np.exp(log_share)
    log_density = a[None, :] * log_share[:, None] + b[None, :] * log_rest[:, None]
    density = np.exp(log_density - log_density.max(axis=0))
    density /= step * density.sum(axis=0)
    first = a[None, :] - n[None, :] * share[:, None]
    turn = (share * np.exp(log_rest))[:, None]
    second = -n[None, :] * turn
    third = second * (1.0 - 2.0 * share)[:, None]
    slope, jerk = density * first, density * (first**3 + 3.0 * first * second + third)
    below = step * (np.cumsum(density, axis=0) - 0.5 * density) - step**2 / 12.0 * slope + step**4 / 720.0 * jerk
    return _one(_integrated(np.clip(below, 0.0, 1.0), density, np.full(nodes, step)))


def _integrated(below: Floats, density: Floats, weights: Floats) -> Floats:
    """Of each column, the integral of its density times what the others' distribution functions make together."""
    all_below = below.prod(axis=1)
    # Far below its own distribution a number is not the largest of anything.
    others = np.divide(all_below[:, None], below, out=np.zeros_like(below), where=below > 1e-290)
    found: Floats = np.einsum("k,ki,ki->i", weights, density, others)
    return found


def shared(values: Floats) -> Floats:
    """By number, its share of those that tie for the largest."""
    best = values == values.max()
    found: Floats = best / best.sum()
    return found


def _one(found: Floats) -> Floats:
    """What is left of the error is spread, so that the probabilities sum to 1."""
    whole: Floats = found / found.sum()
    return whole

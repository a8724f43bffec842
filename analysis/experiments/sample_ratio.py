"""Sample-ratio check: do the variations have the shares of subjects that were declared? Pure.

A ratio that is off says that subjects are lost or counted by what they were shown, and no comparison can be trusted.
Sources: Pearson 1900 (chi-square); Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022
(sequential); Fabijan et al., "Diagnosing sample ratio mismatch", KDD 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.numerics import chi_square_survival


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """`p_once`: chi-square, right for one look that was planned. `p_always`: right at any number of looks.

    `alarm`: `p_always` is below `alpha`.
    """

    counts: tuple[int, ...]
    expected: tuple[float, ...]
    p_once: float
    p_always: float
    alpha: float
    alarm: bool


def sample_ratio(counts: Sequence[int], shares: Sequence[float], alpha: float = 0.01) -> SampleRatio:
    """Compare counts of subjects with declared shares (any positive scale). Raises ValueError for what cannot be
    compared.
    """
    if len(counts) != len(shares) or len(counts) < 2:
        raise ValueError("at least two variations, and a share for each")
    if any(count < 0 for count in counts) or not all(0 < share < math.inf for share in shares):
        raise ValueError("counts of at least 0, and shares above 0")
    rates = [share / math.fsum(shares) for share in shares]
    total = sum(counts)
    expected = tuple(rate * total for rate in rates)
    p_once = 1.0
    if total:
        statistic = math.fsum((seen - due) ** 2 / due for seen, due in zip(counts, expected, strict=True))
        p_once = chi_square_survival(statistic, len(counts) - 1)
    p_always = min(1.0, math.exp(-log_bayes_factor(counts, rates)))
    return SampleRatio(tuple(counts), expected, p_once, p_always, alpha, p_always < alpha)


def log_bayes_factor(counts: Sequence[int], rates: Sequence[float]) -> float:
    """Log of the Bayes factor of a Dirichlet mixture against the declared rates, which add up to 1.

    The prior is centred on the rates and has the weight of as many subjects as there are variations. Under the rates
    the factor is a martingale of mean 1, so it exceeds 1/alpha at any time with probability alpha at most (Ville 1939).
    """
    weights = [rate * len(rates) for rate in rates]
    value = math.lgamma(math.fsum(weights)) - math.lgamma(math.fsum(weights) + sum(counts))
    for seen, rate, weight in zip(counts, rates, weights, strict=True):
        value += math.lgamma(weight + seen) - math.lgamma(weight) - seen * math.log(rate)
    return value

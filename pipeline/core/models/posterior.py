"""What a model thinks of some items: the distribution of each one's score, to draw from and to integrate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.models import quadrature
from pipeline.core.models.randomness import Chance, Floats

#: fixed: the score is the mean. normal: mean and deviation. logit: the same, of the score's logit. beta: two shapes.
Family = Literal["fixed", "normal", "logit", "beta"]

#: Draws of a Monte Carlo propensity: as many as fit so many scores, within these bounds.
_SCORES_MAX: Final = 16_384
_DRAWS_MIN: Final = 64
_DRAWS_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class Posterior:
    """Independent distributions of items' scores. `first`, `second`: mean and standard deviation, or a Beta's shapes.

    A score is multiplied by `weight` (at least 0); where `known` is false it is the constant `weight * fallback`.
    """

    family: Family
    first: Floats
    second: Floats
    weight: Floats
    known: NDArray[np.bool_]
    fallback: float

    def means(self) -> Floats:
        """The expected scores (of `logit`: the score at the expected logit), without exploration."""
        if self.family == "beta":
            found = self.first / (self.first + self.second)
        else:
            found = _logistic(self.first) if self.family == "logit" else self.first
        return self._weighted(found)

    def bounds(self) -> Floats:
        """The upper bound of every score."""
        return self._weighted(self.first + self.second)

    def sampled(self, chance: Chance) -> Floats:
        """One draw of every score. `fixed`: the upper bound, the same each time."""
        if self.family == "beta":
            return self._weighted(chance.betas(self.first, self.second))
        if self.family == "fixed":
            return self.bounds()
        drawn = self.first + self.second * chance.normals(len(self.first))
        return self._weighted(_logistic(drawn) if self.family == "logit" else drawn)

    def largest(self, rows: NDArray[np.intp], *seed: str) -> tuple[Floats, int]:
        """By row, the probability that its draw is the largest of these rows'; and the draws that it was counted in,
        0 where it is exact. `seed`: of the draws that are counted."""
        part = Posterior(self.family, self.first[rows], self.second[rows], self.weight[rows], self.known[rows],
                         self.fallback)
        exact = part._exact()
        return (exact, 0) if exact is not None else part._counted(Chance(*seed))

    def _exact(self) -> Floats | None:
        if self.family == "fixed":
            return quadrature.shared(self.bounds())
        if len(self.first) == 1:
            return np.ones(1)
        if self.family == "normal":
            mean = self._weighted(self.first)
            return quadrature.normals_largest(mean, np.where(self.known, self.second * self.weight, 0.0))
        # The largest draw is the largest on any scale where all weights are one; a constant has no place there.
        if not self.known.all() or self.weight.min() != self.weight.max() or self.weight[0] <= 0.0:
            return None
        if self.family == "logit":
            return quadrature.normals_largest(self.first, self.second)
        return quadrature.betas_largest(self.first, self.second)

    def _counted(self, chance: Chance) -> tuple[Floats, int]:
        count = len(self.first)
        draws = max(_DRAWS_MIN, min(_DRAWS_MAX, _SCORES_MAX // count))
        every = Posterior(self.family, np.tile(self.first, draws), np.tile(self.second, draws),
                          np.tile(self.weight, draws), np.tile(self.known, draws), self.fallback)
        scores = every.sampled(chance).reshape(draws, count)
        best = scores == scores.max(axis=1, keepdims=True)
        wins: Floats = (best / best.sum(axis=1, keepdims=True)).sum(axis=0)
        return wins / draws, draws

    def _weighted(self, scores: Floats) -> Floats:
        return self.weight * (scores if self.known.all() else np.where(self.known, scores, self.fallback))


def _logistic(logit: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * logit))

"""Models learnt from training data: weights by item over the vectors that decisions saw. Pure; NumPy alone.

linucb: the statistics A = ridge I + sum x x', b = sum r x of each item (Li, Chu, Langford and Schapire, WWW 2010, the
disjoint model), with which an online one may begin. logistic: penalised maximum likelihood by Newton's method
(iteratively reweighted least squares, Green, JRSS B 46, 1984), drawn towards the outcome's overall rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from analysis.errors import AnalysisError
from analysis.off_policy.log import Floats
from analysis.training.vectors import Feature, Rows

Kind = Literal["linucb", "logistic"]
#: Rows without which nothing is learnt.
ROWS_MIN: Final = 50
#: Items times the square of the vector: numbers of one model's file.
NUMBERS_MAX: Final = 4_000_000
_STEPS_MAX: Final = 100
_TOLERANCE: Final = 1e-10
#: Of a rate of 0 or 1, whose logit would be infinite.
_EDGE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Learnt:
    """What is known of one item: rows, weights [d], and for linucb A [d, d] and b [d]."""

    rows: int
    weights: Floats
    a: Floats | None = None
    b: Floats | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """Weights by item. `prior` [d]: those of an item that was never shown."""

    kind: Kind
    outcome: str
    placement: str
    features: tuple[Feature, ...]
    ridge: float
    prior: Floats
    items: dict[str, Learnt]

    def scores(self, x: Floats, items: tuple[str, ...]) -> Floats:
        """[n, items]: the linear predictor of vectors [n, d]; its order is that of the expected rewards."""
        weights = [self.items[item].weights if item in self.items else self.prior for item in items]
        return np.asarray(x @ np.array(weights).T, np.float64)


def learn(rows: Rows, kind: Kind, outcome: str, placement: str, ridge: float = 1.0) -> Model:
    """A model of the expected reward. Raises AnalysisError for too few rows, or rewards that the kind cannot take."""
    if len(rows) < ROWS_MIN:
        raise AnalysisError(f"too few data: {len(rows)} rows to learn from, and {ROWS_MIN} are needed")
    if not np.isfinite(rows.reward).all():
        raise AnalysisError("rewards are missing or no number")
    items, width = np.unique(rows.action.astype(str)), rows.x.shape[1]
    if len(items) * width * width > NUMBERS_MAX:
        raise AnalysisError(f"{len(items)} items with {width} columns are more than {NUMBERS_MAX} numbers: name fewer")
    prior = np.zeros(width)
    if kind == "logistic":
        if rows.reward.min() < 0 or rows.reward.max() > 1:
            raise AnalysisError("logistic takes rewards from 0 to 1: learn this outcome by linucb")
        rate = float(np.clip(rows.reward.mean(), _EDGE, 1 - _EDGE))
        prior[0] = np.log(rate / (1 - rate))
    learnt = {}
    for item in items:
        own = rows.action == item
        x, reward = rows.x[own], rows.reward[own]
        learnt[str(item)] = _linear(x, reward, ridge) if kind == "linucb" else _logistic(x, reward, ridge, prior)
    return Model(kind, outcome, placement, rows.features, ridge, prior, learnt)


def _linear(x: Floats, reward: Floats, ridge: float) -> Learnt:
    a = ridge * np.eye(x.shape[1]) + x.T @ x
    b = x.T @ reward
    return Learnt(len(reward), np.asarray(np.linalg.solve(a, b), np.float64), a, b)


def _logistic(x: Floats, reward: Floats, ridge: float, prior: Floats) -> Learnt:
    """argmin of - log likelihood + ridge / 2 |w - prior|^2, which is convex; a step that overshoots is halved."""
    weights = prior.copy()
    loss = _loss(x, reward, ridge, prior, weights)
    for _ in range(_STEPS_MAX):
        rates = 1 / (1 + np.exp(-(x @ weights)))
        slope = x.T @ (rates - reward) + ridge * (weights - prior)
        curve = (x * (rates * (1 - rates))[:, None]).T @ x + ridge * np.eye(len(weights))
        step = np.linalg.solve(curve, slope)
        share = 1.0
        while share > _TOLERANCE and _loss(x, reward, ridge, prior, weights - share * step) > loss:
            share /= 2
        weights = weights - share * step
        loss = _loss(x, reward, ridge, prior, weights)
        if float(np.abs(share * step).max()) < _TOLERANCE:
            return Learnt(len(reward), weights)
    raise ArithmeticError("no convergence of a convex logistic regression")


def _loss(x: Floats, reward: Floats, ridge: float, prior: Floats, weights: Floats) -> float:
    z = x @ weights
    fit = float(np.logaddexp(0, z).sum() - reward @ z)
    return fit + ridge / 2 * float(np.square(weights - prior).sum())

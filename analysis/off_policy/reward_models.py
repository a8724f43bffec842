"""Reward models for DM and DR, fitted on other rows than those they are asked about (cross-fitting). Pure.

Cross-fitting: Chernozhukov et al., "Double/debiased machine learning", Econometrics Journal 21 (2018). Ridge
regression: Hoerl and Kennard, Technometrics 12 (1970).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from analysis.errors import AnalysisError
from analysis.off_policy.log import Bools, Floats, Log


@dataclass(frozen=True, slots=True)
class Means:
    """The mean reward of each action at each position, drawn towards that of all as by `prior_rows` rows more."""

    prior_rows: float = 50.0

    def __post_init__(self) -> None:
        if not self.prior_rows > 0:
            raise ValueError("prior_rows must be above 0")


@dataclass(frozen=True, slots=True)
class Ridge:
    """A linear model of action, position and context; `penalty` on every coefficient but the intercept."""

    penalty: float = 10.0

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise ValueError("penalty must be above 0")


Model: TypeAlias = Means | Ridge


def cross_fitted(log: Log, model: Model, folds: int = 3, seed: int = 0) -> Floats:
    """q [n, n_actions]: each row's rewards as a model says that saw none of its fold. Rows of one group share a fold.

    Values stay within the rewards that the model saw. Raises AnalysisError for fewer than two folds, or fewer groups
    than folds.
    """
    groups = np.arange(log.rows) if log.group is None else np.unique(log.group, return_inverse=True)[1]
    count = int(groups.max()) + 1 if log.rows else 0
    if not 2 <= folds <= count:
        raise AnalysisError(f"{folds} folds of {count} groups: at least two, and no more than there are groups")
    order = np.random.Generator(np.random.Philox(seed)).permutation(count)
    fold = (order % folds)[groups]
    predict = _means if isinstance(model, Means) else _ridge
    table = np.empty((log.rows, log.n_actions))
    for one in range(folds):
        asked = fold == one
        fitted = _fit(log, ~asked, predict, model)
        table[asked] = fitted(asked)
    return table


_Predict: TypeAlias = Callable[[Bools], Floats]


def _fit(log: Log, seen: Bools, make: Callable[..., _Predict], model: Model) -> _Predict:
    predict = make(log, seen, model)
    low, high = float(log.reward[seen].min()), float(log.reward[seen].max())
    return lambda asked: np.clip(predict(asked), low, high)


def _means(log: Log, seen: Bools, model: Means) -> _Predict:
    places, at = np.unique(log.positions(), return_inverse=True)
    cell = at[seen] * log.n_actions + log.action[seen]
    size = len(places) * log.n_actions
    shown = np.bincount(cell, minlength=size)
    earned = np.bincount(cell, weights=log.reward[seen], minlength=size)
    everywhere = float(log.reward[seen].mean())
    table = ((earned + model.prior_rows * everywhere) / (shown + model.prior_rows)).reshape(len(places), log.n_actions)
    return lambda asked: np.asarray(table[at[asked]], np.float64)


def _ridge(log: Log, seen: Bools, model: Ridge) -> _Predict:
    features = _features(log)
    shared = features.shape[1]
    rows, actions = features[seen], log.action[seen]
    width = shared + log.n_actions
    # The normal equations in blocks: one-hot actions make a diagonal, and are never written out.
    gram = np.zeros((width, width))
    gram[:shared, :shared] = rows.T @ rows
    counts = np.bincount(actions, minlength=log.n_actions)
    gram[range(shared, width), range(shared, width)] = counts
    for column in range(shared):
        sums = np.bincount(actions, weights=rows[:, column], minlength=log.n_actions)
        gram[column, shared:] = gram[shared:, column] = sums
    answer = np.concatenate(
        [rows.T @ log.reward[seen], np.bincount(actions, weights=log.reward[seen], minlength=log.n_actions)]
    )
    penalty = np.full(width, model.penalty)
    penalty[0] = 0.0
    fitted = np.linalg.solve(gram + np.diag(penalty), answer)
    return lambda asked: np.asarray((features[asked] @ fitted[:shared])[:, None] + fitted[None, shared:], np.float64)


def _features(log: Log) -> Floats:
    """Intercept, positions (one-hot), context."""
    places, at = np.unique(log.positions(), return_inverse=True)
    parts = [np.ones((log.rows, 1))]
    if len(places) > 1:
        parts.append(np.eye(len(places))[at])
    if log.context is not None:
        parts.append(log.context)
    return np.hstack(parts)

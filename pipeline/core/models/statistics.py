"""Sufficient statistics of a model: what all its showings and rewards come to, by item. Immutable.

Sums only, without the prior: so two parts of a log give the same in any order, `merged` is addition and decay is a
factor. Per item, 64-bit floats: showings n, rewards s, their squares q; of models with features besides the upper
triangle of A (sum of x xᵀ) and b (sum of r x); of a hybrid B (sum of x zᵀ), and shared by all items Z (sum of z zᵀ) and
y (sum of r z). Li, Chu, Langford and Schapire, "A contextual-bandit approach to personalized news article
recommendation", 2010, keep the same with the prior in it.

Logistic regression is learnt by one Newton step for each observation (Chapelle and Li, "An empirical evaluation of
Thompson sampling", 2011, with the whole Hessian instead of its diagonal, one observation at a time): with p the
probability before it, A gains p(1-p) x xᵀ and b gains (p(1-p) xᵀm + r - p) x, where m = A⁻¹b.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.core.model.learning import Observation
from pipeline.core.models.learner import WITH_FEATURES, Learner
from pipeline.core.models.randomness import Floats

#: Two sums of this size still add up to a number.
_SUM_MAX = 1e150


@dataclass(frozen=True, slots=True)
class Statistics:
    """By item, and shared by all: bytes of 64-bit floats, as long as `Learner.item_floats`."""

    items: Mapping[str, bytes] = field(default_factory=dict)
    shared: bytes = b""

    def updated(self, observation: Observation, learner: Learner) -> Statistics:
        """With one more observation. One of an item past `items_max` changes nothing (see `takes`)."""
        if not self.takes(observation, learner):
            return self
        reward, square = _rewards(observation, learner)
        item = _floats(self.items.get(observation.item_id, b""), learner.item_floats)
        change = np.zeros(learner.item_floats)
        change[:3] = float(observation.first), reward, square
        shared = self.shared
        if learner.kind in WITH_FEATURES:
            vector = np.array(observation.vector)
            if learner.kind == "logistic":
                _add_logistic(change, item, vector, reward, observation.first, learner)
            else:
                shared = _add_linear(change, shared, vector, reward, observation.first, learner)
        found = np.clip(item + change, -_SUM_MAX, _SUM_MAX)
        return Statistics({**self.items, observation.item_id: found.tobytes()}, shared)

    def takes(self, observation: Observation, learner: Learner) -> bool:
        """Whether the observation has the model's vector, and its item is known or finds room."""
        return len(observation.vector) == learner.columns and (
            observation.item_id in self.items or len(self.items) < learner.items_max)

    def merged(self, other: Statistics) -> Statistics:
        """What two logs come to together. Exact but for rounding; of logistic models each part keeps its own steps."""
        items = dict(self.items)
        for name, data in other.items.items():
            items[name] = (_floats(items.get(name, b""), len(data) // 8) + _floats(data, len(data) // 8)).tobytes()
        size = max(len(self.shared), len(other.shared)) // 8
        return Statistics(items, (_floats(self.shared, size) + _floats(other.shared, size)).tobytes())

    def decayed(self, factor: float) -> Statistics:
        """With everything counting `factor` times as much, in [0, 1]. The prior, which is not in it, does not decay."""
        return Statistics({name: (np.frombuffer(data) * factor).tobytes() for name, data in self.items.items()},
                          (np.frombuffer(self.shared) * factor).tobytes())


def in_range(reward: float, learner: Learner) -> float:
    """The reward, no further out than the model's range."""
    low, high = learner.reward_range
    return min(high, max(low, reward))


def _rewards(observation: Observation, learner: Learner) -> tuple[float, float]:
    """What the reward adds to the sum and to the squares.

    Of one showing the whole counts within the model's range, however many parts it came in. Beta and logistic models
    take the range as 0 to 1, so that a showing without reward may weigh less than one with a negative reward.
    """
    low, high = learner.reward_range
    before = 0.0 if observation.first else in_range(observation.before, learner)
    after = in_range((0.0 if observation.first else observation.before) + observation.reward, learner)
    if learner.kind in ("beta", "logistic"):
        span = high - low
        before, after = (0.0 if observation.first else (before - low) / span), (after - low) / span
    return after - before, after * after - before * before


def _add_linear(
    change: Floats, shared: bytes, vector: Floats, reward: float, first: bool, learner: Learner
) -> bytes:
    """The item's part into `change`; returns the shared part."""
    own, k = learner.own_columns, learner.shared_columns
    x = vector[:own]
    triangle, end = own * (own + 1) // 2, 3 + own * (own + 1) // 2
    rows, columns = upper(own)
    if first:
        change[3:end] = x[rows] * x[columns]
    change[end : end + own] = reward * x
    if not k:
        return shared
    z = shared_vector(vector, learner)
    whole = _floats(shared, k * (k + 1) // 2 + k).copy()
    if first:
        change[3 + triangle + own :] = np.outer(x, z).ravel()
        z_rows, z_columns = upper(k)
        whole[:-k] += z[z_rows] * z[z_columns]
    whole[-k:] += reward * z
    return np.clip(whole, -_SUM_MAX, _SUM_MAX).tobytes()


def _add_logistic(
    change: Floats, item: Floats, x: Floats, reward: float, first: bool, learner: Learner
) -> None:
    """One Newton step from the mean before it. A later part of a reward moves the gradient alone."""
    d = learner.columns
    rows, columns = upper(d)
    end = 3 + d * (d + 1) // 2
    if not first:
        change[end:] = reward * x
        return
    a, b = matrix(item[3:end], d), item[end:]
    a[np.diag_indices(d)] += learner.ridge
    logit = float(x @ np.linalg.solve(a, b))
    p = 0.5 * (1.0 + np.tanh(0.5 * logit))
    curvature = p * (1.0 - p)
    change[3:end] = curvature * x[rows] * x[columns]
    change[end:] = (curvature * logit + reward - p) * x


def shared_vector(vector: Floats, learner: Learner) -> Floats:
    """A hybrid's z: each of the item's columns times each of the context's. `vector`: one, or one per row."""
    context, item = vector[..., : learner.context_columns], vector[..., learner.context_columns :]
    return (item[..., :, None] * context[..., None, :]).reshape(*vector.shape[:-1], -1)


def matrix(triangle: Floats, size: int) -> Floats:
    """The symmetric matrices of upper triangles, one per row."""
    rows, columns = upper(size)
    found = np.zeros((*triangle.shape[:-1], size, size))
    found[..., rows, columns] = triangle
    found[..., columns, rows] = triangle
    return found


@lru_cache(maxsize=256)
def upper(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The places of a matrix's upper triangle, row by row."""
    rows, columns = np.triu_indices(size)
    return rows, columns


def inverse_after(inverse: Floats, x: Floats, weight: float = 1.0) -> Floats:
    """(A + weight x xᵀ)⁻¹ from A⁻¹. Sherman and Morrison, "Adjustment of an inverse matrix", 1950."""
    part = inverse @ x
    found: Floats = inverse - np.multiply.outer(part, part) * (weight / (1.0 + weight * float(x @ part)))
    return found


def _floats(data: bytes, count: int) -> Floats:
    return np.frombuffer(data) if data else np.zeros(count)

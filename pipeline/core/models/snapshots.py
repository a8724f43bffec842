"""A model as decisions read it: the statistics of one snapshot, worked out once into means, widths and inverses."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.core.model.learning import ModelSnapshot
from pipeline.core.model.values import NotPacked, Value, packed, unpacked
from pipeline.core.models.learner import WITH_FEATURES, Learner
from pipeline.core.models.posterior import Posterior
from pipeline.core.models.randomness import Floats
from pipeline.core.models.statistics import Statistics, matrix, shared_vector

_Parts: TypeAlias = tuple[Floats, Floats, Floats, Floats, Floats]
_NONE: Final[Floats] = np.zeros(0)


class _Body(Value, frozen=True):
    items: dict[str, bytes]
    shared: bytes
    coefficients: tuple[float, ...]


def body_of(statistics: Statistics, coefficients: Sequence[float]) -> bytes:
    """What a snapshot's record carries: MessagePack of the statistics and the cold start's coefficients. The same
    statistics always give the same bytes."""
    items = {name: bytes(data) for name, data in sorted(statistics.items.items())}
    return packed(_Body(items, statistics.shared, tuple(coefficients)))


def digest_of(body: bytes) -> str:
    """Content of a body: SHA-256, 32 hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()[:32]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One numbered snapshot, ready to score; number 0 is the prior. Row 0 is an item of which nothing is known.

    `counts`: showings, rewards, squares. Of models with features: `weights` and `inverse` (A⁻¹) by row. Of a hybrid:
    the shared weights and A0⁻¹, and A⁻¹B by row.
    """

    number: int
    at_ms: int
    rows: Mapping[str, int]
    counts: Floats
    weights: Floats
    inverse: Floats
    shared_weights: Floats
    shared_inverse: Floats
    crossed: Floats
    #: Of the cold start: the weights of the item's attributes.
    coefficients: Floats

    def posterior(
        self, learner: Learner, items: Sequence[str], vectors: Sequence[Sequence[float] | None],
        weights: Sequence[float] | None = None,
    ) -> Posterior:
        """Distribution of the items' scores.

        :param vectors: of each item; None: unknown, its score is the declared fallback's. Of Beta and Gaussian models
            the columns of the cold start.
        :param weights: what each score is multiplied with, at least 0; None: 1.
        """
        count = len(items)
        known = np.array([one is not None for one in vectors], dtype=np.bool_)
        weight = np.ones(count) if weights is None else np.array(weights)
        row = np.array([self.rows.get(name, 0) for name in items], dtype=np.intp)
        if learner.kind not in WITH_FEATURES:
            return self._by_counts(learner, row, vectors, weight)
        first = vectors[0] if count else None
        if learner.kind != "hybrid" and first is not None and all(one is first for one in vectors):
            mean, variance = self._alike(row, np.array(first))
            return self._by_features(learner, mean, variance, weight, known)
        if known.all():
            x = np.array(vectors, dtype=np.float64)
        else:
            nothing = (0.0,) * learner.columns
            x = np.array([nothing if one is None else one for one in vectors], dtype=np.float64)
        mean, variance = self._hybrid(learner, row, x) if learner.kind == "hybrid" else self._linear(row, x)
        return self._by_features(learner, mean, variance, weight, known)

    def _by_features(
        self, learner: Learner, mean: Floats, variance: Floats, weight: Floats, known: NDArray[np.bool_]
    ) -> Posterior:
        deviation = learner.width * np.sqrt(np.maximum(variance, 0.0))
        if learner.kind == "logistic":
            return Posterior("logit", mean, deviation, weight, known, learner.fallback_score)
        family = "normal" if learner.kind == "linear_thompson" else "fixed"
        return Posterior(family, mean, deviation, weight, known, learner.fallback_score)  # type: ignore[arg-type]

    def _alike(self, row: NDArray[np.intp], x: Floats) -> tuple[Floats, Floats]:
        """As `_linear` where all items have one vector, which is then multiplied once with everything that there is."""
        size = len(x)
        part = (self.inverse.reshape(-1, size) @ x).reshape(-1, size)
        return (self.weights @ x)[row], (part @ x)[row]

    def _linear(self, row: NDArray[np.intp], x: Floats) -> tuple[Floats, Floats]:
        """Mean and variance x A⁻¹ x of each item's score."""
        part = np.matmul(self.inverse[row], x[:, :, None])[:, :, 0]
        return np.einsum("ni,ni->n", self.weights[row], x), np.einsum("ni,ni->n", part, x)

    def _hybrid(self, learner: Learner, row: NDArray[np.intp], vectors: Floats) -> tuple[Floats, Floats]:
        """Algorithm 2 of Li, Chu, Langford and Schapire, 2010: mean zᵀβ + xᵀθ and variance s of each item's score."""
        x, z = vectors[:, : learner.own_columns], shared_vector(vectors, learner)
        crossed = self.crossed[row]
        own = np.matmul(self.inverse[row], x[:, :, None])[:, :, 0]
        through = np.einsum("nik,ni->nk", crossed, x)
        mean = z @ self.shared_weights + np.einsum("ni,ni->n", self.weights[row], x)
        z_part = z @ self.shared_inverse
        variance = np.einsum("nk,nk->n", z_part, z) - 2.0 * np.einsum("nk,nk->n", z_part, through)
        variance += np.einsum("ni,ni->n", own, x)
        variance += np.einsum("nk,nk->n", through @ self.shared_inverse, through)
        return mean, variance

    def _by_counts(
        self, learner: Learner, row: NDArray[np.intp], cold: Sequence[Sequence[float] | None], weight: Floats
    ) -> Posterior:
        n, s, q = self.counts[row].T
        known = np.ones(len(row), dtype=np.bool_)
        prior = np.array([self._prior(learner, one) for one in cold])
        strength = learner.prior_strength
        low, high = learner.reward_range
        if learner.kind == "beta":
            # As a share of the range; away from its ends, where the distribution would be a point.
            share = np.clip((prior - low) / (high - low), 1e-3, 1.0 - 1e-3)
            a = np.maximum(strength * share + s, 1e-3)
            b = np.maximum(strength * (1.0 - share) + n - s, 1e-3)
            return Posterior("beta", a, b, weight, known, learner.fallback_score)
        # Normal-inverse-gamma with a = 1 and b = the prior variance (Murphy, "Conjugate Bayesian analysis of the
        # Gaussian distribution", 2007). Drawn is a normal with the variance's plug-in b / (a kappa): docs/models.md.
        kappa = strength + n
        mean = (strength * prior + s) / kappa
        squares = np.maximum(q + strength * prior**2 - kappa * mean**2, 0.0)
        variance = (learner.prior_variance + 0.5 * squares) / ((1.0 + 0.5 * n) * kappa)
        return Posterior("normal", mean, learner.width * np.sqrt(variance), weight, known, learner.fallback_score)

    def _prior(self, learner: Learner, cold: Sequence[float] | None) -> float:
        """The prior mean of an item with these attributes, within the range; unknown ones predict nothing."""
        if cold is None or len(cold) != len(self.coefficients) or not len(cold):
            return learner.prior_mean
        low, high = learner.reward_range
        return min(high, max(low, learner.prior_mean + float(np.dot(self.coefficients, cold))))


def prior_of(learner: Learner) -> Snapshot:
    """The model before it learnt anything: snapshot 0."""
    return _worked_out(learner, 0, 0, Statistics(), ())


def opened(learner: Learner, record: ModelSnapshot) -> Snapshot | None:
    """The snapshot of a record; None where it is of another form, or not what it says it is."""
    if record.form != learner.form or digest_of(record.body) != record.digest:
        return None
    try:
        body = unpacked(_Body, record.body)
    except NotPacked:
        return None
    shared = learner.shared_columns
    fits = all(len(data) == 8 * learner.item_floats for data in body.items.values())
    if not fits or len(body.shared) not in (0, 8 * (shared * (shared + 1) // 2 + shared)):
        return None
    return _worked_out(learner, record.number, record.at_ms, Statistics(body.items, body.shared), body.coefficients)


def worked_out(learner: Learner, statistics: Statistics, number: int = 1) -> Snapshot:
    """The snapshot of some statistics."""
    return _worked_out(learner, number, 0, statistics, ())


def _worked_out(
    learner: Learner, number: int, at_ms: int, statistics: Statistics, coefficients: Sequence[float]
) -> Snapshot:
    names = sorted(statistics.items)
    whole = np.zeros((1 + len(names), learner.item_floats))
    for row, name in enumerate(names, 1):
        whole[row] = np.frombuffer(statistics.items[name])
    rows = {name: row for row, name in enumerate(names, 1)}
    parts = _weights(learner, whole, statistics.shared) if learner.kind in WITH_FEATURES else (_NONE,) * 5
    return Snapshot(number, at_ms, rows, whole[:, :3].copy(), *parts, np.array(coefficients, dtype=np.float64))


def _weights(learner: Learner, whole: Floats, shared: bytes) -> _Parts:
    """Weights, A⁻¹, shared weights, A0⁻¹ and A⁻¹B."""
    d, k = learner.own_columns, learner.shared_columns
    end = 3 + d * (d + 1) // 2
    a = matrix(whole[:, 3:end], d)
    a[:, np.arange(d), np.arange(d)] += learner.ridge
    inverse = np.asarray(np.linalg.inv(a), dtype=np.float64)
    b = whole[:, end : end + d]
    if not k:
        return np.einsum("nij,nj->ni", inverse, b), inverse, _NONE, _NONE, _NONE
    crossing = whole[:, end + d :].reshape(-1, d, k)
    crossed: Floats = np.matmul(inverse, crossing)
    sums = np.frombuffer(shared) if shared else np.zeros(k * (k + 1) // 2 + k)
    a0 = matrix(sums[:-k], k) - np.einsum("nik,nil->kl", crossing, crossed)
    a0[np.arange(k), np.arange(k)] += learner.ridge
    shared_inverse = np.asarray(np.linalg.inv(a0), dtype=np.float64)
    shared_weights: Floats = shared_inverse @ (sums[-k:] - np.einsum("nik,ni->k", crossed, b))
    own = b - np.einsum("nik,k->ni", crossing, shared_weights)
    return np.einsum("nij,nj->ni", inverse, own), inverse, shared_weights, shared_inverse, crossed

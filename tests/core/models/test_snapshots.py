"""What a snapshot says of items: known, new, with unknown features; hybrid as in the paper; regret below chance."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.model.learning import ModelSnapshot, Observation
from pipeline.core.models.learner import KINDS, Kind, Learner
from pipeline.core.models.randomness import Chance, Floats
from pipeline.core.models.selection import drawn
from pipeline.core.models.snapshots import body_of, digest_of, opened, prior_of, worked_out
from pipeline.core.models.statistics import Statistics
from tests.core.models.build import learner, learnt


def recorded(one: Learner, statistics: Statistics, **changes: object) -> ModelSnapshot:
    body = body_of(statistics, ())
    parts = {"form": one.form, "digest": digest_of(body)} | changes
    return ModelSnapshot("shop", "m", 3, 1, learnt=1, body=body, **parts)  # type: ignore[arg-type]


def test_a_recorded_snapshot_scores_as_the_statistics_do() -> None:
    one = learner("linucb", 2)
    statistics = learnt(one, [Observation("a", (1.0, 2.0, 3.0), 1.0)])
    found, direct = opened(one, recorded(one, statistics)), worked_out(one, statistics)
    assert found is not None and found.number == 3
    vectors = [(1.0, 0.5, 0.1)] * 2
    again, once = found.posterior(one, ["a", "b"], vectors), direct.posterior(one, ["a", "b"], vectors)
    assert again.first.tolist() == once.first.tolist() and again.second.tolist() == once.second.tolist()


def test_a_snapshot_of_another_form_or_content_is_refused() -> None:
    one, other = learner("linucb", 2), learner("linucb", 3)
    statistics = learnt(one, [Observation("a", (1.0, 2.0, 3.0), 1.0)])
    assert opened(other, recorded(one, statistics)) is None
    assert opened(other, recorded(one, statistics, form=other.form)) is None
    assert opened(one, recorded(one, statistics, digest="0")) is None


def test_an_item_without_its_features_has_the_declared_score() -> None:
    one = learner("linear_thompson", 2, fallback_score=0.125)
    posterior = prior_of(one).posterior(one, ["a", "b"], [(1.0, 2.0, 3.0), None], [2.0, 2.0])
    assert posterior.sampled(Chance("x")).tolist()[1] == posterior.means().tolist()[1] == 0.25


def test_a_hybrid_agrees_with_the_algorithm_as_published() -> None:
    """Algorithm 2 of Li et al. (2010), step by step, with z the item's features times the context's."""
    one = learner("hybrid", 2, 2, width=0.7)
    chance, size, k = Chance("hybrid"), one.own_columns, one.shared_columns
    a0, b0 = np.eye(k), np.zeros(k)
    arms: dict[str, tuple[Floats, Floats, Floats]] = {}
    seen = []
    for number in range(60):
        name = "abc"[number % 3]
        vector = np.concatenate(([1.0], chance.normals(4)))
        x, z = vector[:3], np.outer(vector[3:], vector[:3]).ravel()
        reward = float(chance.uniforms(1)[0] < 0.4)
        a, cross, b = arms.get(name, (np.eye(size), np.zeros((size, k)), np.zeros(size)))
        inverse = np.linalg.inv(a)
        a0, b0 = a0 + cross.T @ inverse @ cross, b0 + cross.T @ inverse @ b
        a, cross, b = a + np.outer(x, x), cross + np.outer(x, z), b + reward * x
        inverse = np.linalg.inv(a)
        a0 = a0 + np.outer(z, z) - cross.T @ inverse @ cross
        b0 = b0 + reward * z - cross.T @ inverse @ b
        arms[name] = a, cross, b
        seen.append(Observation(name, tuple(vector.tolist()), reward))
    vector = np.array([1.0, 0.3, -0.4, 0.9, 0.2])
    x, z, shared = vector[:3], np.outer(vector[3:], vector[:3]).ravel(), np.linalg.solve(a0, b0)
    found = worked_out(one, learnt(one, seen)).posterior(one, ["a", "new"], [tuple(vector.tolist())] * 2)
    for index, (a, cross, b) in enumerate((arms["a"], (np.eye(size), np.zeros((size, k)), np.zeros(size)))):
        inverse, inverse0 = np.linalg.inv(a), np.linalg.inv(a0)
        s = (z @ inverse0 @ z - 2.0 * z @ inverse0 @ cross.T @ inverse @ x + x @ inverse @ x
             + x @ inverse @ cross @ inverse0 @ cross.T @ inverse @ x)
        assert found.first[index] == pytest.approx(float(z @ shared + x @ inverse @ (b - cross @ shared)), abs=1e-9)
        assert found.second[index] == pytest.approx(0.7 * float(np.sqrt(s)), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_regret_on_a_simulated_problem_falls_below_that_of_chance(kind: Kind) -> None:
    """Simulated: three items; which one is best depends on the context where the model reads it."""
    one = learner(kind, 1, 1 if kind == "hybrid" else 0, width=0.5) if kind not in ("beta", "gaussian") else (
        learner(kind, prior_variance=0.25))
    chance, items = Chance("simulated", kind), ["a", "b", "c"]
    statistics, lost, rounds = Statistics(), 0.0, 600
    for number in range(rounds):
        side = 1.0 if number % 2 else -1.0
        shares = [0.3 + 0.25 * side, 0.3 - 0.25 * side, 0.2] if one.columns else [0.1, 0.3, 0.6]
        vectors = [(1.0, side, *([float(index)] * (kind == "hybrid"))) if one.columns else () for index in range(3)]
        posterior = worked_out(one, statistics).posterior(one, items, vectors)
        pick = drawn(posterior, [0, 1, 2], 0.02, 0.0, kind, str(number)).pick
        reward = float(chance.uniforms(1)[0] < shares[pick])
        statistics = statistics.updated(Observation(items[pick], vectors[pick], reward), one)
        if number >= rounds // 2:
            lost += max(shares) - shares[pick]
    by_chance = 0.55 - 0.8 / 3 if one.columns else 0.6 - 1.0 / 3
    assert lost / (rounds // 2) < 0.6 * by_chance

"""Where the formula is the same, the numbers are those of MABWiser 2.7.4, to 1e-9."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mabwiser.mab import MAB, LearningPolicy

from pipeline.core.model.learning import Observation
from pipeline.core.models.randomness import Chance, Floats
from pipeline.core.models.snapshots import worked_out
from tests.core.models.build import learner, learnt

ARMS = ["a", "b", "c"]
CONTEXTS = 4


def log(count: int = 200) -> tuple[list[str], list[float], Floats]:
    chance = Chance("log")
    arms = [ARMS[int(u * len(ARMS))] for u in chance.uniforms(count)]
    contexts = np.column_stack((np.ones(count), chance.normals(count * (CONTEXTS - 1)).reshape(count, -1)))
    rewards = [float(u < 0.3 + 0.2 * (arm == "b")) for u, arm in zip(chance.uniforms(count), arms, strict=True)]
    return arms, rewards, contexts


def of(kind: Any, ridge: float = 1.0) -> Any:
    arms, rewards, contexts = log()
    one = learner(kind, CONTEXTS - 1, width=1.3, ridge=ridge)
    seen = [Observation(arm, tuple(x), reward) for arm, reward, x in zip(arms, rewards, contexts.tolist(), strict=True)]
    return one, worked_out(one, learnt(one, seen))


@pytest.mark.parametrize("ridge", [1.0, 0.25])
def test_linucb_has_the_same_bounds(ridge: float) -> None:
    arms, rewards, contexts = log()
    theirs = MAB(ARMS, LearningPolicy.LinUCB(alpha=1.3, l2_lambda=ridge))
    theirs.fit(arms, rewards, contexts)
    one, snapshot = of("linucb", ridge)
    for x in contexts[:20]:
        posterior = snapshot.posterior(one, ARMS, [tuple(x)] * len(ARMS))
        expected = theirs.predict_expectations([x])
        assert (posterior.first + posterior.second).tolist() == pytest.approx([expected[arm] for arm in ARMS], abs=1e-9)


def test_linear_thompson_draws_from_the_same_distribution() -> None:
    arms, rewards, contexts = log()
    theirs = MAB(ARMS, LearningPolicy.LinTS(alpha=1.3, l2_lambda=1.0))
    theirs.fit(arms, rewards, contexts)
    one, snapshot = of("linear_thompson")
    for x in contexts[:20]:
        posterior = snapshot.posterior(one, ARMS, [tuple(x)] * len(ARMS))
        for index, arm in enumerate(ARMS):
            model = theirs._imp.arm_to_model[arm]
            # They draw the weights of N(beta, alpha² A⁻¹), we the score of N(x beta, alpha² x A⁻¹ x).
            assert posterior.first[index] == pytest.approx(float(x @ model.beta), abs=1e-9)
            assert posterior.second[index] == pytest.approx(1.3 * float(np.sqrt(x @ model.A_inv @ x)), abs=1e-9)


def test_beta_thompson_scores_the_same_with_the_same_draws() -> None:
    arms, rewards, _ = log()
    theirs = MAB(ARMS, LearningPolicy.ThompsonSampling())
    theirs.fit(arms, rewards)
    one = learner("beta", prior_mean=0.5, prior_strength=2.0)
    seen = [Observation(arm, (), reward) for arm, reward in zip(arms, rewards, strict=True)]
    posterior = worked_out(one, learnt(one, seen)).posterior(one, ARMS, [()] * len(ARMS))
    ours = dict(zip(ARMS, posterior.sampled(Chance("draw")).tolist(), strict=True))
    asked: list[tuple[float, float]] = []

    class Drawn:
        """Their generator with our draws, by the shapes that it is asked for."""

        def beta(self, a: float, b: float, size: Any = None) -> Any:
            asked.append((float(a), float(b)))
            index = [tuple(shape) for shape in zip(posterior.first, posterior.second, strict=True)].index(asked[-1])
            return ours[ARMS[index]] if size is None else np.full(size, ours[ARMS[index]])

    theirs._imp.rng = Drawn()
    expected = theirs.predict_expectations()
    assert len(asked) == len(ARMS)
    assert [ours[arm] for arm in ARMS] == pytest.approx([expected[arm] for arm in ARMS], abs=1e-9)

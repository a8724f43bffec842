"""Reward models: what they say of a row never depends on that row or its subject, and they are the formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from analysis.errors import AnalysisError
from analysis.off_policy.log import Log
from analysis.off_policy.reward_models import Means, Model, Ridge, cross_fitted


def log_with(group: bool = True) -> Log:
    chance = np.random.Generator(np.random.Philox(8))
    n = 300
    return Log(
        chance.integers(0, 4, n), chance.random(n), np.full(n, 0.25), 4, position=chance.integers(0, 2, n),
        group=chance.integers(0, 60, n) if group else None, context=chance.normal(size=(n, 3)),
    )


@pytest.mark.parametrize("model", [Means(), Ridge()])
def test_what_is_said_of_a_subject_does_not_depend_on_their_rewards(model: Model) -> None:
    log = log_with()
    assert log.group is not None
    theirs = log.group == log.group[0]
    changed = replace(log, reward=np.where(theirs, 0.5, log.reward))
    before, after = cross_fitted(log, model), cross_fitted(changed, model)
    np.testing.assert_array_equal(before[theirs], after[theirs])
    assert not np.array_equal(before[~theirs], after[~theirs])


def test_means_are_drawn_towards_the_mean_of_all() -> None:
    log = Log(np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 0.0, 0.0]), np.full(4, 0.5), 2, group=np.array([0, 1, 1, 0]))
    made = cross_fitted(log, Means(prior_rows=2.0), folds=2)
    # Each fold sees one reward of 1 for action 0, one of 0 for action 1: (1 + 2 * 0.5) / 3 and (0 + 2 * 0.5) / 3.
    np.testing.assert_allclose(made, np.tile([2 / 3, 1 / 3], (4, 1)))


def test_ridge_is_that_of_scikit_learn() -> None:
    log = log_with(group=False)
    assert log.context is not None
    made = cross_fitted(log, Ridge(penalty=3.0), folds=2)
    order = np.random.Generator(np.random.Philox(0)).permutation(log.rows)
    features = np.hstack([np.eye(2)[log.positions()], log.context, np.eye(4)[log.action]])
    for fold in range(2):
        seen = order % 2 != fold
        peer = SklearnRidge(alpha=3.0).fit(features[seen], log.reward[seen])
        bounds = log.reward[seen].min(), log.reward[seen].max()
        np.testing.assert_allclose(log.taken(made)[~seen], np.clip(peer.predict(features[~seen]), *bounds), atol=1e-9)


@pytest.mark.parametrize("model", [Means(), Ridge(penalty=1e-6)])
def test_a_model_says_no_reward_that_it_never_saw(model: Model) -> None:
    log = log_with()
    made = cross_fitted(log, model)
    assert log.reward.min() <= made.min() and made.max() <= log.reward.max()


@pytest.mark.parametrize("folds", [1, 61])
def test_folds_that_cannot_be_made_are_refused(folds: int) -> None:
    with pytest.raises(AnalysisError, match="folds"):
        cross_fitted(log_with(), Means(), folds=folds)

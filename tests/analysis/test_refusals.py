"""No estimate is made where the log cannot answer; the reason says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.off_policy.estimators import Declared, Method, estimate
from analysis.off_policy.intervals import Bootstrap
from analysis.off_policy.log import Log

ROWS = 60
LOG = Log(np.array([0, 1, 2] * 20), np.ones(ROWS), np.full(ROWS, 1 / 3), 3, position=np.array([0] * 30 + [1] * 30))
UNIFORM = np.full((ROWS, 3), 1 / 3)


def reasons(log: Log, target: np.ndarray = UNIFORM, method: Method = Method.IPS) -> str:
    made = estimate(method, log, target, Bootstrap(), Declared(tau=5.0), np.zeros((log.rows, 3)))
    assert made.value is None and made.low is None
    return "; ".join(made.reasons)


def first(column: np.ndarray, value: float) -> np.ndarray:
    changed = column.copy()
    changed[0] = value
    return changed


def test_what_is_fine_is_not_refused() -> None:
    assert estimate(Method.IPS, LOG, UNIFORM, Bootstrap()).value == pytest.approx(1.0)


@pytest.mark.parametrize("method", list(Method))
def test_propensities_that_are_missing_are_refused_by_every_estimator(method: Method) -> None:
    log = replace(LOG, pscore=first(LOG.pscore, float("nan")))
    assert "propensity missing in 1 of 60 rows" in reasons(log, method=method)


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.1, float("inf")])
def test_propensities_that_are_no_probability_are_refused(wrong: float) -> None:
    assert "1 propensities are not above 0 and at most 1" in reasons(replace(LOG, pscore=first(LOG.pscore, wrong)))


def test_rewards_that_are_no_number_are_refused() -> None:
    assert "1 rewards" in reasons(replace(LOG, reward=first(LOG.reward, float("nan"))))


def test_a_context_that_is_no_number_is_refused() -> None:
    assert "context" in reasons(replace(LOG, context=np.full((ROWS, 1), np.nan)))


def test_an_action_that_does_not_exist_is_refused() -> None:
    assert "1 rows name an action" in reasons(replace(LOG, action=first(LOG.action, 3)))


def test_too_few_rows_are_refused() -> None:
    few = Log(LOG.action[:49], LOG.reward[:49], LOG.pscore[:49], 3)
    assert "too few rows: 49" in reasons(few, UNIFORM[:49])


@pytest.mark.parametrize("row", [[0.5, 0.4, 0.2], [1.5, -0.5, 0.0], [float("nan"), 0.5, 0.5]])
def test_a_policy_that_is_no_distribution_is_refused(row: list[float]) -> None:
    target = UNIFORM.copy()
    target[5] = row
    assert "probabilities" in reasons(LOG, target)


def test_an_action_that_was_never_logged_at_the_position_has_no_support() -> None:
    # Position 1 shows action 0 and 1 only; the policy shows 2 everywhere.
    action = np.where((LOG.position == 1) & (LOG.action == 2), 1, LOG.action)
    assert "never logged at that position, in 30 cells" in reasons(replace(LOG, action=action))


def test_an_action_that_was_not_eligible_has_no_support() -> None:
    eligible = np.ones((ROWS, 3), np.bool_)
    eligible[7, (LOG.action[7] + 1) % 3] = False
    assert "not eligible, in 1 cells" in reasons(replace(LOG, eligible=eligible))


def test_a_log_that_could_show_one_action_only_supports_no_other() -> None:
    assert "could show one action only" in reasons(replace(LOG, pscore=np.ones(ROWS)))


def test_a_policy_that_shows_nothing_of_what_was_logged_is_refused() -> None:
    everything = np.ones((ROWS, 3), np.bool_)
    log = Log(np.zeros(ROWS, np.int64), LOG.reward, LOG.pscore, 3, eligible=everything)
    target = np.tile([0.0, 0.5, 0.5], (ROWS, 1))
    assert "no logged action" in reasons(log, target)


def test_shapes_that_do_not_fit_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="reward has 3 rows"):
        Log(np.zeros(2, np.int64), np.zeros(3), np.ones(2), 1)
    with pytest.raises(ValueError, match="shape"):
        estimate(Method.IPS, LOG, UNIFORM[:, :2], Bootstrap())
    with pytest.raises(ValueError, match="needs a reward model"):
        estimate(Method.DR, LOG, UNIFORM, Bootstrap())
    with pytest.raises(ValueError, match="tau"):
        estimate(Method.SWITCH_DR, LOG, UNIFORM, Bootstrap(), model=UNIFORM)

"""Off-policy estimators: unbiased on small worlds that are counted out exactly, and the laws that they obey."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.off_policy.estimators import Declared, Estimate, How, Method, effective_size, estimate
from analysis.off_policy.intervals import Bootstrap, EmpiricalBernstein
from analysis.off_policy.log import Floats, Log

ROWS_2 = Declared(rows_min=2)
QUICK = Bootstrap(resamples=100)
#: A log has some hundred numbers: few of them are many cases.
FEW = settings(max_examples=30)
WEIGHING = (Method.IPS, Method.SNIPS, Method.DR, Method.SWITCH_DR)


def log_of(action: list[int], reward: list[float], pscore: list[float], actions: int = 2) -> Log:
    everything = np.ones((len(action), actions), np.bool_)
    return Log(np.array(action), np.array(reward, float), np.array(pscore, float), actions, eligible=everything)


def everywhere(probabilities: list[float], rows: int) -> Floats:
    return np.tile(np.array(probabilities), (rows, 1))


@st.composite
def logs(draw: st.DrawFn) -> tuple[Log, Floats, Floats]:
    """A log of 2 to 30 rows with 3 actions, a policy, a reward model."""
    n = draw(st.integers(2, 30))
    column = st.lists(st.floats(0.05, 1), min_size=n, max_size=n)
    action = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    reward = draw(st.lists(st.floats(-5, 5), min_size=n, max_size=n))
    log = log_of(action, reward, [0.9 * p for p in draw(column)], 3)
    raw = np.array([draw(st.tuples(*[st.floats(0.05, 1)] * 3)) for _ in range(n)])
    model = np.array([draw(st.tuples(*[st.floats(-5, 5)] * 3)) for _ in range(n)])
    return log, raw / raw.sum(axis=1, keepdims=True), model


def value(method: Method, log: Log, target: Floats, model: Floats | None = None, tau: float = 1e9) -> float:
    made = estimate(method, log, target, QUICK, Declared(tau=tau, rows_min=2), model)
    assert made.value is not None, made.reasons
    return made.value


def test_ips_and_dr_are_unbiased_in_a_world_that_is_counted_out() -> None:
    """Two decisions, two actions, rewards 0 or 1: the mean over every possible log is the policy's value, exactly."""
    logging, target = (Fraction(1, 4), Fraction(3, 4)), (Fraction(2, 3), Fraction(1, 3))
    chance = (Fraction(1, 5), Fraction(1, 2))
    truth = sum(p * c for p, c in zip(target, chance, strict=True))
    model = np.array([[0.7, 0.1], [0.7, 0.1]])
    expected = {Method.IPS: Fraction(0), Method.DR: Fraction(0)}
    for actions in product((0, 1), repeat=2):
        for rewards in product((0, 1), repeat=2):
            probability = Fraction(1)
            for action, reward in zip(actions, rewards, strict=True):
                probability *= logging[action] * (chance[action] if reward else 1 - chance[action])
            log = log_of(list(actions), [float(r) for r in rewards], [float(logging[a]) for a in actions])
            for method in expected:
                made = value(method, log, everywhere([float(p) for p in target], 2), model)
                expected[method] += probability * Fraction(made)
    for method, mean in expected.items():
        assert float(mean) == pytest.approx(float(truth), abs=1e-12), method


@FEW
@given(logs())
def test_every_estimator_is_its_formula(given: tuple[Log, Floats, Floats]) -> None:
    """Naive loops in exact fractions, written from the papers."""
    log, target, model = given
    n, tau = log.rows, Fraction(2)
    weights = [Fraction(float(target[i, log.action[i]])) / Fraction(float(log.pscore[i])) for i in range(n)]
    rewards = [Fraction(float(r)) for r in log.reward]
    q = [[Fraction(float(x)) for x in row] for row in model]
    direct = [sum(Fraction(float(target[i, a])) * q[i][a] for a in range(3)) for i in range(n)]
    left = [rewards[i] - q[i][int(log.action[i])] for i in range(n)]
    ips = sum(w * r for w, r in zip(weights, rewards, strict=True))
    # The weight that stands next to tau may fall on either side of it by rounding.
    near = any(abs(w - tau) < Fraction(1, 10**9) for w in weights)
    expected = {
        Method.IPS: ips / n,
        Method.SNIPS: ips / sum(weights),
        Method.DM: sum(direct, Fraction(0)) / n,
        Method.DR: sum((d + w * x for d, w, x in zip(direct, weights, left, strict=True)), Fraction(0)) / n,
    }
    if not near:
        kept = [w if w <= tau else Fraction(0) for w in weights]
        switched = [d + w * x for d, w, x in zip(direct, kept, left, strict=True)]
        expected[Method.SWITCH_DR] = sum(switched, Fraction(0)) / n
    for method, exact in expected.items():
        assert value(method, log, target, model, tau=2.0) == pytest.approx(float(exact), abs=1e-9, rel=1e-9), method


@FEW
@given(logs())
def test_dr_is_dm_where_the_model_is_exact(given: tuple[Log, Floats, Floats]) -> None:
    log, target, model = given
    model[np.arange(log.rows), log.action] = log.reward
    assert value(Method.DR, log, target, model) == pytest.approx(value(Method.DM, log, target, model), abs=1e-9)


@FEW
@given(logs())
def test_dr_is_ips_where_the_model_says_nothing(given: tuple[Log, Floats, Floats]) -> None:
    log, target, model = given
    nothing = np.zeros_like(model)
    assert value(Method.DR, log, target, nothing) == pytest.approx(value(Method.IPS, log, target), abs=1e-9)


@FEW
@given(logs())
def test_switch_dr_goes_from_dm_to_dr_as_tau_grows(given: tuple[Log, Floats, Floats]) -> None:
    log, target, model = given
    assert value(Method.SWITCH_DR, log, target, model, tau=1e-9) == pytest.approx(value(Method.DM, log, target, model))
    assert value(Method.SWITCH_DR, log, target, model, tau=1e9) == pytest.approx(value(Method.DR, log, target, model))


@FEW
@given(logs())
def test_snips_stays_within_the_rewards(given: tuple[Log, Floats, Floats]) -> None:
    log, target, _ = given
    made = value(Method.SNIPS, log, target)
    assert log.reward.min() - 1e-9 <= made <= log.reward.max() + 1e-9


@FEW
@given(logs(), st.floats(-10, 10))
def test_snips_moves_with_the_rewards(given: tuple[Log, Floats, Floats], shift: float) -> None:
    log, target, _ = given
    moved = Log(log.action, log.reward + shift, log.pscore, 3, eligible=log.eligible)
    assert value(Method.SNIPS, moved, target) == pytest.approx(value(Method.SNIPS, log, target) + shift, abs=1e-8)


@FEW
@given(logs(), st.sampled_from(WEIGHING), st.floats(0.1, 10))
def test_estimates_scale_with_the_rewards(given: tuple[Log, Floats, Floats], method: Method, by: float) -> None:
    log, target, model = given
    scaled = Log(log.action, log.reward * by, log.pscore, 3, eligible=log.eligible)
    assert value(method, scaled, target, model * by) == pytest.approx(value(method, log, target, model) * by, abs=1e-8)


def test_the_logging_policy_is_worth_what_it_earned() -> None:
    log = log_of([0, 1, 1, 0], [1, 0, 3, 4], [0.5] * 4)
    for method in (Method.IPS, Method.SNIPS):
        assert value(method, log, everywhere([0.5, 0.5], 4)) == 2.0


def made_of(how: How, declared: Declared = ROWS_2, method: Method = Method.IPS, rows: int = 60) -> Estimate:
    log = log_of([0, 1] * (rows // 2), [1.0, 0.0, 0.0, 1.0] * (rows // 4), [0.25, 0.75] * (rows // 2))
    return estimate(method, log, everywhere([0.5, 0.5], rows), how, declared, np.full((rows, 2), 0.5))


def test_clipping_cuts_the_weights_and_says_so() -> None:
    made = made_of(QUICK, Declared(clip=1.5, rows_min=2))
    # Weights 2 and 2/3; half of each action's rewards are 1.
    assert made.value == pytest.approx((1.5 + 2 / 3) / 4)
    assert made.clipped == 30
    assert "30 of 60 weights were clipped" in made.reasons[-1]


def test_the_effective_size_is_kishs() -> None:
    assert effective_size(np.array([1.0, 1.0, 1.0, 1.0])) == 4.0
    assert effective_size(np.array([2.0, 1.0, 0.0])) == pytest.approx(9 / 5)
    assert effective_size(np.zeros(3)) == 0.0


def test_one_seed_is_one_interval_and_it_holds_the_estimate() -> None:
    first, again, other = made_of(Bootstrap(seed=1)), made_of(Bootstrap(seed=1)), made_of(Bootstrap(seed=2))
    assert (first.low, first.high) == (again.low, again.high) != (other.low, other.high)
    assert first.low is not None and first.high is not None and first.value is not None
    assert first.low < first.value < first.high


def test_the_bootstrap_of_a_mean_is_as_wide_as_the_normal_interval() -> None:
    chance = np.random.Generator(np.random.Philox(5))
    reward = (chance.random(2000) < 0.3).astype(float)
    log = Log(np.zeros(2000, np.int64), reward, np.ones(2000), 1)
    made = estimate(Method.IPS, log, np.ones((2000, 1)), Bootstrap(resamples=2000))
    assert made.low is not None and made.high is not None
    assert (made.high - made.low) / 2 == pytest.approx(1.96 * reward.std() / 2000**0.5, rel=0.08)


def test_rows_of_one_subject_are_drawn_together() -> None:
    """Each subject's rows say the same thing ten times: the interval is that of the subjects."""
    chance = np.random.Generator(np.random.Philox(6))
    per_subject = (chance.random(200) < 0.5).astype(float)
    reward, group = np.repeat(per_subject, 10), np.repeat(np.arange(200), 10)
    one = np.ones((2000, 1))
    how = Bootstrap(resamples=1000)
    apart = estimate(Method.IPS, Log(np.zeros(2000, np.int64), reward, np.ones(2000), 1), one, how)
    joined = estimate(Method.IPS, Log(np.zeros(2000, np.int64), reward, np.ones(2000), 1, group=group), one, how)
    assert apart.low is not None and apart.high is not None and joined.low is not None and joined.high is not None
    assert (joined.high - joined.low) / (apart.high - apart.low) == pytest.approx(10**0.5, rel=0.15)


def test_the_empirical_bernstein_interval_is_maurer_and_pontils() -> None:
    """n = 60, weights at most 2, rewards 0 to 1; X / 2 has the sample variance V; d = 0.05 / 2 for each side."""
    made = made_of(EmpiricalBernstein(0, 1, weight_max=2))
    x = np.array([2.0, 0.0, 0.0, 2 / 3] * 15) / 2
    n, log_term = 60, np.log(2 / 0.025)
    half = 2 * (np.sqrt(2 * x.var(ddof=1) * log_term / n) + 7 * log_term / (3 * (n - 1)))
    assert made.value == pytest.approx(2 * x.mean())
    assert made.high == pytest.approx(2 * x.mean() + half)
    assert made.low == pytest.approx(2 * x.mean() - half)


@pytest.mark.parametrize("method", [Method.SNIPS, Method.DM])
def test_no_empirical_bernstein_interval_where_the_theorem_does_not_hold(method: Method) -> None:
    made = made_of(EmpiricalBernstein(0, 1, weight_max=2), method=method)
    assert made.value is not None and made.low is None
    assert "no empirical-Bernstein interval" in made.reasons[0]


def test_no_empirical_bernstein_interval_without_a_declared_bound() -> None:
    assert "nothing bounds the weights" in made_of(EmpiricalBernstein(0, 1)).reasons[0]
    assert made_of(EmpiricalBernstein(0, 1), Declared(clip=1.5, rows_min=2)).low is not None
    wrong = made_of(EmpiricalBernstein(0, 1, weight_max=1.2))
    assert wrong.low is None and "outside what was declared" in wrong.reasons[0]


def test_empirical_bernstein_holds_for_dr_and_switch_dr() -> None:
    for method in (Method.DR, Method.SWITCH_DR):
        made = made_of(EmpiricalBernstein(0, 1, weight_max=2), Declared(tau=2.5, rows_min=2), method)
        assert made.low is not None and made.value is not None and made.high is not None
        assert made.low <= made.value <= made.high

"""The statistics of experiments: worked examples from the papers' formulas, against SciPy, and their laws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.experiments import effects
from analysis.experiments.arms import Arm
from analysis.experiments.compare import Declared, effect, looks, segment_effects
from analysis.experiments.corrections import benjamini_yekutieli, holm
from analysis.experiments.effects import Estimated
from analysis.experiments.sample_ratio import log_bayes_factor, sample_ratio
from analysis.experiments.sequential import Sequence
from bench.aa import alarms


def arm(name: str, outcome: list[float] | np.ndarray, exposures: np.ndarray | None = None) -> Arm:
    values = np.asarray(outcome, float)
    return Arm(name, values, np.ones(len(values)) if exposures is None else exposures, np.arange(len(values)))


def test_cuped_is_the_worked_example() -> None:
    """Control: X 1, 2, 3, Y 2, 4, 6. Treated: X 2, 4, Y 5, 9. Within: Sxy = 4 + 4, Sxx = 2 + 2, Syy = 8 + 8."""
    made = effects.cuped(np.array([2.0, 4, 6]), np.array([5.0, 9]), np.array([1.0, 2, 3]), np.array([2.0, 4]))
    assert made is not None
    assert (made.theta, made.reduction) == (2.0, 1.0)
    # The mean of all X is 2.4.
    np.testing.assert_allclose(made.control, [4.8, 4.8, 4.8])
    np.testing.assert_allclose(made.treated, [5.8, 5.8])


def test_cuped_takes_away_the_share_that_the_correlation_explains() -> None:
    chance = np.random.Generator(np.random.Philox(1))
    before = chance.normal(size=4000)
    after = 0.8 * before + 0.6 * chance.normal(size=4000)
    made = effects.cuped(after[:2000], after[2000:], before[:2000], before[2000:])
    assert made is not None
    assert made.reduction == pytest.approx(0.64, abs=0.03)
    left = np.concatenate([made.control - made.control.mean(), made.treated - made.treated.mean()])
    raw = np.concatenate([after[:2000] - after[:2000].mean(), after[2000:] - after[2000:].mean()])
    assert 1 - left.var() / raw.var() == pytest.approx(made.reduction)


def test_a_covariate_that_does_not_vary_adjusts_nothing() -> None:
    assert effects.cuped(np.array([1.0, 2]), np.array([1.0, 3]), np.zeros(2), np.zeros(2)) is None


def test_rho_and_the_interval_are_those_of_the_paper() -> None:
    """alpha = 0.05, tuned at 1,000: -2 ln 0.05 = 5.991465, so rho^2 = (5.991465 + ln 6.991465) / 1000 = 0.00793615.

    After 500 values of deviation 2: t rho^2 = 3.968077, and half of the interval is
    2 sqrt(2 * 4.968077 / (500 * 3.968077) * ln(sqrt(4.968077) / 0.05)) = 0.275803.
    """
    sequence = Sequence(alpha=0.05, tuned_at=1000)
    log_term = -2 * math.log(0.05)
    rho_squared = (log_term + math.log(log_term + 1)) / 1000
    assert sequence.rho**2 == pytest.approx(rho_squared, abs=1e-12)
    assert rho_squared == pytest.approx(0.00793615, abs=1e-7)
    scaled = 500 * rho_squared
    by_hand = 2 * math.sqrt(2 * (scaled + 1) / (500 * scaled) * math.log(math.sqrt(scaled + 1) / 0.05))
    assert by_hand == pytest.approx(0.275803, abs=1e-6)
    assert sequence.half_width(2.0, 500) == pytest.approx(by_hand, abs=1e-12)
    low, high = sequence.interval(Estimated(1.0, 4.0 / 500, 500))
    assert (low, high) == pytest.approx((1.0 - by_hand, 1.0 + by_hand))


def test_the_interval_is_narrowest_where_it_is_tuned() -> None:
    tried = (1000, 5000, 10_000, 20_000, 100_000)
    widths = {tuned: Sequence(tuned_at=tuned).half_width(1.0, 10_000) for tuned in tried}
    assert min(widths, key=lambda tuned: widths[tuned]) == 10_000
    # Looking at any time costs something: it is wider than the interval for one look.
    assert widths[10_000] > 1.96 / 100


@given(st.floats(-3, 3), st.floats(0.001, 1), st.integers(100, 100_000), st.floats(0.001, 0.4))
def test_the_p_value_is_below_alpha_where_the_interval_leaves_out_nothing_else(
    value: float, deviation: float, n: int, alpha: float
) -> None:
    """With one rho, the two say the same: a p-value below alpha, and an interval without 0."""
    sequence = Sequence(alpha=alpha)
    found = Estimated(value, deviation**2, n)
    low, high = sequence.interval(found)
    p = sequence.p_value(found)
    if abs(p - alpha) > 1e-9:
        assert (p < alpha) == (low > 0 or high < 0)


def test_the_difference_and_its_fixed_interval_are_welchs() -> None:
    chance = np.random.Generator(np.random.Philox(2))
    a, b = chance.normal(1, 1, 500), chance.normal(1.2, 2, 300)
    found = effects.difference(effects.mean(a), effects.mean(b))
    peer = stats.ttest_ind(b, a, equal_var=False)
    assert found.value / math.sqrt(found.variance) == pytest.approx(peer.statistic, rel=1e-12)
    low, high = effects.fixed_interval(found, 0.05)
    assert (low + high) / 2 == pytest.approx(found.value)


def test_lift_and_ratio_have_the_variance_that_repeating_shows() -> None:
    chance = np.random.Generator(np.random.Philox(3))
    lifts, ratios, said = [], [], []
    for _ in range(600):
        a, b = chance.gamma(2, 1, 400), chance.gamma(2, 1.1, 400)
        views = chance.poisson(3, 400).astype(np.float64) + 1
        lift = effects.relative_lift(effects.mean(a), effects.mean(b))
        assert lift is not None
        ratio = effects.ratio(a * views, views)
        lifts.append(lift.value)
        ratios.append(ratio.value)
        said.append((lift.variance, ratio.variance))
    means = np.mean(said, axis=0)
    assert np.var(lifts) == pytest.approx(means[0], rel=0.15)
    assert np.var(ratios) == pytest.approx(means[1], rel=0.15)


def test_no_lift_over_a_control_that_earned_nothing() -> None:
    assert effects.relative_lift(Estimated(0.0, 0.1, 10), Estimated(1.0, 0.1, 10)) is None


def test_outcomes_are_winsorised_at_one_limit_for_all() -> None:
    (a, b), limit = effects.winsorised([np.arange(50.0), np.arange(50.0, 100.0)], 0.9)
    assert limit == pytest.approx(89.1)
    assert a.max() == 49.0 and b.max() == limit
    with pytest.raises(ValueError, match="quantile"):
        effects.winsorised([a, b], 1.0)


def test_the_sample_ratio_is_the_chi_square_of_scipy() -> None:
    made = sample_ratio([5200, 4800, 2500], [2, 2, 1])
    peer = stats.chisquare([5200, 4800, 2500], [5000, 5000, 2500])
    assert made.p_once == pytest.approx(peer.pvalue, rel=1e-9)
    assert made.expected == (5000, 5000, 2500)


def test_a_sample_ratio_that_is_off_is_an_alarm_and_one_that_is_not_is_none() -> None:
    assert sample_ratio([5000, 4500], [1, 1]).alarm
    assert not sample_ratio([5000, 4900], [1, 1]).alarm
    assert not sample_ratio([0, 0], [1, 1]).alarm


def test_the_bayes_factor_is_a_fair_bet() -> None:
    """Over all sequences of 6 subjects under the declared rates, its mean is 1."""
    rates, n = [0.3, 0.7], 6
    mean = sum(
        math.comb(n, k) * rates[0] ** k * rates[1] ** (n - k) * math.exp(log_bayes_factor([k, n - k], rates))
        for k in range(n + 1)
    )
    assert mean == pytest.approx(1.0, abs=1e-12)


def test_holm_and_benjamini_yekutieli_are_the_worked_examples() -> None:
    """Holm of 0.01, 0.04, 0.03: 3 * 0.01, then 2 * 0.03, then 0.04 raised to it. BY: times 3 (1 + 1/2 + 1/3) / rank."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    harmonic = 1 + 1 / 2 + 1 / 3
    expected = [0.01 * 3 * harmonic, 0.04 * harmonic, 0.04 * harmonic]
    assert benjamini_yekutieli([0.01, 0.04, 0.03]) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_yekutieli_is_that_of_scipy_and_no_adjustment_lowers_a_value(values: list[float]) -> None:
    peer = stats.false_discovery_control(values, method="by")
    np.testing.assert_allclose(benjamini_yekutieli(values), peer, atol=1e-12)
    assert all(after >= before for before, after in zip(values, holm(values), strict=True))


def test_too_few_subjects_have_no_effect() -> None:
    assert effect(arm("a", [1.0] * 99), arm("b", [0.0, 1.0] * 60), Declared(), 0.05) is None


def test_a_look_sees_the_subjects_that_were_complete_by_then() -> None:
    chance = np.random.Generator(np.random.Philox(4))
    a, b = arm("a", chance.random(1000)), arm("b", chance.random(1000) + 0.5)
    seen = looks(a, b, Declared(), 0.05)
    assert [look.n for look in seen] == [100 * k for k in range(1, 21)]
    then = seen[4].effect
    assert then is not None
    assert then.difference == pytest.approx(b.outcome[:250].mean() - a.outcome[:250].mean())
    assert seen[-1].effect == effect(a, b, Declared(), 0.05)


def test_segments_are_adjusted_together() -> None:
    chance = np.random.Generator(np.random.Philox(9))
    side = np.array(["x", "y"])[chance.integers(0, 2, 2000)]
    a = Arm("a", chance.normal(size=2000), np.ones(2000), np.arange(2000), segments={"s": side})
    b = Arm("b", chance.normal(size=2000) + (side == "x"), np.ones(2000), np.arange(2000), segments={"s": side})
    found = segment_effects(a, [b], Declared())
    assert [one.value for one in found] == ["x", "y"]
    raw = [one.effect.p_always for one in found if one.effect is not None]
    assert [one.p_adjusted for one in found] == holm(raw)
    assert raw[0] < 0.001 < raw[1]


def test_false_alarms_stay_below_alpha_over_twenty_looks() -> None:
    """A small version of `python -m bench.aa`; the fixed interval beside it shows that looking matters."""
    made = alarms("conversions", runs=60, subjects=2000)
    assert made.sequential <= 0.05 * made.runs and made.sample_ratio <= 0.05 * made.runs
    assert made.fixed > 0.1 * made.runs


def test_what_does_not_go_together_is_refused() -> None:
    wrongs: list[dict[str, Any]] = [
        {"metric": "ratio", "cuped": True}, {"winsorise": 0.3}, {"alpha": 0.0}, {"subjects_min": 1},
    ]
    for wrong in wrongs:
        with pytest.raises(ValueError):
            Declared(**wrong)

"""The figures against values worked out by hand, published ones, and laws that must hold whatever the data."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay_log.statistics import CLICKS_FOR_NORMAL, Estimate, Latencies, Replayed, wilson

Row = tuple[bool, bool, float | None]
rows = st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.001, 1.0)), max_size=60)


def estimate_of(given_rows: list[Row]) -> Estimate:
    replayed = Replayed()
    for matched, clicked, propensity in given_rows:
        replayed.add(matched, clicked, propensity)
    return replayed.estimate()


# Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), table I.
@pytest.mark.parametrize(("successes", "trials", "low", "high"), [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
])
def test_wilson_gives_the_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    interval = wilson(successes, trials)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_wilson_interval_holds_the_rate_and_stays_a_proportion(a: int, b: int) -> None:
    successes, trials = min(a, b), max(a, b)
    interval = wilson(successes, trials)
    assert 0 <= interval.low <= interval.high <= 1
    if trials:
        assert interval.low <= successes / trials <= interval.high
        assert interval.high > interval.low


@given(st.integers(1, 500), st.integers(0, 500))
def test_a_wilson_interval_is_its_own_mirror(trials: int, successes: int) -> None:
    successes = min(successes, trials)
    one, other = wilson(successes, trials), wilson(trials - successes, trials)
    assert one.low == pytest.approx(1 - other.high, abs=1e-12)


def test_quantiles_are_exact_to_one_percent() -> None:
    latencies = Latencies()
    for ms in range(1, 1_001):
        latencies.add(float(ms))
    for share, ms in ((0.5, 500), (0.95, 950), (0.99, 990), (1.0, 1_000)):
        assert latencies.quantile(share) == pytest.approx(ms, rel=0.01)
    assert latencies.max_ms == 1_000


@given(st.lists(st.floats(0.02, 1e6), min_size=1), st.floats(0, 1))
def test_a_quantile_is_within_one_percent_of_a_sorted_list(values: list[float], share: float) -> None:
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    found = latencies.quantile(share)
    assert found is not None
    assert exact * (1 - 1e-9) <= found <= exact * 1.0101 or found == latencies.max_ms


def test_no_durations_have_no_quantile() -> None:
    assert Latencies().quantile(0.5) is None


def test_the_estimate_of_five_rows_worked_out_by_hand() -> None:
    # Matches: rows 1, 2 and 4, of weights 4, 2 and 10; clicked are 1 and 4 (and 3, which is no match).
    estimate = estimate_of([
        (True, True, 0.25), (True, False, 0.5), (False, True, 0.5), (True, True, 0.1), (False, False, 0.1),
    ])
    assert (estimate.rows, estimate.matches, estimate.match_clicks, estimate.logged_clicks) == (5, 3, 2, 3)
    assert estimate.match_rate == pytest.approx(2 / 3)
    assert estimate.ips == pytest.approx((4 + 10) / 5)
    assert estimate.snips == pytest.approx((4 + 10) / (4 + 2 + 10))
    assert estimate.effective_matches == pytest.approx(16**2 / (16 + 4 + 100))
    assert estimate.logged_rate == pytest.approx(3 / 5)
    assert estimate.ips_interval is None, "two clicks say nothing about a normal distribution"


def test_the_normal_interval_of_ips_worked_out_by_hand() -> None:
    # 20 rows, all matches of weight 2, half of them clicked: mean 1, sample variance 20/19.
    estimate = estimate_of([(True, n < CLICKS_FOR_NORMAL, 0.5) for n in range(20)])
    half = 1.959963984540054 * math.sqrt(20 / 19 / 20)
    assert estimate.ips == pytest.approx(1.0)
    assert estimate.ips_interval is not None
    assert estimate.ips_interval.low == pytest.approx(1 - half)
    assert estimate.ips_interval.high == pytest.approx(1 + half)


def test_without_a_row_or_a_match_nothing_is_claimed() -> None:
    empty = estimate_of([])
    assert (empty.match_rate, empty.ips, empty.snips, empty.logged_rate) == (None, None, None, None)
    unmatched = estimate_of([(False, True, 0.5)] * 4)
    assert (unmatched.match_rate, unmatched.snips, unmatched.ips, unmatched.logged_rate) == (None, None, 0.0, 1.0)


def test_without_every_propensity_nothing_is_weighed() -> None:
    estimate = estimate_of([(True, True, 0.5), (False, False, None)])
    assert (estimate.ips, estimate.snips, estimate.effective_matches) == (None, None, None)
    assert estimate.match_rate == 1.0


@given(rows)
def test_a_self_normalized_estimate_is_a_rate_within_its_interval(given_rows: list[Row]) -> None:
    estimate = estimate_of(given_rows)
    if estimate.snips is not None:
        assert estimate.snips_interval is not None
        assert 0 <= estimate.snips <= 1 + 1e-12
        assert estimate.snips_interval.low - 1e-9 <= estimate.snips <= estimate.snips_interval.high + 1e-9


@given(rows, st.floats(0.01, 1.0))
def test_where_the_log_was_uniform_snips_is_the_match_rate(given_rows: list[Row], propensity: float) -> None:
    estimate = estimate_of([(matched, clicked, propensity) for matched, clicked, _ in given_rows])
    if estimate.matches:
        assert estimate.snips == pytest.approx(estimate.match_rate)
        assert estimate.effective_matches == pytest.approx(estimate.matches)


@given(rows)
def test_the_order_of_rows_changes_no_estimate(given_rows: list[Row]) -> None:
    one, other = estimate_of(given_rows), estimate_of(given_rows[::-1])
    assert one.ips == pytest.approx(other.ips)
    assert one.snips == pytest.approx(other.snips)


def test_the_estimates_find_the_truth_in_a_log_whose_truth_is_known() -> None:
    """Four items of known click rates, logged unevenly; ours shows the best one only: its rate must come out."""
    chance = random.Random(7)
    clicks, shown = (0.02, 0.10, 0.30, 0.05), (0.4, 0.3, 0.1, 0.2)
    replayed = Replayed()
    for _ in range(40_000):
        item = chance.choices(range(4), weights=shown)[0]
        replayed.add(item == 2, chance.random() < clicks[item], shown[item])
    estimate = replayed.estimate()
    assert estimate.ips == pytest.approx(0.30, abs=0.03)
    assert estimate.snips == pytest.approx(0.30, abs=0.03)
    assert estimate.ips_interval is not None and estimate.ips_interval.low < 0.30 < estimate.ips_interval.high
    assert estimate.snips_interval is not None and estimate.snips_interval.low < 0.30 < estimate.snips_interval.high
    assert estimate.logged_rate == pytest.approx(0.078, abs=0.01)

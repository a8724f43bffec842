"""The figures against values worked out by hand, published ones, and laws that must hold whatever the data."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay_log.statistics import Latencies, wilson


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

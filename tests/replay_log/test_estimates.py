"""The estimates of a replay: worked out by hand, and against logs whose truth is known. Data are simulated."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay_log import learning, rewards
from replay_log.learning import Learning, thompson
from replay_log.rewards import Estimate, Replayed, Reward
from replay_log.rows import Impression

Row = tuple[bool, bool, float | None]
rows = st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.001, 0.99)), max_size=60)


def row(number: int, clicked: bool, propensity: float | None, **other: Any) -> Impression:
    one = Impression(number, f"s{number}", "a", "home", "web", clicked=clicked, propensity=propensity)
    return replace(one, **other)


def estimate_of(given_rows: list[Row]) -> Estimate:
    replayed = Replayed()
    for number, (matched, clicked, propensity) in enumerate(given_rows):
        replayed.add(matched, row(number, clicked, propensity))
    return replayed.estimate()


def test_the_estimate_of_five_rows_worked_out_by_hand() -> None:
    # Matches: rows 1, 2 and 4, of weights 4, 2 and 10; clicked are 1 and 4 (and 3, which is no match).
    estimate = estimate_of([
        (True, True, 0.25), (True, False, 0.5), (False, True, 0.5), (True, True, 0.1), (False, False, 0.1),
    ])
    assert (estimate.rows, estimate.matches, estimate.match_rewarded, estimate.logged_rewarded) == (5, 3, 2, 3)
    assert estimate.match_rate == pytest.approx(2 / 3)
    assert estimate.ips == pytest.approx((4 + 10) / 5)
    assert estimate.snips == pytest.approx((4 + 10) / (4 + 2 + 10))
    assert estimate.effective_matches == pytest.approx(16**2 / (16 + 4 + 100))
    assert estimate.logged_rate == pytest.approx(3 / 5)
    assert estimate.ips_interval is None, "two clicks say nothing about the clicks that were not seen"


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
@settings(max_examples=30)
def test_a_self_normalized_estimate_is_a_rate(given_rows: list[Row]) -> None:
    estimate = estimate_of(given_rows)
    assert estimate.snips is None or 0 <= estimate.snips <= 1 + 1e-12


@given(rows, st.floats(0.01, 0.99))
@settings(max_examples=30)
def test_where_the_log_was_uniform_snips_is_the_match_rate(given_rows: list[Row], propensity: float) -> None:
    estimate = estimate_of([(matched, clicked, propensity) for matched, clicked, _ in given_rows])
    if estimate.matches and estimate.rows > 1:
        assert estimate.snips == pytest.approx(estimate.match_rate)
        assert estimate.effective_matches == pytest.approx(estimate.matches)


@given(rows)
@settings(max_examples=30)
def test_the_order_of_rows_changes_no_estimate(given_rows: list[Row]) -> None:
    one, other = estimate_of(given_rows), estimate_of(given_rows[::-1])
    assert one.ips == pytest.approx(other.ips)
    assert one.snips == pytest.approx(other.snips)


def test_the_estimates_find_the_truth_in_a_log_whose_truth_is_known() -> None:
    """Four items of known click rates, logged unevenly; ours shows the best one only: its rate must come out."""
    chance = random.Random(7)
    clicks, shown = (0.02, 0.10, 0.30, 0.05), (0.4, 0.3, 0.1, 0.2)
    replayed = Replayed()
    for number in range(4_000):
        item = chance.choices(range(4), weights=shown)[0]
        replayed.add(item == 2, row(number, chance.random() < clicks[item], shown[item]))
    estimate = replayed.estimate()
    assert estimate.ips == pytest.approx(0.30, abs=0.06)
    assert estimate.snips == pytest.approx(0.30, abs=0.06)
    assert estimate.ips_interval is not None and estimate.ips_interval.low < 0.30 < estimate.ips_interval.high
    assert estimate.snips_interval is not None and estimate.snips_interval.low < 0.30 < estimate.snips_interval.high
    assert estimate.logged_rate == pytest.approx(0.078, abs=0.02)


def test_conversions_and_value_are_estimated_as_clicks_are() -> None:
    replayed = Replayed()
    for number in range(100):
        bought = number % 4 == 0
        replayed.add(number < 50, row(number, False, 0.5, converted=bought, value=8.0 if bought else None))
    click, conversion, value = (replayed.estimate(one) for one in Reward)
    assert (click.ips, click.logged_rate, click.match_rewarded) == (0.0, 0.0, 0)
    assert (conversion.match_rewarded, conversion.logged_rewarded) == (13, 25)
    assert conversion.match_rate == conversion.snips == pytest.approx(13 / 50)
    assert conversion.ips == pytest.approx(2 * 13 / 100)
    assert value.snips == pytest.approx(8 * 13 / 50) and value.logged_rate == pytest.approx(2.0)
    for one in (value.snips_interval, value.match_interval):
        assert one is not None and one.low < 8 * 13 / 50 < one.high
    assert value.logged_interval is not None and value.logged_interval.low < 2.0 < value.logged_interval.high


def test_rows_of_one_subject_are_resampled_together() -> None:
    def width(subjects: int) -> float:
        replayed = Replayed()
        for number in range(400):
            subject = number % subjects
            replayed.add(True, row(number, subject % 4 == 0, 0.5, subject=f"s{subject}"))
        found = replayed.estimate().snips_interval
        assert found is not None
        return found.high - found.low

    assert width(40) > 2 * width(400)


def test_rows_past_the_bound_are_counted_and_in_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "ROWS_KEPT", 3)
    monkeypatch.setattr(learning, "ROWS_KEPT", 3)
    replayed, learnt = Replayed(), Learning()
    for number in range(5):
        replayed.add(True, row(number, True, 0.5))
        learnt.add(row(number, True, 0.5))
    assert (replayed.rows, replayed.left_out, learnt.left_out) == (3, 2, 2)


def logged(count: int, rates: tuple[float, ...]) -> Learning:
    """A uniform log of items with these click rates."""
    chance, made = random.Random(5), Learning()
    for number in range(count):
        item = chance.randrange(len(rates))
        made.add(row(number, chance.random() < rates[item], 1 / len(rates), item_id=f"i{item}"))
    return made


def test_a_policy_that_learns_is_judged_by_rows_that_it_did_not_learn_from() -> None:
    told = logged(4_000, (0.05, 0.1, 0.5)).summary()
    assert told is not None and told["too_few"] == ""
    assert (told["learnt_from"], told["judged_by"]) == (2_000, 2_000)
    for one in told["estimates"]:
        assert one["low"] < 0.5 < one["high"], one["method"]
    assert told["logged"]["high"] < min(one["low"] for one in told["estimates"])


def test_too_few_clicks_are_said() -> None:
    told = logged(1_000, (0.0, 0.004, 0.004)).summary()
    assert told is not None and "rewarded rows" in told["too_few"]
    few = logged(20, (0.5, 0.5)).summary()
    assert few is not None and "too few rows" in few["too_few"]


def test_without_propensities_there_is_no_learning_policy() -> None:
    made = Learning()
    made.add(row(1, True, None))
    assert made.summary() is None and made.without_propensity == 1


def test_thompson_shows_only_what_is_shown_at_the_place() -> None:
    items, clicks = np.array([0, 1, 2] * 200), np.array([0.0, 0.0, 1.0] * 200)
    shares = thompson(items, clicks, np.array([[True, True, True], [True, True, False]]))
    assert shares[0, 2] > 0.99 and shares[1, 2] == 0.0
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert abs(shares[1, 0] - 0.5) < 0.1

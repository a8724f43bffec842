"""Whether a model is well: exploration, drift, and a snapshot that earns less than the one before."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.model.outcome_record import MatchedBy, Outcome
from pipeline.core.models import health
from pipeline.core.models.health import Drift, Earned, Readings, drift, earned, fallen_from, psi
from pipeline.core.models.learner import Feature, Learner

ORDERS = Learner("m", "linucb", "click", (Feature("profile.orders"), Feature("profile.plan", ("free", "plus")),
                                          Feature("candidate.value")))


def final(at_ms: int, pscore: float | None = 1.0, orders: Any = 1, **more: Any) -> Outcome:
    said: dict[str, Any] = {"outcome": "click", "model": "m", "final": True} | more
    return Outcome("o", said["outcome"], "shop/ann", at_ms + 5, "a", "a", 0.0, MatchedBy.DECISION, said["final"],
                   "last", "r", pscore=pscore, model=said["model"], decided_ms=at_ms,
                   context=json.dumps({"profile.orders": orders, "profile.plan": "free"}))


def read(outcomes: list[Outcome]) -> health.Health:
    readings = Readings(ORDERS)
    for one in outcomes:
        readings.add(one)
    return readings.health()


def test_explored_is_what_was_shown_with_a_propensity_below_a_half() -> None:
    found = read([final(1, 0.5), final(2, 0.49), final(3, 0.1), final(4, 1.0), final(5, None),
                  final(6, 0.1, model="n"), final(7, 0.1, outcome="order"), final(8, 0.1, final=False)])
    assert (found.showings, found.explored) == (4, 0.5)


def test_of_nothing_closed_nothing_is_said() -> None:
    assert read([]) == health.Health(0, None, [Drift("profile.orders", 0, 0, None), Drift("propensity", 0, 0, None)])


def test_drift_is_between_what_was_decided_first_and_last_in_whatever_order_it_is_read() -> None:
    early = [final(at_ms, orders=at_ms % 100) for at_ms in range(1_000)]
    late = [final(10_000 + at_ms, orders=200 + at_ms % 100) for at_ms in range(1_000)]
    mixed = [one for pair in zip(late, early, strict=True) for one in pair]
    orders, propensity = read(mixed).drifts
    assert (orders.name, orders.first, orders.last) == ("profile.orders", 1_000, 1_000)
    assert orders.psi is not None and orders.psi > 3.0
    assert propensity == Drift("propensity", 1_000, 1_000, 0.0)


def test_windows_hold_no_more_than_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "WINDOW_MAX", 3)
    orders, _ = read([final(at_ms) for at_ms in range(10)]).drifts
    assert (orders.first, orders.last) == (3, 3)
    window = health._Window()
    for at_ms in (5, 1, 4, 2, 3):
        window.add(at_ms, at_ms, str(at_ms), 1.0)
    assert [context for context, _ in window.lowest(9)] == ["1", "2", "3"]


def test_what_cannot_be_read_as_a_number_is_not_counted() -> None:
    orders, _ = read([final(1, orders=None), final(2, orders="7"), final(3, orders=True), final(4, orders=2.5)]).drifts
    assert (orders.first, orders.last) == (0, 2)


def test_too_few_values_have_no_drift() -> None:
    assert drift("x", [1.0] * 999, [1.0] * 5_000) == Drift("x", 999, 5_000, None)
    assert drift("x", [1.0] * 1_000, [1.0] * 1_000) == Drift("x", 1_000, 1_000, 0.0)


def test_the_index_is_as_worked_out_by_hand() -> None:
    # Two values, of which each has its own bin: 50 and 50, then 90 and 10; with half a value more in each.
    p, q = 50.5 / 101, 90.5 / 101
    by_hand = (q - p) * math.log(q / p) + ((1 - q) - (1 - p)) * math.log((1 - q) / (1 - p))
    assert psi([0.0] * 50 + [1.0] * 50, [0.0] * 90 + [1.0] * 10) == pytest.approx(by_hand)
    # Deciles: what was spread evenly over ten bins lies in the lowest of them alone.
    low, high = 100.5 / 105, 0.5 / 105
    by_hand = (low - 0.1) * math.log(low / 0.1) + 9 * (high - 0.1) * math.log(high / 0.1)
    assert psi([float(n) for n in range(1, 101)], [5.0] * 100) == pytest.approx(by_hand)


@pytest.mark.parametrize("moved", [-1.0, 6.0])
def test_a_constant_that_moves_is_seen_to_either_side(moved: float) -> None:
    assert psi([5.0] * 1_000, [moved] * 1_000) > 10.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_the_index_is_a_number_never_below_zero_and_zero_of_the_same(one: list[float], other: list[float]) -> None:
    found = psi(one, other)
    assert math.isfinite(found) and found >= 0.0
    assert psi(one, one) == pytest.approx(0.0, abs=1e-12)


def told(*rewards: tuple[int, list[float]], start_ms: int = 0) -> list[Earned]:
    known: list[Earned] = []
    for place, (snapshot, each) in enumerate(rewards):
        for reward in each:
            known = earned(known, snapshot, reward, start_ms + place)
    return known


def test_mean_and_standard_error_are_as_worked_out_by_hand() -> None:
    [one] = told((1, [0.0, 1.0, 2.0, 5.0]))
    # Squared distances from 2: 4 + 1 + 0 + 9 = 14; variance 14 / 3, of the mean a quarter of it.
    assert (one.showings, one.mean) == (4, 2.0)
    assert one.error == pytest.approx(math.sqrt(14 / 12))


def clicks(of_500: int, times: int = 1) -> list[float]:
    return ([1.0] * of_500 + [0.0] * (500 - of_500)) * times


def test_the_alarm_is_raised_past_three_standard_errors_of_the_difference() -> None:
    # 100 of 500 against k: errors sqrt(.2 x .8 / 499) = .0179 and about .0146, together .0231, three of them .0693:
    # 67 (.066 less) is within, 63 (.074 less) is past it.
    assert fallen_from(told((1, clicks(100)), (2, clicks(67)))) is None
    before = fallen_from(told((1, clicks(100)), (2, clicks(63))))
    assert before is not None and before.snapshot == 1 and before.mean == pytest.approx(0.2)
    assert fallen_from(told((1, clicks(63)), (2, clicks(100)))) is None


def test_too_few_showings_of_either_snapshot_raise_none() -> None:
    assert fallen_from(told((1, clicks(250)), (2, [0.0] * 499))) is None
    assert fallen_from(told((1, clicks(250)[:499]), (2, [0.0] * 500))) is None
    assert fallen_from(told((1, [0.0] * 500))) is None and fallen_from([]) is None


def test_rewards_that_are_all_the_same_fall_where_they_are_less() -> None:
    assert fallen_from(told((1, [0.1] * 600), (2, [0.1] * 700))) is None
    assert fallen_from(told((1, [0.2] * 600), (2, [0.1] * 700))) is not None


def test_what_closes_late_counts_where_it_was_decided() -> None:
    known = told((1, clicks(250)), (2, [0.0] * 500))
    known = earned(known, 1, 1.0, 0)
    assert [(one.snapshot, one.showings) for one in known] == [(2, 500), (1, 501)]
    assert [one.snapshot for one in earned(known, 2, 1.0, -1)] == [2, 1]


def test_an_earlier_snapshot_that_decides_again_is_the_present_one() -> None:
    known = told((1, clicks(250)), (2, [0.0] * 500))
    assert fallen_from(known) is not None
    known = earned(known, 1, 1.0, 9)
    assert known[0].snapshot == 1 and fallen_from(known) is None


def test_few_snapshots_are_kept_and_of_those_with_enough_showings_the_last() -> None:
    known = told((1, clicks(250)), (2, clicks(250)), *((number, [1.0]) for number in range(3, 9)))
    assert [one.snapshot for one in known] == [8, 7, 6, 2]
    before = fallen_from(told((1, clicks(250)), *((number, [1.0]) for number in range(3, 9)), (9, [0.0] * 500)))
    assert before is not None and before.snapshot == 1

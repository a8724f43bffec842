"""Shares by weight: everybody who waits gets what is due to him, whatever the others have waiting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.fair_shares import FairShares

_costs = st.lists(st.floats(0.001, 0.05), min_size=200, max_size=200)


@given(st.lists(st.integers(1, 8), min_size=2, max_size=4), _costs)
def test_who_always_waits_gets_a_share_by_weight(weights: list[int], costs: list[float]) -> None:
    shares, taken = FairShares(weights), [0.0] * len(weights)
    for cost in costs:
        queue = shares.next([True] * len(weights))
        assert queue is not None
        shares.took(queue, cost)
        taken[queue] += cost
    per_weight = [one / weight for one, weight in zip(taken, weights, strict=True)]
    # Never further apart than what one turn takes.
    assert max(per_weight) - min(per_weight) <= 0.05 + 1e-9


@given(st.integers(1, 8), st.integers(1, 8), _costs, st.integers(1, 199))
def test_who_comes_late_neither_waits_for_the_past_nor_is_paid_for_it(
    late: int, always: int, costs: list[float], comes: int
) -> None:
    shares, passed_over = FairShares([late, always]), 0.0
    for number, cost in enumerate(costs):
        if number == comes:
            shares.woken(0)
        queue = shares.next([number >= comes, True])
        assert queue is not None
        shares.took(queue, cost)
        passed_over = passed_over + cost if queue == 1 and number >= comes else 0.0
        # Of the other's time at most what is due for one turn of his own, and the turn under way.
        assert passed_over <= 0.05 * always / late + 0.05 + 1e-9
        if number == comes:
            assert queue == 0, "whose turn it is at once: nothing was counted against him meanwhile"


def test_nobody_ready_is_nobody_served() -> None:
    assert FairShares([1, 2]).next([False, False]) is None

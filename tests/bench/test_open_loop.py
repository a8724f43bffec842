"""The load generator does not flatter: what is late counts from when it was due, what is lost counts as an error."""

from __future__ import annotations

import math
import threading
import time

import pytest

from bench.latencies import Latencies
from bench.open_loop import Answers, arrivals, drive


class Stalling:
    """Answers at once, except that the sending thread is held up by one request."""

    def __init__(self, stalled: int, stall_s: float, lost: int = -1) -> None:
        self._stalled = stalled
        self._stall_s = stall_s
        self._lost = lost

    def start(self, answers: Answers) -> None:
        self._answers = answers

    def send(self, index: int) -> None:
        if index == self._stalled:
            time.sleep(self._stall_s)
        if index != self._lost:
            threading.Thread(target=self._answers.arrived, args=(index, time.perf_counter(), b"%d" % index)).start()

    def stop(self) -> None:
        """Nothing to end."""


def test_a_stall_counts_against_every_request_it_held_up() -> None:
    due = [0.01 * n for n in range(20)]
    driven = drive(Stalling(5, stall_s=0.1), due, warm_s=0.0)
    held_up = [ms for ms in driven.latencies_ms[5:14] if ms > 5]
    assert len(held_up) == 9
    assert driven.latencies_ms[5] > 99
    assert driven.late_ms[6] > 80, "the client says how late it was itself"


def test_a_lost_answer_is_an_error() -> None:
    driven = drive(Stalling(-1, 0.0, lost=3), [0.001 * n for n in range(10)], warm_s=0.0, drain_s=0.1)
    assert driven.errors == {"no answer": 1}
    assert len(driven.latencies_ms) == 9


def test_the_warm_up_is_not_counted() -> None:
    driven = drive(Stalling(2, stall_s=0.05), [0.01 * n for n in range(30)], warm_s=0.15)
    assert driven.bodies == [b"%d" % index for index in range(15, 30)]
    assert len(driven.latencies_ms) == len(driven.late_ms) == 15


def test_arrivals_come_at_the_rate_and_are_the_same_for_the_same_seed() -> None:
    due = arrivals(200.0, 50.0, seed=1)
    assert 9_500 < len(due) < 10_500
    assert due == sorted(due)
    assert due == arrivals(200.0, 50.0, seed=1)
    assert due != arrivals(200.0, 50.0, seed=2)


@pytest.mark.parametrize(("percent", "value"), [(50, 50.0), (95, 95.0), (99, 99.0), (100, 100.0), (0.1, 1.0)])
def test_percentiles_are_exact_to_a_thousandth(percent: float, value: float) -> None:
    assert Latencies(float(n) for n in range(1, 101)).percentile(percent) == pytest.approx(value, rel=0.001)
    assert Latencies([0.007]).percentile(percent) == 0.007


def test_what_was_never_answered_takes_longer_than_everything_that_was() -> None:
    latencies = Latencies([1.0] * 98, unanswered=2)
    assert (latencies.count, latencies.percentile(98), latencies.percentile(99)) == (100, 1.0, math.inf)
    assert latencies.longest == math.inf


def test_no_latencies_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no latencies"):
        Latencies().percentile(50)

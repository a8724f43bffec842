"""The circuit breaker's states, and Kafka's partitioner."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bridge.breaker import Breaker, State
from topics.partitions import murmur2, partition_of


def opened(at_s: float = 100.0) -> Breaker:
    breaker = Breaker(failures_max=3, open_s=1.0, probes_max=1)
    for _ in range(3):
        permit = breaker.admit(at_s)
        assert permit is not None
        breaker.failed(permit, at_s)
    assert state_of(breaker) is State.OPEN
    return breaker


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(failures_max=3)
    for _ in range(10):
        for call in (breaker.failed, breaker.failed):
            call(permit_of(breaker), 0.0)
        breaker.succeeded(permit_of(breaker))
    assert state_of(breaker) is State.CLOSED


def state_of(breaker: Breaker) -> State:
    return breaker.state


def permit_of(breaker: Breaker, at_s: float = 0.0) -> int:
    permit = breaker.admit(at_s)
    assert permit is not None
    return permit


def test_open_it_admits_nobody_until_its_time_is_over() -> None:
    breaker = opened(100.0)
    assert breaker.admit(100.0) is None
    assert breaker.admit(100.999) is None
    assert breaker.admit(101.0) is not None


def test_half_open_it_admits_no_more_than_its_probes() -> None:
    breaker = opened(100.0)
    assert [breaker.admit(101.0) is not None for _ in range(3)] == [True, False, False]


def test_a_probe_answered_closes_it() -> None:
    breaker = opened(100.0)
    breaker.succeeded(permit_of(breaker, 101.0))
    assert state_of(breaker) is State.CLOSED
    assert all(breaker.admit(101.0) is not None for _ in range(5))


def test_a_probe_unanswered_opens_it_for_as_long_again() -> None:
    breaker = opened(100.0)
    breaker.failed(permit_of(breaker, 101.0), 101.2)
    assert breaker.admit(102.1) is None
    assert breaker.admit(102.2) is not None


def test_a_probe_withdrawn_leaves_its_place_to_the_next() -> None:
    breaker = opened(100.0)
    breaker.withdrawn(permit_of(breaker, 101.0))
    assert breaker.admit(101.0) is not None


def test_what_was_admitted_before_it_opened_says_nothing_about_now() -> None:
    breaker = Breaker(failures_max=1, open_s=1.0)
    early, late = permit_of(breaker), permit_of(breaker)
    breaker.failed(late, 0.0)
    breaker.succeeded(early)
    assert state_of(breaker) is State.OPEN
    probe = permit_of(breaker, 1.0)
    breaker.failed(early, 1.0)
    breaker.withdrawn(early)
    breaker.succeeded(early)
    assert state_of(breaker) is State.HALF_OPEN
    assert breaker.admit(1.0) is None
    breaker.succeeded(probe)
    assert state_of(breaker) is State.CLOSED


@given(st.lists(st.tuples(st.sampled_from(["admit", "succeeded", "failed", "withdrawn"]), st.floats(0, 0.7))))
def test_whatever_happens_no_more_probes_are_out_than_allowed(steps: list[tuple[str, float]]) -> None:
    breaker, now_s = Breaker(failures_max=2, open_s=1.0, probes_max=2), 0.0
    out: list[tuple[int, State]] = []
    for step, passed_s in steps:
        now_s += passed_s
        if step == "admit":
            permit = breaker.admit(now_s)
            if permit is not None:
                out.append((permit, breaker.state))
        elif out:
            permit, _ = out.pop(0)
            if step == "failed":
                breaker.failed(permit, now_s)
            else:
                getattr(breaker, step)(permit)
        newest = max((permit for permit, _ in out), default=0)
        assert sum(permit == newest and state is State.HALF_OPEN for permit, state in out) <= 2


@pytest.mark.parametrize(("key", "hashed"), [
    # Apache Kafka's own test vectors.
    (b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829), (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
])
def test_keys_go_where_kafkas_partitioner_puts_them(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed & 0xFFFFFFFF
    assert partition_of(key, 8) == (hashed & 0x7FFFFFFF) % 8

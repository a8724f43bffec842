"""How many dead letters a topic may have, and how long it rests past that."""

from __future__ import annotations

from pipeline.runtime.letter_limit import FORGIVEN_S, REST_S_FIRST, REST_S_MAX, WINDOW_S, LetterLimit
from pipeline.runtime.memory import ManualClock


def _after(clock: ManualClock, seconds: float) -> None:
    clock.at_ms += int(seconds * 1_000)


def test_each_rest_that_follows_soon_is_twice_as_long_up_to_a_bound() -> None:
    clock = ManualClock()
    limit = LetterLimit(10, clock, ())
    rest_s = REST_S_FIRST
    for _ in range(7):
        limit.add("t", 10)
        assert not limit.rests("t")
        limit.add("t", 1)
        assert limit.rests("t") and limit.alarmed("t")
        _after(clock, rest_s - 0.001)
        assert limit.rested() == []
        _after(clock, 0.001)
        assert limit.rested() == ["t"]
        assert not limit.rests("t") and not limit.alarmed("t")
        rest_s = min(2 * rest_s, REST_S_MAX)
    assert rest_s == REST_S_MAX
    _after(clock, FORGIVEN_S + 1)
    limit.add("t", 11)
    _after(clock, REST_S_FIRST)
    assert limit.rested() == ["t"]


def test_letters_of_another_minute_or_topic_do_not_count() -> None:
    clock = ManualClock()
    limit = LetterLimit(10, clock, ())
    for _ in range(5):
        limit.add("t", 10)
        limit.add("u", 10)
        _after(clock, WINDOW_S + 0.001)
    assert not limit.rests("t") and not limit.rests("u")


def test_some_topics_alarm_and_go_on() -> None:
    clock = ManualClock()
    limit = LetterLimit(10, clock, ("requests",))
    limit.add("requests", 11)
    assert limit.alarmed("requests") and not limit.rests("requests")
    _after(clock, WINDOW_S + 0.001)
    assert limit.rested() == [] and not limit.alarmed("requests")

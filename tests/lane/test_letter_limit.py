"""How many dead letters a topic may have, and how long it is paused past that."""

from __future__ import annotations

from pipeline.runtime.letter_limit import FORGIVEN_S, PAUSE_S_FIRST, PAUSE_S_MAX, WINDOW_S, LetterLimit
from pipeline.runtime.memory import ManualClock


def _after(clock: ManualClock, seconds: float) -> None:
    clock.at_ms += int(seconds * 1_000)


def test_each_rest_that_follows_soon_is_twice_as_long_up_to_a_bound() -> None:
    clock = ManualClock()
    limit = LetterLimit(10, clock, ())
    pause_s = PAUSE_S_FIRST
    for _ in range(7):
        limit.add("t", 10)
        assert not limit.paused("t")
        limit.add("t", 1)
        assert limit.paused("t") and limit.alarmed("t")
        _after(clock, pause_s - 0.001)
        assert limit.resumed() == []
        _after(clock, 0.001)
        assert limit.resumed() == ["t"]
        assert not limit.paused("t") and not limit.alarmed("t")
        pause_s = min(2 * pause_s, PAUSE_S_MAX)
    assert pause_s == PAUSE_S_MAX
    _after(clock, FORGIVEN_S + 1)
    limit.add("t", 11)
    _after(clock, PAUSE_S_FIRST)
    assert limit.resumed() == ["t"]


def test_letters_of_another_minute_or_topic_do_not_count() -> None:
    clock = ManualClock()
    limit = LetterLimit(10, clock, ())
    for _ in range(5):
        limit.add("t", 10)
        limit.add("u", 10)
        _after(clock, WINDOW_S + 0.001)
    assert not limit.paused("t") and not limit.paused("u")


def test_some_topics_alarm_and_go_on() -> None:
    clock = ManualClock()
    limit = LetterLimit(10, clock, ("requests",))
    limit.add("requests", 11)
    assert limit.alarmed("requests") and not limit.paused("requests")
    _after(clock, WINDOW_S + 0.001)
    assert limit.resumed() == [] and not limit.alarmed("requests")

"""When the next row is due: at once, at an even rate, or as the log's own times say, sped up."""

from __future__ import annotations

from typing import Protocol

#: How far an even rate catches up after a hold-up; beyond it the schedule moves instead of bursting.
CATCH_UP_S = 0.05


class Pace(Protocol):
    """Pure: time is an argument."""

    def due_s(self, now_s: float, logged_at_ms: int | None) -> float:
        """When the next row may go, on the clock of `now_s`. Called once for each row, in order."""


class AtOnce:
    """As fast as the window of unanswered requests lets through."""

    def due_s(self, now_s: float, logged_at_ms: int | None) -> float:
        return now_s


class EvenRate:
    """So many rows per second."""

    def __init__(self, rows_per_s: float) -> None:
        self._step_s = 1 / rows_per_s
        self._next_s: float | None = None

    def due_s(self, now_s: float, logged_at_ms: int | None) -> float:
        due = now_s if self._next_s is None else max(self._next_s, now_s - CATCH_UP_S)
        self._next_s = due + self._step_s
        return due


class LoggedTimes:
    """The log's own rhythm, `speed` times as fast. A row without a time goes with the one before it."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._start: tuple[float, int] | None = None
        self._last_s = 0.0

    def due_s(self, now_s: float, logged_at_ms: int | None) -> float:
        if logged_at_ms is None:
            return now_s if self._start is None else self._last_s
        if self._start is None:
            self._start = (now_s, logged_at_ms)
        start_s, start_ms = self._start
        self._last_s = max(self._last_s, start_s + (logged_at_ms - start_ms) / 1_000 / self._speed)
        return self._last_s

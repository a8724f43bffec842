"""How often a part that keeps crashing is started again. Pure: times come in, waiting times go out."""

from __future__ import annotations

from collections import deque
from typing import Final

CRASHES_MAX: Final = 5
WINDOW_S: Final = 60.0
DELAY_S_FIRST: Final = 0.5
DELAY_S_MAX: Final = 8.0
#: How long a part that crashes too often rests; twice as long each time that follows.
REST_S_FIRST: Final = 30.0
REST_S_MAX: Final = 60.0


class Restarts:
    """One part's crashes of the last minute."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._rests = 0
        #: Crashes since the beginning.
        self.total = 0

    def delay_s(self, now_s: float) -> float | None:
        """A crash happened: how long to wait before the next start, or None where it has crashed too often."""
        self.total += 1
        self._recent.append(now_s)
        while self._recent[0] <= now_s - WINDOW_S:
            self._recent.popleft()
        if len(self._recent) >= CRASHES_MAX:
            return None
        return float(min(DELAY_S_FIRST * 2 ** (len(self._recent) - 1), DELAY_S_MAX))

    def rest_s(self, ran_s: float) -> float:
        """How long it rests that crashed too often. `ran_s`: how long it ran at last; long enough forgives all."""
        self._rests = 0 if ran_s > REST_S_MAX else self._rests
        rest_s = min(REST_S_FIRST * 2**self._rests, REST_S_MAX)
        self._rests += 1
        return float(rest_s)

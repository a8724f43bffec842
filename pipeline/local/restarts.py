"""How often a part that keeps crashing is started again. Pure: times come in, waiting times go out."""

from __future__ import annotations

from collections import deque
from typing import Final

CRASHES_MAX: Final = 5
WINDOW_S: Final = 60.0
DELAY_S_FIRST: Final = 0.5
DELAY_S_MAX: Final = 8.0
#: How long a part that crashes too often stays down; twice as long each time that follows.
BACK_OFF_S_FIRST: Final = 30.0
BACK_OFF_S_MAX: Final = 60.0


class Restarts:
    """One part's crashes of the last minute."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._back_offs = 0
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

    def back_off_s(self, ran_s: float) -> float:
        """How long a part that crashed too often stays down. `ran_s`: how long it ran at last; long forgives all."""
        self._back_offs = 0 if ran_s > BACK_OFF_S_MAX else self._back_offs
        back_off_s = min(BACK_OFF_S_FIRST * 2**self._back_offs, BACK_OFF_S_MAX)
        self._back_offs += 1
        return float(back_off_s)

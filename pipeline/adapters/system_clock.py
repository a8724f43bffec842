"""The Clock port on this machine's clocks."""

from __future__ import annotations

import time


class SystemClock:
    """Wall and monotonic time."""

    def now_ms(self) -> int:
        """Wall clock, epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never run backwards, those in which the process was frozen included."""
        return time.monotonic()

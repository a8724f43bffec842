"""Latencies as an HdrHistogram (https://hdrhistogram.org): three significant digits, whatever their number.

What is counted runs from when the request was due (see open_loop.py), so nothing is left to correct for coordinated
omission.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from hdrh.histogram import HdrHistogram

#: Values are kept in thousandths of their unit: milliseconds to the microsecond, microseconds to the nanosecond.
_PARTS: Final = 1_000
#: An hour of milliseconds. What took longer, and what was never answered, lies here.
_PARTS_MAX: Final = 3_600_000 * _PARTS
_DIGITS: Final = 3


class Latencies:
    """Latencies of one unit (ms, or µs), with the requests that were never answered."""

    def __init__(self, values: Iterable[float] = (), unanswered: int = 0) -> None:
        """:param unanswered: requests without an answer: longer than every answered one."""
        self._histogram = HdrHistogram(1, _PARTS_MAX, _DIGITS)
        for value in values:
            self._histogram.record_value(min(max(round(value * _PARTS), 0), _PARTS_MAX))
        if unanswered:
            self._histogram.record_value(_PARTS_MAX, unanswered)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._histogram.get_total_count())

    def percentile(self, percent: float) -> float:
        """The latency that `percent` of all do not exceed; infinite where it falls on one never answered.

        Raises ValueError where there is none: nought would look like a very fast answer.
        """
        if not self.count:
            raise ValueError("no latencies")
        parts = self._histogram.get_value_at_percentile(percent)
        return math.inf if self._histogram.values_are_equivalent(parts, _PARTS_MAX) else parts / _PARTS

    @property
    def longest(self) -> float:
        """The longest, infinite where one was never answered."""
        return self.percentile(100)

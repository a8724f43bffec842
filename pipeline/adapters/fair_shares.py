"""Which of several queues is served next, so that each gets its share of the time and none waits for all of another.

Start-time fair queueing (Goyal, Vin, Cheng 1996): what a queue takes is counted against it, divided by its weight, and
who has the least is next. A queue that was empty saves nothing up.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FairShares"]


class FairShares:
    """Shares by weight. Among equals the one that is listed first is served first."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = tuple(weights)
        self._taken = [0.0] * len(self._weights)
        #: How far the last one was that was served: where a queue begins that was empty.
        self._now = 0.0

    def woken(self, queue: int) -> None:
        """The queue has something after it was empty."""
        self._taken[queue] = max(self._taken[queue], self._now)

    def next(self, ready: Sequence[bool]) -> int | None:
        """The queue to serve of those that are ready; None where none is."""
        best: int | None = None
        for queue, is_ready in enumerate(ready):
            if is_ready and (best is None or self._taken[queue] < self._taken[best]):
                best = queue
        if best is not None:
            self._now = max(self._now, self._taken[best])
        return best

    def took(self, queue: int, seconds: float) -> None:
        """What serving the queue took."""
        self._taken[queue] += seconds / self._weights[queue]

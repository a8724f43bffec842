"""Up to when all that was reported of what people were shown is known: places that decisions hold wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeline.flow import EVERYTHING_KNOWN, Flow


class Reports:
    """The inputs that report, by partition. Times are the broker's (epoch ms)."""

    def __init__(self, flows: Iterable[Flow], caught_up: Callable[[str, int], bool]) -> None:
        """`caught_up`: whether every record of an input was handed over."""
        self._topics = [flow.reads.name for flow in flows if flow.reports]
        self._caught_up = caught_up
        #: When the last record taken of an input was appended, or when the input was last at its end.
        self._known_ms: dict[tuple[str, int], int] = {}

    def taken(self, topic: str, partition: int, at_ms: int) -> None:
        """Every record of an input up to one that was appended then was taken."""
        place = topic, partition
        self._known_ms[place] = max(at_ms, self._known_ms.get(place, 0))

    def known_ms(self, partitions: Iterable[int], now_ms: int) -> int:
        """See `flow.Context.reported_ms`, over these partitions."""
        known_ms = EVERYTHING_KNOWN
        for place in ((topic, partition) for partition in partitions for topic in self._topics):
            if self._caught_up(*place):
                self.taken(*place, now_ms)
            else:
                known_ms = min(known_ms, self._known_ms.get(place, 0))
        return known_ms

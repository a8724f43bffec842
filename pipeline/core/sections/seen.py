"""The events a subject's state has taken up: a bounded memory by event time, packed, that tells a repeat from news.

Fourteen bytes an event, ordered by time: six of its time, eight of the SHA-256 of its id. A repeat is found by its id,
whatever time it gives. What is not found and happened no later than the newest event that was forgotten cannot be told
from a repeat: whoever counts it might count it twice (docs/adr/0018-remembered-events.md).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import Final

from pipeline.core.model.values import Value

__all__ = ["EVENTS_MAX", "NOTHING", "Seen"]

#: As many as two of the largest batches of the HTTP interface, of one subject.
EVENTS_MAX: Final = 1_024

_AT: Final = 6
_SIZE: Final = _AT + 8
_TIME_END: Final = 1 << 8 * _AT


class Seen(Value, frozen=True):
    """Remembered events, and the time up to which some were forgotten (epoch ms; -1: none was)."""

    packed: bytes = b""
    forgotten_ms: int = -1

    def __contains__(self, event_id: str) -> bool:
        """Whether the event was taken up, as far as is remembered."""
        name, packed = _name(event_id), self.packed
        place = packed.find(name)
        while place >= 0:
            if place % _SIZE == _AT:
                return True
            place = packed.find(name, place + 1)
        return False

    def __len__(self) -> int:
        return len(self.packed) // _SIZE

    def __bool__(self) -> bool:
        return bool(self.packed) or self.forgotten_ms >= 0

    def too_old(self, at_ms: int) -> bool:
        """Whether an event of that time that is not remembered may be one that was forgotten."""
        return at_ms <= self.forgotten_ms

    def after(self, event_id: str, at_ms: int) -> Seen:
        """The memory with one more event, the oldest forgotten past the limit."""
        entry = _time(at_ms) + _name(event_id)
        packed = self.packed
        if not packed or packed[-_SIZE:-_SIZE + _AT] <= entry[:_AT]:
            return _bounded(packed + entry, self.forgotten_ms)
        place = bisect_right(range(len(self)), entry[:_AT], key=lambda one: packed[one * _SIZE:one * _SIZE + _AT])
        return _bounded(packed[:place * _SIZE] + entry + packed[place * _SIZE:], self.forgotten_ms)

    def beside(self, other: Seen) -> Seen:
        """What either remembers."""
        entries = sorted({*_entries(self.packed), *_entries(other.packed)})
        return _bounded(b"".join(entries), max(self.forgotten_ms, other.forgotten_ms))


NOTHING: Final = Seen()


def _name(event_id: str) -> bytes:
    return hashlib.sha256(event_id.encode()).digest()[:8]


def _time(at_ms: int) -> bytes:
    return min(max(at_ms, 0), _TIME_END - 1).to_bytes(_AT)


def _entries(packed: bytes) -> list[bytes]:
    return [packed[place:place + _SIZE] for place in range(0, len(packed), _SIZE)]


def _bounded(packed: bytes, forgotten_ms: int) -> Seen:
    over = len(packed) - EVENTS_MAX * _SIZE
    if over <= 0:
        return Seen(packed, forgotten_ms)
    last = int.from_bytes(packed[over - _SIZE:over - _SIZE + _AT])
    return Seen(packed[over:], max(forgotten_ms, last))

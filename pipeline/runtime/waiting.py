"""Records that are to come after others (docs/adr/0023-read-your-writes.md): they wait by key, and hold what may be
committed below them. Pure: what the lane has reached and the time are its caller's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.codecs import positions
from pipeline.flow import DeadLetter, Drop, Reason, Record

#: How long a record that nobody waits for waits for those that it is to come after; and of so many keys at a time.
WAIT_MS_MAX: Final = 10_000
WAITING_KEYS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that is to come after others: where they lie, and until when it waits for them (epoch ms)."""

    record: Record
    after: Mapping[str, int]
    until_ms: int


class WaitingRecords:
    """The records of one partition that wait, and the offsets that are not done because of them."""

    def __init__(self, partition: int, position: Mapping[str, int]) -> None:
        """`position`: topic → the next offset that the lane takes of it; the lane's own, which it changes."""
        self._partition = partition
        self._position = position
        self._held: dict[str, set[int]] = {topic: set() for topic in position}
        #: Read by the lane for every record, so without a call: empty while nothing waits.
        self.by_key: dict[bytes, deque[Waiting]] = {}

    def come_after(
        self, record: Record, deadline_ms: int | None, waited: Waiting | None
    ) -> Waiting | Drop | DeadLetter | None:
        """What becomes of a record that may have to come after others: None where its turn is now.

        :param deadline_ms: until when somebody waits for what follows from it, None where nobody does.
        :param waited: as it was kept here, None for a record that is read.
        """
        try:
            after = self._after(record) if waited is None else waited.after
        except positions.PositionsError as error:
            return DeadLetter(Reason.INVALID, f"the header {positions.HEADER} {error}")
        if waited is None:
            key = record.key or b""
            if key not in self.by_key and self._is_reached(after):
                return None
            if len(self.by_key) < WAITING_KEYS_MAX:
                waited = Waiting(record, after, record.at_ms + WAIT_MS_MAX if deadline_ms is None else deadline_ms)
                # Later ones of its key wait too: what is applied of a key is one offset.
                self.by_key.setdefault(key, deque()).append(waited)
                self._held[record.topic].add(record.offset)
                return waited
        if self._is_reached(after):
            return None
        if deadline_ms is not None:
            return Drop(Reason.NOT_CAUGHT_UP)
        return DeadLetter(
            Reason.NOT_CAUGHT_UP,
            f"it was to come after {positions.write((t, self._partition, o) for t, o in after.items())}, which was not "
            f"handled within {WAIT_MS_MAX // 1_000} s: send it again, or without the header {positions.HEADER}",
        )

    def over(self, now_ms: int) -> list[Waiting]:
        """Those whose wait is over, in the order of each key; they do not wait any more, and hold their offsets still.
        """
        found: list[Waiting] = []
        for key in [key for key, queue in self.by_key.items() if self._is_over(queue[0], now_ms)]:
            queue = self.by_key[key]
            while queue and self._is_over(queue[0], now_ms):
                found.append(queue.popleft())
            if not queue:
                del self.by_key[key]
        return found

    def release(self, waited: Collection[tuple[str, int]]) -> None:
        """These records (topic, offset) are done with."""
        for topic, offset in waited:
            self._held[topic].discard(offset)

    def done_below(self, topic: str, reached: int) -> int:
        """The offset below which everything of the topic is done, `reached` being where it would be if nothing waited.
        """
        return min((reached, *self._held[topic]))

    def _after(self, record: Record) -> dict[str, int]:
        """Topic → the offset that the record is to come after, of this partition: other subjects' events are elsewhere,
        and nobody here knows how far they are."""
        found: dict[str, int] = {}
        for name, value in record.headers:
            if name == positions.HEADER:
                text = (value or b"").decode("ascii", "replace")
                found |= {topic: offset for (topic, number), offset in positions.read(text).items()
                          if number == self._partition and topic in self._position}
        return found

    def _is_reached(self, after: Mapping[str, int]) -> bool:
        return all(offset < self._position[topic] for topic, offset in after.items())

    def _is_over(self, waiting: Waiting, now_ms: int) -> bool:
        return now_ms > waiting.until_ms or self._is_reached(waiting.after)

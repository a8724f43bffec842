"""What a sink does with the records of its partitions: collects them, and commits a partition's as one batch.

Speaks to no broker. Memory is bounded: what waits is at most `flush_bytes` and one record.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from log_store import batches, erasures
from log_store.batches import Place
from log_store.chain import Chain, Lost
from log_store.erasures import Erasures
from log_store.errors import LogStoreError
from pipeline.flow import Record
from topics.catalog import ERASURE_RECEIPTS

_log = logging.getLogger("nextbest.log_store")
#: What a record takes beside its bytes.
_RECORD_BYTES: Final = 200


@dataclass(slots=True)
class _Waiting:
    """Records of a partition that are not in the store yet."""

    records: list[Record] = field(default_factory=list)
    bytes: int = 0
    since_s: float = 0.0
    lost: Lost | None = None


class Sink:
    """The partitions that one process keeps. Not for several threads. Methods raise OSError where the store is away.

    :param flush_bytes: how much may wait, of all partitions together.
    :param flush_s: how long a record waits at most.
    """

    def __init__(self, place: Place, flush_bytes: int, flush_s: float) -> None:
        self._place = place
        self._flush_bytes, self._flush_s = flush_bytes, flush_s
        self._erasures = Erasures(place.objects)
        self._chains: dict[str, Chain] = {}
        self._waiting: dict[tuple[str, int], _Waiting] = {}
        self._reached = False
        #: Records committed and lost since the start.
        self.committed = self.lost = 0

    def assigned(self, topic: str, partition: int, topic_id: str = "") -> int:
        """Begin to keep a partition; the offset to read from.

        :param topic_id: the cluster's; empty: not known.
        Raises LogStoreError where the store has another topic of this name.
        """
        if not self._reached:
            # Whoever stopped in the midst of an erasure: it is finished before anything new.
            self._erasures.reach()
            self._reached = True
        chain = self._chain(topic).refresh()
        before = chain.committed_topic_id
        if topic_id and before and topic_id != before:
            raise LogStoreError(
                f"{topic} was made anew, or is another cluster's: the store has the topic of the id {before}, and the "
                f"cluster {topic_id}. Keep its log in another place (NEXTBEST_LOGS)"
            )
        chain.topic_id = topic_id
        self._look(chain, partition)
        self._waiting[topic, partition] = _Waiting()
        return chain.next(partition)

    def first_kept(self) -> list[str]:
        """The topics whose partition 0 this sink keeps: what is to be done once for a topic is its."""
        return [topic for topic, partition in self._waiting if partition == 0]

    def revoked(self, topic: str, partition: int) -> None:
        """Keep it no more. What waits is read again by whoever has it next."""
        self._waiting.pop((topic, partition), None)

    def take(self, record: Record, low: int, now_s: float) -> None:
        """The next record of a partition. `low`: the oldest offset that the broker had at the assignment."""
        waiting = self._waiting[record.topic, record.partition]
        chain = self._chain(record.topic)
        expected = waiting.records[-1].offset + 1 if waiting.records else chain.next(record.partition)
        if record.offset < expected:
            return  # another sink was first, and this one went on behind it
        if not waiting.records:
            waiting.since_s = now_s
            if low > expected:
                waiting.lost = Lost(partition=record.partition, first=expected, next=min(low, record.offset))
                _log.error(
                    "%s/%d: the offsets %d up to %d were removed from the topic before they were logged: they are "
                    "lost. Run the sink all the time, or keep the topic for longer",
                    record.topic,
                    record.partition,
                    waiting.lost.first,
                    waiting.lost.next - 1,
                )
        waiting.records.append(record)
        waiting.bytes += len(record.value or b"") + len(record.key or b"") + _RECORD_BYTES

    def due(self, now_s: float) -> list[tuple[str, int]]:
        """The partitions to flush: those whose oldest record waits for too long, the largest while too much waits."""
        found = [place for place, one in self._waiting.items() if one.records and now_s - one.since_s >= self._flush_s]
        rest = sorted(
            (place for place in self._waiting if place not in found), key=lambda place: self._waiting[place].bytes
        )
        left = sum(self._waiting[place].bytes for place in rest)
        while left >= self._flush_bytes:
            found.append(rest.pop())
            left -= self._waiting[found[-1]].bytes
        return found

    def waiting(self) -> list[tuple[str, int]]:
        """The partitions that have records which are not in the store."""
        return [place for place, one in self._waiting.items() if one.records]

    def flush(self, topic: str, partition: int) -> int:
        """Commit what waits of a partition; the offset of the first record that is not in the store."""
        chain, waiting = self._chain(topic), self._waiting[topic, partition]
        while waiting.records:
            done = self._commit(chain, waiting)
            if done:
                self.committed += len(waiting.records)
                if waiting.lost is not None:
                    self.lost += waiting.lost.next - waiting.lost.first
                waiting = _Waiting()
            else:
                # Somebody else's is there: go on behind it.
                before = chain.next(partition)
                if chain.refresh().next(partition) == before:
                    raise LogStoreError(f"{topic}/{partition}: no manifest can be written at offset {before}")
                waiting.records = [record for record in waiting.records if record.offset >= chain.next(partition)]
                waiting.lost = None
            self._look(chain, partition)
        self._waiting[topic, partition] = waiting if waiting.records else _Waiting()
        return chain.next(partition)

    def _commit(self, chain: Chain, waiting: _Waiting) -> bool:
        if chain.topic == ERASURE_RECEIPTS.name:
            return erasures.store(chain, waiting.records, waiting.lost)
        return batches.store(self._place, chain, waiting.records, self._erasures.tags, waiting.lost)

    def _look(self, chain: Chain, partition: int) -> None:
        """An erasure reaches every key file before anything goes on behind it, whoever committed it."""
        last = chain.last(partition)
        if last is not None and last.erased and (destroyed := self._erasures.reach()):
            _log.info("%d keys of erased subjects are destroyed", destroyed)

    def _chain(self, topic: str) -> Chain:
        if topic not in self._chains:
            self._chains[topic] = Chain(self._place.objects, topic)
        return self._chains[topic]

"""Reads assigned inputs with librdkafka, on threads of its own, and hands whole fetches to an event loop.

Plain consumers without a group: whoever owns the membership says what to read and from where. They neither commit nor
judge offsets; what was read under an assignment that was replaced meanwhile is forgotten, not handed over.

Each class of work has a client of its own (a fetch names every partition that its client reads, and the broker looks at
each of them whenever one has something) and its share of the worker's time: a request never waits behind a backlog of
events.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.adapters import kafka
from pipeline.adapters.fair_shares import FairShares
from pipeline.adapters.messages import record_of
from pipeline.flow import Record
from pipeline.settings import Settings

#: Topic, partition, records in offset order; of one fetch.
Fetched = tuple[str, int, list[Record]]

#: How long a poll waits: a new assignment waits for its end, as one client serves one call at a time.
POLL_S: Final = 0.05

#: Records handed over at once at most.
BATCH_RECORDS_MAX: Final = 2_000

#: Batches handed over and not taken yet: one is worked on while the next is read.
BATCHES_AHEAD: Final = 2

#: For so long after records that somebody waits for, more of them are expected.
AWAITED_S: Final = 5.0

#: Bulk records handed over at once; and while others are expected: a few milliseconds of work.
BULK_PORTION: Final = 500
BULK_PORTION_AWAITED: Final = 32

#: Records in flight past which no bulk record is handed over: what comes meanwhile waits for their acknowledgement too.
BULK_IN_FLIGHT: Final = 2_000
BULK_IN_FLIGHT_AWAITED: Final = 192

#: librdkafka's: what it may fetch ahead of us, and how long it waits when that is full.
_FETCH: Final[dict[str, Any]] = {"queued.max.messages.kbytes": 16_384, "fetch.queue.backoff.ms": 10}

_log = logging.getLogger(__name__)


def reading_consumer(settings: Settings, tell_the_end: bool) -> Consumer:
    """The consumer for a worker's inputs; whether it tells when they have nothing more."""
    return kafka.consumer(settings, name="reader", **_FETCH, **(kafka.TELL_THE_END if tell_the_end else {}))


@dataclass(frozen=True, slots=True)
class WorkClass:
    """Topics that are read by a client of their own and share the worker's time with other classes by weight.

    `bulk`: nobody waits for these records. They are handed over in small portions while somebody waits for others, and
    only while little is in flight, so that what is waited for is never behind a backlog of them.
    """

    topics: tuple[str, ...]
    weight: float
    bulk: bool = False


class BatchReader:
    """Some classes of work, each with its consumer and its thread. `read_from`, `next`, `wake` and `stop` belong to the
    loop."""

    def __init__(
        self,
        classes: Sequence[tuple[WorkClass, Consumer]],
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[str, BaseException], None],
        now_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`classes`: each with who reads it, in the order in which records that are there at the same time are handed
        over. `on_failure` is called on the loop, once, when nothing can be read any more."""
        self._loop = loop
        self._on_failure = on_failure
        self._now_s = now_s
        self._there = asyncio.Event()
        self._shares = FairShares([work.weight for work, _ in classes])
        #: What was handed over last, and when; when something was that somebody waits for.
        self._serving: tuple[int, float] | None = None
        self._awaited_s = -math.inf
        #: What to read, and its number: a batch of an earlier assignment is not handed over.
        self._assignment: tuple[int, list[TopicPartition]] = (0, [])
        self._stopping = threading.Event()
        self._failed = False
        self._parts = [_Part(self, number, work, consumer) for number, (work, consumer) in enumerate(classes)]
        for part in self._parts:
            part.thread.start()

    def read_from(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Read these inputs and no others, from these offsets; begins within a moment."""
        places = [TopicPartition(topic, number, at) for (topic, number), at in positions.items()]
        self._assignment = (self._assignment[0] + 1, places)

    async def next(self, in_flight: Callable[[], int] = lambda: 0) -> list[Fetched]:
        """The next records: of the class whose turn it is. Waits for some, and for room.

        :param in_flight: how many records that were handed over are not done with.
        """
        if self._serving is not None:
            number, since_s = self._serving
            self._shares.took(number, self._now_s() - since_s)
            self._serving = None
        while True:
            now_s = self._now_s()
            awaited = now_s - self._awaited_s < AWAITED_S
            room = in_flight() < (BULK_IN_FLIGHT_AWAITED if awaited else BULK_IN_FLIGHT)
            number_ = self._shares.next([part.ready() and (room or not part.work.bulk) for part in self._parts])
            if number_ is None:
                self._there.clear()
                await self._there.wait()
                continue
            part = self._parts[number_]
            if not part.work.bulk:
                self._awaited_s = now_s
            self._serving = (number_, now_s)
            if not part.work.bulk:
                return part.take(BATCH_RECORDS_MAX)
            return part.take(BULK_PORTION_AWAITED if awaited else BULK_PORTION)

    def caught_up(self, topic: str, partition: int) -> bool:
        """Whether every record of an input was handed over, as far as its client knows. Of the loop."""
        return any(part.at_end(topic, partition) for part in self._parts)

    def wake(self) -> None:
        """Something that was in flight is done with."""
        self._there.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the threads and leave the broker; repeatable."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        for part in self._parts:
            part.room.release()
        for part in self._parts:
            part.thread.join(timeout_s)

    # -- for the threads ------------------------------------------------------------------------------------------

    def assignment(self) -> tuple[int, list[TopicPartition]]:
        """What to read now, and its number."""
        return self._assignment

    def stopping(self) -> bool:
        """Whether to end."""
        return self._stopping.is_set()

    def hand_over(self, part: _Part, number: int, batch: list[Fetched], ended: frozenset[tuple[str, int]]) -> None:
        """Leave a batch for the loop, with the inputs that have nothing more for now."""
        self._on_loop(partial(self._take, part, number, batch, ended))

    def fail(self, error: BaseException) -> None:
        """Nothing can be read any more."""
        self._on_loop(partial(self._report, error))

    def _take(self, part: _Part, number: int, batch: list[Fetched], ended: frozenset[tuple[str, int]]) -> None:
        for topic, partition, _ in batch:
            part.ended.pop((topic, partition), None)
        part.ended.update(dict.fromkeys(ended, number))
        if not batch:
            return
        if not part.batches:
            self._shares.woken(part.number)
        part.batches.append((number, batch))
        self._there.set()

    def _report(self, error: BaseException) -> None:
        if not self._failed:
            self._failed = True
            self._on_failure("the inputs cannot be read", error)

    def _on_loop(self, callback: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)


class _Part:
    """One consumer at work."""

    def __init__(self, reader: BatchReader, number: int, work: WorkClass, consumer: Consumer) -> None:
        self._reader = reader
        self.number = number
        self.work = work
        self._place = {topic: place for place, topic in enumerate(work.topics)}
        self._consumer = consumer
        #: Of the loop: what was handed over and not taken yet, with its assignment's number.
        self.batches: deque[tuple[int, list[Fetched]]] = deque()
        #: Of the loop: inputs that were read to their end, with the number of the assignment they were read under.
        self.ended: dict[tuple[str, int], int] = {}
        self.room = threading.Semaphore(BATCHES_AHEAD)
        self.thread = threading.Thread(target=self._run, name=f"reader-{work.topics[0]}", daemon=True)

    def ready(self) -> bool:
        """Whether something of the present assignment is there; what was read for an earlier one is forgotten."""
        present = self._reader.assignment()[0]
        while self.batches and self.batches[0][0] != present:
            self.batches.popleft()
            self.room.release()
        return bool(self.batches)

    def at_end(self, topic: str, partition: int) -> bool:
        """Whether the input was read to its end, and all of it taken. While anything is left to take, the thread may
        hold more, and nobody knows of which input."""
        return not self.batches and self.ended.get((topic, partition)) == self._reader.assignment()[0]

    def take(self, records_max: int) -> list[Fetched]:
        """The first of what is there, up to so many records; the rest of it stays first."""
        number, batch = self.batches.popleft()
        taken: list[Fetched] = []
        for place, (topic, partition, records) in enumerate(batch):
            if len(records) > records_max:
                taken.append((topic, partition, records[:records_max]))
                rest = [(topic, partition, records[records_max:]), *batch[place + 1:]]
                self.batches.appendleft((number, rest))
                return [one for one in taken if one[2]]
            taken.append((topic, partition, records))
            records_max -= len(records)
        self.room.release()
        return taken

    def _run(self) -> None:
        reading = 0
        try:
            while not self._reader.stopping():
                number, places = self._reader.assignment()
                if number != reading:
                    self._consumer.assign([place for place in places if place.topic in self._place])
                    reading = number
                self._read(number)
        except Exception as error:
            self._reader.fail(error)
        finally:
            self._consumer.close()

    def _read(self, number: int) -> None:
        """One fetch, or nothing within a moment. Raises KafkaException for what no retry mends."""
        # `consume(n, timeout)` would wait for n records: the first is awaited, what came with it is taken along.
        first = self._consumer.poll(POLL_S)
        if first is None:
            return
        batch, ended = self._sorted([first, *self._consumer.consume(BATCH_RECORDS_MAX - 1, 0)])
        if batch:
            self.room.acquire()
        if batch or ended:
            self._reader.hand_over(self, number, batch, ended)

    def _sorted(self, messages: Sequence[Message]) -> tuple[list[Fetched], frozenset[tuple[str, int]]]:
        """The records by input, and the inputs that ended after these."""
        by_input: dict[tuple[str, int], list[Record]] = {}
        ended: set[tuple[str, int]] = set()
        for message in messages:
            error = message.error()
            if error is None:
                record = record_of(message)
                place = (record.topic, record.partition)
                by_input.setdefault(place, []).append(record)
                ended.discard(place)
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add((message.topic() or "", message.partition() or 0))
            elif error.fatal():
                raise KafkaException(error)
            else:
                _log.warning("%s[%s]: %s", message.topic(), message.partition(), error.str())
        found = [(topic, partition, records) for (topic, partition), records in by_input.items()]
        return sorted(found, key=lambda one: self._place[one[0]]) if len(found) > 1 else found, frozenset(ended)

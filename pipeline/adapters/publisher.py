"""The Publisher port on three idempotent librdkafka producers, as a report for every record wakes a thread.

- Of a **changelog** the report is awaited: nothing may be said before it.
- An **answer** is awaited, its report is not: it only lets offsets be committed, and is looked at some times a second.
- What nobody waits for is collected here and handed over together: librdkafka can let records **linger** too, but wakes
  its thread for most of them all the same.

A changelog's records wait here while more than a few of their partition are under way: an idempotent producer has at
most five under way of a partition, and librdkafka looks without a pause whether the next may go. On a busy machine that
took a third of its processors, and the broker's answers came the later for it. What has waited goes out as one batch.

Every topic has its producer, so that a topic's records keep their order. A group of records, of one `send`, is either
of changelogs or of other topics: its reports come on one thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from confluent_kafka import KafkaError, Message, Producer

from pipeline.ports import Outbound

POLL_S = 0.1

#: How often the reports are looked at that nobody waits for.
REPORTS_S = 0.05

#: How long records that nobody waits for are collected: the broker's work is by the request, not by the record.
LINGER_S = 0.1


#: Records of one changelog partition under way, past which the next ones wait: librdkafka's own number.
UNDER_WAY_MAX = 5

_Delivered = Callable[[KafkaError | None, Message], None]


class KafkaPublisher:
    """Publishes for one event loop; `on_failure` is called there, once, with what the broker would not take."""

    def __init__(
        self,
        changelog: Producer,
        answers: Producer,
        lingering: Producer,
        changelogs: Collection[str],
        lingers: Collection[str],
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[str], None],
        allowed: Callable[[], bool],
    ) -> None:
        """`changelogs` and `lingers`: the topics of these producers; all others' is `answers`. `allowed`: whether what
        was collected may still be sent."""
        self._changelog = changelog
        self._answers = answers
        self._lingering = lingering
        self._changelogs = frozenset(changelogs)
        self._lingers = frozenset(lingers)
        self._loop = loop
        self._on_failure = on_failure
        self._allowed = allowed
        self._failed = False
        self._windows: dict[tuple[str, int], _Window] = {}
        #: Collected, with what is told when the broker has it.
        self._collected: list[tuple[Outbound, _Delivered]] = []
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._serve_changelog, name="changelog-reports", daemon=True),
            threading.Thread(target=self._serve_others, name="reports", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def send(self, records: Sequence[Outbound], done: Callable[[int | None], None]) -> None:
        """See the port. Waits for room where librdkafka's queue is full."""
        if not records:
            done(None)
            return
        delivered = _Group(len(records), self, done).delivered
        if records[0].topic in self._changelogs:
            self._window(records[0]).send([(record, delivered) for record in records])
            return
        for record in records:
            if record.topic not in self._lingers:
                _produce(self._answers, record, delivered)
                continue
            if not self._collected:
                self._loop.call_later(LINGER_S, self._hand_over)
            self._collected.append((record, delivered))

    def _window(self, record: Outbound) -> _Window:
        """Of the changelog partition that the record says it goes to."""
        place = (record.topic, -1 if record.partition is None else record.partition)
        window = self._windows.get(place)
        if window is None:
            window = self._windows[place] = _Window(self._changelog, self._allowed, self._fail)
        return window

    def _hand_over(self) -> None:
        collected, self._collected = self._collected, []
        if collected and not self._allowed():
            # A process that was frozen meanwhile: whoever owns the partitions now says it.
            self._fail(f"{collected[0][0].topic}: what was collected may not be sent any more")
            return
        for record, delivered in collected:
            _produce(self._lingering, record, delivered)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Flush what is queued, for at most `timeout_s` each, and end the threads."""
        self._hand_over()
        for producer in (self._changelog, self._answers, self._lingering):
            producer.flush(timeout_s)
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def _serve_changelog(self) -> None:
        while not self._stopping.is_set():
            self._changelog.poll(POLL_S)

    def _serve_others(self) -> None:
        while not self._stopping.wait(REPORTS_S):
            self._answers.poll(0)
            self._lingering.poll(0)

    def on_loop(self, callback: Callable[[int | None], None], offset: int | None) -> None:
        """Run the callback on the owner's loop; a loop that has closed no longer wants to know."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, offset)

    def fail(self, error: KafkaError, message: Message) -> None:
        """Report the first failure; those that follow from it say nothing new."""
        self._fail(f"{message.topic()}[{message.partition()}] did not take a record: {error}")

    def _fail(self, what: str) -> None:
        if not self._failed and not self._loop.is_closed():
            self._failed = True
            self._loop.call_soon_threadsafe(self._on_failure, what)


def _produce(producer: Producer, record: Outbound, delivered: _Delivered) -> None:
    partition = -1 if record.partition is None else record.partition
    headers: list[tuple[str, str | bytes | None]] | None = list(record.headers) or None
    while True:
        try:
            producer.produce(record.topic, record.value, record.key, partition, delivered, headers=headers)
            return
        except BufferError:
            producer.poll(0.01)


class _Window:
    """The records of one changelog partition, in order. `send` is called on the loop, reports come on a thread."""

    __slots__ = ("_allowed", "_fail", "_lock", "_producer", "_sending", "_under_way", "_waiting")

    def __init__(self, producer: Producer, allowed: Callable[[], bool], fail: Callable[[str], None]) -> None:
        self._producer = producer
        self._allowed = allowed
        self._fail = fail
        # A full queue has reports served in the middle of a send.
        self._lock = threading.RLock()
        self._sending = False
        self._under_way = 0
        self._waiting: deque[tuple[Outbound, _Delivered]] = deque()

    def send(self, records: Iterable[tuple[Outbound, _Delivered]]) -> None:
        with self._lock:
            self._waiting.extend(records)
            self._go_on()

    def _go_on(self) -> None:
        if self._sending or self._under_way >= UNDER_WAY_MAX:
            return
        self._sending = True
        try:
            while self._waiting:
                record, delivered = self._waiting.popleft()
                self._under_way += 1
                _produce(self._producer, record, partial(self._delivered, delivered))
        finally:
            self._sending = False

    def _delivered(self, delivered: _Delivered, error: KafkaError | None, message: Message) -> None:
        delivered(error, message)
        with self._lock:
            self._under_way -= 1
            if not self._waiting or error is not None:
                return
            if self._allowed():
                self._go_on()
            else:
                # A process that was frozen meanwhile: the partition has another owner.
                self._fail(f"{message.topic()}: what waited may not be sent any more")


class _Group:
    """Counts the delivery reports of one `send`."""

    __slots__ = ("_done", "_offset", "_publisher", "_waiting")

    def __init__(self, size: int, publisher: KafkaPublisher, done: Callable[[int | None], None]) -> None:
        self._waiting = size
        self._publisher = publisher
        self._done = done
        self._offset = -1

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._publisher.fail(error, message)
            return
        offset = message.offset()
        if offset is not None and offset > self._offset:
            self._offset = offset
        self._waiting -= 1
        if self._waiting == 0:
            self._publisher.on_loop(self._done, self._offset)

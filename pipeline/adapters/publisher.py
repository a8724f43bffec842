"""The Publisher port on two idempotent librdkafka producers: one sends at once, the other what may wait a moment.

Every topic has its producer, so that a topic's records keep their order. Delivery reports are served by threads of
their own: the event loop is woken once per group of records, not per record.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Sequence

from confluent_kafka import KafkaError, Message, Producer

from pipeline.ports import Outbound

POLL_S = 0.1


class KafkaPublisher:
    """Publishes for one event loop; `on_failure` is called there, once, with what the broker would not take."""

    def __init__(
        self,
        prompt: Producer,
        lingering: Producer,
        lingers: Collection[str],
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[str], None],
    ) -> None:
        """`lingers`: the topics of the lingering producer."""
        self._prompt = prompt
        self._lingering = lingering
        self._lingers = frozenset(lingers)
        self._loop = loop
        self._on_failure = on_failure
        self._failed = False
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._serve_reports, args=(producer,), name=name, daemon=True)
            for name, producer in (("publisher", prompt), ("lingering-publisher", lingering))
        ]
        for thread in self._threads:
            thread.start()

    def send(self, records: Sequence[Outbound], done: Callable[[int | None], None]) -> None:
        """See the port. Waits for room where librdkafka's queue is full."""
        if not records:
            done(None)
            return
        delivered = _Group(len(records), self, done).delivered
        for record in records:
            producer = self._lingering if record.topic in self._lingers else self._prompt
            partition = -1 if record.partition is None else record.partition
            headers: list[tuple[str, str | bytes | None]] | None = list(record.headers) or None
            while True:
                try:
                    producer.produce(record.topic, record.value, record.key, partition, delivered, headers=headers)
                    break
                except BufferError:
                    producer.poll(0.01)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Flush what is queued, for at most `timeout_s` each, and end the threads."""
        self._prompt.flush(timeout_s)
        self._lingering.flush(timeout_s)
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def _serve_reports(self, producer: Producer) -> None:
        while not self._stopping.is_set():
            producer.poll(POLL_S)

    def on_loop(self, callback: Callable[[int | None], None], offset: int | None) -> None:
        """Run the callback on the owner's loop; a loop that has closed no longer wants to know."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, offset)

    def fail(self, error: KafkaError, message: Message) -> None:
        """Report the first failure; those that follow from it say nothing new."""
        if not self._failed and not self._loop.is_closed():
            self._failed = True
            what = f"{message.topic()}[{message.partition()}] did not take a record: {error}"
            self._loop.call_soon_threadsafe(self._on_failure, what)


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

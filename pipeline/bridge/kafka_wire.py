"""The bridge's wire on Kafka: two idempotent producers, and one consumer on this bridge's partition of the replies.

Requests have a producer of their own that reports failures only: the reply is the acknowledgement, and a report for
each would wake a thread in the middle of every answer. Events wait for the report. Threads serve the three; what they
have for the event loop goes over in bunches, one wake-up each.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.adapters import kafka
from pipeline.bridge.metrics import BridgeMetrics
from pipeline.bridge.wire import Place, ReplyListener, WireFullError
from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.model.records import DecisionReply
from pipeline.ports import Outbound
from pipeline.settings import Settings
from topics.catalog import DECISION_REPLIES

#: After this the broker counts as not having taken a record; whoever waits for an event's acknowledgement is told.
DELIVERY_MS_MAX: Final = 5_000

#: Records that wait in the client for a broker that is slow or away; past it the caller is told at once.
QUEUE_RECORDS_MAX: Final = 20_000
QUEUE_KILOBYTES_MAX: Final = 65_536

_POLL_S: Final = 0.2
_BUNCH_MAX: Final = 256
_ASK_S: Final = 2.0
_RETRY_S: Final = 0.2
_FLUSH_S: Final = 5.0

#: The partition itself is gone, with the offset that was read up to.
_GONE: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)

_log = logging.getLogger("nextbest.bridge")


class KafkaWire:
    """See Wire. `instance` names this bridge among others and picks its partition of the replies."""

    def __init__(self, settings: Settings, instance: str, metrics: BridgeMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self.reply_partition = zlib.crc32(instance.encode()) % DECISION_REPLIES.partitions
        self.listening = False
        self.away = False
        self._refusing = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, loop: asyncio.AbstractEventLoop, listener: ReplyListener) -> None:
        """Begin; returns at once. Call on the loop."""
        self._listener = listener
        self._to_loop = Handover(loop)
        limits = {
            "message.timeout.ms": DELIVERY_MS_MAX,
            "queue.buffering.max.messages": QUEUE_RECORDS_MAX,
            "queue.buffering.max.kbytes": QUEUE_KILOBYTES_MAX,
            "error_cb": self._on_error,
        }
        self._events = kafka.producer(self._settings, "bridge-events", **limits)
        only_failures = {"delivery.report.only.error": True}
        self._requests = kafka.producer(self._settings, "bridge-requests", **(limits | only_failures))
        for name, work in (
            ("events", partial(self._serve_reports, self._events)),
            ("requests", partial(self._serve_reports, self._requests)),
            ("replies", self._serve_replies),
        ):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Flush what is queued and end the threads. Blocks for some seconds at most."""
        self.listening = False
        if self._threads:
            self._requests.flush(_FLUSH_S)
            self._events.flush(_FLUSH_S)
        self._stopping.set()
        for thread in self._threads:
            thread.join(_FLUSH_S)

    # -- sending --------------------------------------------------------------------------------------------------

    def send(self, record: Outbound, undelivered: Callable[[], None]) -> None:
        """See Wire."""
        self._produce(self._requests, record, partial(self._on_sent, undelivered))

    async def publish(self, records: Sequence[Outbound]) -> list[Place | None]:
        """See Wire."""
        if not records:
            return []
        group = _Group(len(records), asyncio.get_running_loop().create_future(), self._to_loop)
        for index, record in enumerate(records):
            try:
                self._produce(self._events, record, partial(self._on_published, group, index))
            except WireFullError:
                group.settle(index, None)
        return await group.settled

    def _produce(
        self, producer: Producer, record: Outbound, report: Callable[[KafkaError | None, Message], None]
    ) -> None:
        try:
            producer.produce(
                record.topic, record.value, record.key, on_delivery=report, headers=list(record.headers)
            )
        except (BufferError, KafkaException) as error:
            self._metrics.undelivered.inc()
            raise WireFullError(str(error)) from error

    def _on_sent(self, undelivered: Callable[[], None], error: KafkaError | None, message: Message) -> None:
        if self._delivered(error, message):
            return
        self._to_loop.put(undelivered)

    def _on_published(self, group: _Group, index: int, error: KafkaError | None, message: Message) -> None:
        place = (message.partition() or 0, message.offset() or 0)
        group.settle(index, place if self._delivered(error, message) else None)

    def _delivered(self, error: KafkaError | None, message: Message) -> bool:
        if error is None:
            self.away = self._refusing = False
            return True
        self._metrics.undelivered.inc()
        if not self._refusing:
            self._refusing = True
            _log.warning("%s did not take a record: %s; further ones are only counted", message.topic(), error.str())
        return False

    def _serve_reports(self, producer: Producer) -> None:
        while not self._stopping.is_set():
            producer.poll(_POLL_S)

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka's own complaints; it goes on trying by itself."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self.away:
            self.away = True
            _log.warning("no broker answers at %s", self._settings.bootstrap)
            self._to_loop.put(self._listener.broker_went_away)

    # -- replies --------------------------------------------------------------------------------------------------

    def _serve_replies(self) -> None:
        while not self._stopping.is_set():
            consumer = kafka.consumer(self._settings, name="bridge-replies", error_cb=self._on_error)
            try:
                if self._listen(consumer):
                    self._read(consumer)
            except KafkaException as error:
                _log.warning("reading the replies starts over: %s", error)
                self._stopping.wait(_RETRY_S)
            finally:
                self.listening = False
                consumer.close()

    def _listen(self, consumer: Consumer) -> bool:
        """Fix the offset from which replies are read; False where that cannot be done yet.

        From a known offset and not from "the end" whenever the fetcher gets there: the first reply must not be missed.
        """
        place = TopicPartition(DECISION_REPLIES.name, self.reply_partition)
        try:
            _, end = consumer.get_watermark_offsets(place, timeout=_ASK_S)
        except KafkaException as error:
            _log.info("waiting for %s: %s", DECISION_REPLIES.name, error)
            self._stopping.wait(_RETRY_S)
            return False
        consumer.assign([TopicPartition(place.topic, place.partition, end)])
        self.listening = True
        return True

    def _read(self, consumer: Consumer) -> None:
        """Hand replies over until told to stop. Raises KafkaException where the partition cannot be read on."""
        while not self._stopping.is_set():
            first = consumer.poll(_POLL_S)
            if first is None:
                continue
            # What has come in the meantime goes along; waiting for more would cost the first one its time.
            replies = self._wanted([first, *consumer.consume(_BUNCH_MAX, timeout=0)])
            if replies:
                self.away = False
                self._to_loop.put(partial(self._listener.replied, replies))

    def _wanted(self, messages: Sequence[Message]) -> list[DecisionReply]:
        replies = []
        for message in messages:
            error = message.error()
            if error is not None:
                if error.fatal() or error.code() in _GONE:
                    raise KafkaException(error)
                continue
            # Other bridges may share the partition: theirs are not even decoded.
            if not self._listener.wants((message.key() or b"").decode(errors="replace")):
                self._metrics.replies.labels("no").inc()
                continue
            self._metrics.replies.labels("yes").inc()
            try:
                replies.append(avro.decode(DECISION_REPLIES, message.value()))
            except CodecError as bad:
                _log.error("a reply cannot be read (%s): is the worker of another version?", bad)
        return replies


class Handover:
    """Passes callbacks from other threads to the loop, in order, in bunches: one wake-up for all that wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: deque[Callable[[], Any]] = deque()
        self._waking = False

    def put(self, callback: Callable[[], Any]) -> None:
        """Have it called on the loop. From any thread; dropped once the loop is closed."""
        self._callbacks.append(callback)
        if not self._waking and not self._loop.is_closed():
            self._waking = True
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        # Cleared first: what is put from now on wakes the loop again, at worst for nothing.
        self._waking = False
        try:
            while self._callbacks:
                self._callbacks.popleft()()
        finally:
            if self._callbacks:
                self._loop.call_soon(self._drain)


class _Group:
    """The records of one `publish`: where the broker has put them."""

    def __init__(self, size: int, settled: asyncio.Future[list[Place | None]], to_loop: Handover) -> None:
        self.settled = settled
        self._to_loop = to_loop
        self._taken: list[Place | None] = [None] * size
        self._left = size
        self._lock = threading.Lock()

    def settle(self, index: int, place: Place | None) -> None:
        """One record's fate; from any thread."""
        with self._lock:
            self._taken[index] = place
            self._left -= 1
            last = self._left == 0
        if last:
            self._to_loop.put(self._resolve)

    def _resolve(self) -> None:
        if not self.settled.done():
            self.settled.set_result(self._taken)

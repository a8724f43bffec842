"""The replay's one connection to the pipeline: three input topics out, its own partition of the replies in.

Speaks Kafka like any producer and any bridge; holds no figures and takes no decisions.
"""

from __future__ import annotations

import queue
import threading
from typing import Any, Final, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.adapters import kafka
from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.model.records import DecisionReply
from pipeline.ports import Clock
from pipeline.settings import Settings
from replay_log.errors import ReplayError
from topics.catalog import DECISION_REPLIES, IDENTITY_EVENTS, Topic

#: How long one record may wait for a broker that is away before the replay gives up.
DELIVERY_MS_MAX: Final = 120_000

#: Longest wait for the broker's answer to a question.
ASK_S: Final = 10.0
_POLL_S: Final = 0.1
_NO_TOPIC: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC)


class Wire(Protocol):
    """What a replay needs of the pipeline."""

    @property
    def reply_partition(self) -> int:
        """The partition of the replies that this replay reads."""

    def send(self, topic: Topic, key: str, value: object) -> None:
        """Send one record; waits only for room in a full buffer. Raises `ReplayError` once a record was given up."""

    def reply(self, timeout_s: float) -> tuple[DecisionReply, float] | None:
        """The next reply and when it arrived (monotonic seconds); None after `timeout_s`."""

    def identity_applied(self) -> bool:
        """Whether the workers have applied every identity event sent so far. Blocks for one question to the broker."""

    def notice(self) -> str | None:
        """What the connection last complained about and has not recovered from, in words."""


class KafkaWire:
    """The wire on a cluster. A context manager: connects on entry, flushes and closes on exit."""

    def __init__(self, settings: Settings, clock: Clock, reply_partition: int) -> None:
        self._settings = settings
        self._clock = clock
        self._reply_partition = reply_partition % DECISION_REPLIES.partitions
        self._failure: str | None = None
        self._trouble: str | None = None
        self._identity_waiting = 0
        #: Partition -> the offset after the last identity event that the broker has.
        self._identity_ends: dict[int, int] = {}
        # Not SimpleQueue: in CPython 3.11 its `get` waits for ever where a short timeout runs out between two looks.
        self._replies: queue.Queue[tuple[bytes, float]] = queue.Queue()
        self._stopping = threading.Event()
        self._reader: threading.Thread | None = None

    def __enter__(self) -> KafkaWire:
        """Connect. Raises `ReplayError` where no broker answers or the topics are not there."""
        settings = self._settings
        self._producer: Producer = kafka.producer(
            settings, "replay-log", **{"delivery.timeout.ms": DELIVERY_MS_MAX, "error_cb": self._on_trouble}
        )
        self._group: Consumer = kafka.consumer(settings, settings.app_id, "replay-log-offsets")
        self._consumer: Consumer = kafka.consumer(settings, None, "replay-log-replies", error_cb=self._on_trouble)
        place = TopicPartition(DECISION_REPLIES.name, self._reply_partition)
        # From here on and not from "the end" whenever the fetcher gets there: the first reply must not be missed.
        place.offset = end_of(settings, self._consumer, place)
        self._consumer.assign([place])
        self._reader = threading.Thread(target=self._read, name="replay-log-replies", daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._producer.flush(ASK_S)
        self._stopping.set()
        if self._reader is not None:
            self._reader.join(ASK_S)
        self._consumer.close()
        self._group.close()

    @property
    def reply_partition(self) -> int:
        return self._reply_partition

    def send(self, topic: Topic, key: str, value: object) -> None:
        if self._failure is not None:
            raise ReplayError(self._failure)
        identity = topic is IDENTITY_EVENTS
        self._identity_waiting += identity
        report = self._identity_delivered if identity else self._delivered
        data = avro.encode_checked(topic, value)
        while True:
            try:
                self._producer.produce(topic.name, data, key.encode(), on_delivery=report)
                break
            except BufferError:
                self._producer.poll(0.05)
        self._producer.poll(0)

    def reply(self, timeout_s: float) -> tuple[DecisionReply, float] | None:
        self._producer.poll(0)
        if self._failure is not None:
            raise ReplayError(self._failure)
        try:
            data, at_s = self._replies.get(timeout_s > 0, max(timeout_s, 0))
        except queue.Empty:
            return None
        try:
            return avro.decode(DECISION_REPLIES, data), at_s
        except CodecError as error:
            raise ReplayError(f"a reply cannot be read ({error}): is the worker of another version?") from error

    def identity_applied(self) -> bool:
        self._producer.poll(0)
        if self._identity_waiting:
            return False
        wanted = [TopicPartition(IDENTITY_EVENTS.name, partition) for partition in self._identity_ends]
        if not wanted:
            return True
        try:
            committed = self._group.committed(wanted, timeout=ASK_S)
        except KafkaException as error:
            self._trouble = str(error)
            return False
        done = all(place.offset >= self._identity_ends[place.partition] for place in committed)
        if done:
            self._identity_ends.clear()
        return done

    def notice(self) -> str | None:
        return self._trouble

    def _read(self) -> None:
        while not self._stopping.is_set():
            record = self._consumer.poll(_POLL_S)
            if record is None:
                continue
            if record.error() is not None:
                self._on_trouble(record.error())
                continue
            self._trouble = None
            if (data := record.value()) is not None:
                self._replies.put((data, self._clock.monotonic_s()))

    def _delivered(self, error: KafkaError | None, record: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = f"{record.topic()} did not take a record: {error.str()}"

    def _identity_delivered(self, error: KafkaError | None, record: Message) -> None:
        self._delivered(error, record)
        self._identity_waiting -= 1
        partition, offset = record.partition(), record.offset()
        if error is None and partition is not None and offset is not None:
            self._identity_ends[partition] = max(self._identity_ends.get(partition, 0), offset + 1)

    def _on_trouble(self, error: KafkaError | None) -> None:
        self._trouble = None if error is None else error.str()


def end_of(settings: Settings, consumer: Consumer, place: TopicPartition) -> int:
    """The offset of the partition's next record. Raises `ReplayError` where the cluster or the topic is not there."""
    try:
        _, end = consumer.get_watermark_offsets(place, timeout=ASK_S)
    except KafkaException as error:
        kind: Any = error.args[0]
        if kind.code() in _NO_TOPIC:
            raise ReplayError(
                f"{settings.bootstrap} has no topic {place.topic}: run `nextbest topics apply`, or `nextbest up`"
            ) from error
        raise ReplayError(
            f"no Kafka answers at {settings.bootstrap} ({kind.str()}): start one with `nextbest up`, "
            "or name yours with --bootstrap HOST:PORT"
        ) from error
    return int(end)

"""Follows small compacted topics from their beginning into memory: policy and catalog, in every worker and bridge.

Joins no group and commits nothing. A record that cannot be used is counted, logged and passed over; the thread lives
as long as the process. What the records mean is the business of `apply`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.adapters import kafka
from pipeline.adapters.messages import record_of
from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.flow import Reason
from pipeline.settings import Settings
from topics.catalog import Topic

#: Called in the follower's thread, in the order of each topic: topic, key, value (None: a tombstone), offset.
Apply = Callable[[str, bytes, Any, int], None]

POLL_S: Final = 0.2
RETRY_S: Final = 0.5
METADATA_TIMEOUT_S: Final = 2.0

_log = logging.getLogger("nextbest.follower")


class Follower:
    """One daemon thread that keeps `apply` up to date with the topics, well under a second behind.

    `caught_up` is set, and `loaded` called before that, once everything that lay in the topics at the start has been
    applied. After a fatal error of the client it goes on where it was: nothing superseded is applied again. A topic
    that is deleted and created again under a running process is not followed reliably: restart the process.
    """

    def __init__(
        self, settings: Settings, topics: Sequence[Topic], apply: Apply, loaded: Callable[[], None] = lambda: None
    ) -> None:
        self._settings = settings
        self._topics = {topic.name: topic for topic in topics}
        self._apply = apply
        self._loaded = loaded
        #: Per partition, the offset of the next record.
        self._next: dict[tuple[str, int], int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self.caught_up = threading.Event()
        #: Records passed over since the start.
        self.bad_records = 0

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread; waits for it at most `timeout_s`. Repeatable."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            consumer = kafka.consumer(self._settings, name="follower", **kafka.TELL_THE_END)
            try:
                self._follow(consumer)
            except KafkaException as error:
                _log.warning("following %s starts over: %s", ", ".join(self._topics), error)
                self._stopping.wait(RETRY_S)
            finally:
                consumer.close()

    def _follow(self, consumer: Consumer) -> None:
        """Read until told to stop. Raises KafkaException where the client cannot go on."""
        partitions = self._partitions(consumer)
        behind = {(partition.topic, partition.partition) for partition in partitions}
        consumer.assign(partitions)
        while not self._stopping.is_set():
            message = consumer.poll(POLL_S)
            if message is None:
                continue
            error = message.error()
            if error is None:
                self._take(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                behind.discard((str(message.topic()), message.partition() or 0))
                if not behind and not self.caught_up.is_set():
                    self._loaded()
                    self.caught_up.set()
            elif error.fatal():
                raise KafkaException(error)
            else:
                _log.warning("%s: %s", message.topic(), error.str())

    def _partitions(self, consumer: Consumer) -> list[TopicPartition]:
        """Every partition from its next record; waits for topics that do not exist yet and brokers that are away."""
        found: list[TopicPartition] = []
        waiting = list(self._topics)
        while waiting and not self._stopping.is_set():
            numbers = self._partition_numbers(consumer, waiting[0])
            if numbers:
                found += [TopicPartition(waiting[0], number, self._next.get((waiting[0], number), OFFSET_BEGINNING))
                          for number in numbers]
                waiting.pop(0)
            else:
                self._stopping.wait(RETRY_S)
        return found

    def _partition_numbers(self, consumer: Consumer, topic: str) -> list[int]:
        """Empty where the topic or the broker is not there."""
        try:
            known = consumer.list_topics(topic, timeout=METADATA_TIMEOUT_S).topics[topic]
        except KafkaException as error:
            _log.info("waiting for %s: %s", topic, error)
            return []
        return [] if known.error is not None else sorted(known.partitions)

    def _take(self, message: Message) -> None:
        topic = self._topics[str(message.topic())]
        record = record_of(message)
        try:
            if record.unreadable:
                raise CodecError(Reason.INVALID, record.unreadable)
            if not record.key:
                raise CodecError(Reason.EMPTY_KEY, f"send the record under its key: {topic.key}")
            value = None if record.value is None else avro.decode(topic, record.value)
            self._apply(topic.name, record.key, value, record.offset)
        except Exception as error:
            # One record that cannot be used must not keep the next release from every worker.
            self._pass_over(topic.name, record.offset, error)
        self._next[topic.name, record.partition] = record.offset + 1

    def _pass_over(self, topic: str, offset: int, error: Exception) -> None:
        self.bad_records += 1
        bug = None if isinstance(error, ValueError) else error
        _log.error("%s at offset %d is passed over: %s", topic, offset, error, exc_info=bug)

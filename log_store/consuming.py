"""The sink on a cluster: a consumer group of its own (KIP-848), one thread. Its committed offsets say how far it is,
for whoever measures lag; where it goes on is what the store says."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from prometheus_client import CollectorRegistry, Counter, Gauge

from log_store.batches import Place
from log_store.columns import LOGGED
from log_store.errors import LogStoreError
from log_store.objects import objects_at
from log_store.own_upkeep import OwnUpkeep
from log_store.sink import Sink
from pipeline import access
from pipeline.adapters import kafka
from pipeline.adapters.keys import key_encryption_of
from pipeline.adapters.messages import record_of
from pipeline.adapters.reading import partitions
from pipeline.adapters.system_clock import SystemClock
from pipeline.settings import Settings
from topics.catalog import ERASURE_RECEIPTS

_log = logging.getLogger("nextbest.log_store")
_BATCH: Final = 500
_POLL_S: Final = 0.2
#: What librdkafka fetches ahead.
_AHEAD_KIB: Final = 16_384
#: Receipts first: a record that is stored after them is stored without its personal fields.
TOPICS: Final = (ERASURE_RECEIPTS.name, *(topic.name for topic in LOGGED.values()))


class SinkMetrics:
    """The sink's metrics: records committed, records lost, partitions kept."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.committed = Counter("nextbest_logs_records_total", "Records in the log store.", registry=self.registry)
        self.lost = Counter(
            "nextbest_logs_lost_records_total",
            "Offsets that were removed from a topic before they were logged.",
            registry=self.registry,
        )
        self.merged = Counter(
            "nextbest_logs_merged_files_total", "Files that were merged into others.", registry=self.registry
        )
        self.expired = Counter(
            "nextbest_logs_expired_files_total", "Files that their tenants keep no longer.", registry=self.registry
        )
        self.broken = Counter(
            "nextbest_logs_broken_files_total",
            "Times that a file could not be read when it was to be merged.",
            registry=self.registry,
        )
        self.partitions = Gauge("nextbest_logs_partitions", "Partitions that this sink keeps.", registry=self.registry)


def place_of(settings: Settings) -> Place:
    """The store that the settings name. Raises LogStoreError, DecryptionError."""
    if not settings.logs:
        raise LogStoreError("NEXTBEST_LOGS is not set: name the folder or the s3://bucket/prefix of the log store")
    return Place(objects_at(settings.logs), key_encryption_of(settings), os.urandom)


class Consuming:
    """One sink process. Raises KafkaException, LogStoreError, and OSError where the store is away."""

    def __init__(self, settings: Settings, metrics: SinkMetrics) -> None:
        self._settings = settings
        self._sink = Sink(place_of(settings), settings.logs_flush_bytes, settings.logs_flush_s)
        self._upkeep = OwnUpkeep(place_of(settings), access.kept_days(settings.logs_retention), settings.logs_upkeep_s)
        self._clock = SystemClock()
        self._metrics = metrics
        overrides: dict[str, Any] = {
            "queued.max.messages.kbytes": _AHEAD_KIB,
            "group.protocol": "consumer",
            # Records that are gone, or a topic made anew, are found out at the assignment, and never passed over.
            "auto.offset.reset": "error",
        }
        self._consumer: Consumer = kafka.consumer(settings, f"{settings.app_id}-logs", "logs", **overrides)
        self._admin = kafka.admin(settings)
        self._topic_ids: dict[str, str] = {}
        self._member = False
        self._lows: dict[tuple[str, int], int] = {}

    def run(self) -> None:
        """Until this process is told to stop."""
        self._member = True
        self._consumer.subscribe(list(TOPICS), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        while True:
            self._step(_POLL_S)
            self._keep_up()

    def run_once(self) -> None:
        """Up to what the topics have now. No member of the group: what a running sink writes is not written twice."""
        ends: dict[tuple[str, int], int] = {}
        starts = []
        for topic, number in partitions(self._consumer, TOPICS):
            place = TopicPartition(topic, number)
            _, ends[topic, number] = self._consumer.get_watermark_offsets(place, timeout=kafka.ADMIN_TIMEOUT_S)
            place.offset = self._begin(topic, number)
            if place.offset < ends[topic, number]:
                starts.append(place)
            else:
                ends.pop((topic, number))
        self._consumer.assign(starts)
        heard_s = time.monotonic()
        while ends:
            if self._step(_POLL_S):
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > kafka.ADMIN_TIMEOUT_S:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no records come"))
            reached = {(one.topic, one.partition): one.offset for one in self._consumer.position(starts)}
            ends = {place: end for place, end in ends.items() if reached[place] < end}
        self._flush(self._sink.waiting())

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _step(self, timeout_s: float) -> int:
        messages = self._consumer.consume(_BATCH, timeout_s)
        now_s = time.monotonic()
        for message in messages:
            error = message.error()
            if error is None:
                record = record_of(message)
                self._sink.take(record, self._lows[record.topic, record.partition], now_s)
            elif error.fatal() or not error.retriable():
                raise KafkaException(error)
        self._flush(self._sink.due(now_s))
        return len(messages)

    def _flush(self, places: Iterable[tuple[str, int]]) -> None:
        before = (self._sink.committed, self._sink.lost)
        reached = [TopicPartition(topic, number, self._sink.flush(topic, number)) for topic, number in places]
        self._metrics.committed.inc(self._sink.committed - before[0])
        self._metrics.lost.inc(self._sink.lost - before[1])
        if reached and self._member:
            # Not waited for: only whoever measures lag reads them, and the store itself says where to go on.
            self._consumer.commit(offsets=reached, asynchronous=True)

    def _keep_up(self) -> None:
        done = self._upkeep.step(self._sink.first_kept(), self._clock.now_ms())
        if done is not None:
            self._metrics.merged.inc(done.merged)
            self._metrics.expired.inc(done.expired)
            self._metrics.broken.inc(len(done.broken))

    def _topic_id(self, topic: str) -> str:
        if not self._topic_ids:
            asked = self._admin.describe_topics(TopicCollection(list(TOPICS)), request_timeout=kafka.ADMIN_TIMEOUT_S)
            self._topic_ids = {name: str(answer.result().topic_id) for name, answer in asked.items()}
        return self._topic_ids[topic]

    def _begin(self, topic: str, number: int) -> int:
        place = TopicPartition(topic, number)
        self._lows[topic, number], high = self._consumer.get_watermark_offsets(place, timeout=kafka.ADMIN_TIMEOUT_S)
        start = self._sink.assigned(topic, number, self._topic_id(topic))
        if start > high:
            raise LogStoreError(
                f"{topic}/{number} ends at offset {high}, and the store has it up to {start}: the topic was made anew. "
                "Keep its log in another place (NEXTBEST_LOGS)"
            )
        self._metrics.partitions.inc()
        return max(start, self._lows[topic, number])

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._topic_ids.clear()
        for place in places:
            place.offset = self._begin(place.topic, place.partition)
        consumer.incremental_assign(places)
        _log.info("keeps %d partitions more", len(places))

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        for place in places:
            self._sink.revoked(place.topic, place.partition)
            self._metrics.partitions.dec()
        consumer.incremental_unassign(places)

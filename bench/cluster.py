"""What the benchmark asks of the cluster: topics of its own, records in bulk, how far topics and groups have got."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, only not re-exported for types
    NewTopic,
    OffsetSpec,
)

from bench.inputs import Encoded
from pipeline.adapters import kafka
from pipeline.settings import Settings
from topics.catalog import Topic

_ANSWER_S: Final = 15.0
_SEND_S: Final = 60.0


class Cluster:
    """One cluster as seen from outside."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._admin = kafka.admin(settings)

    def create(self, topics: Iterable[Topic]) -> None:
        """Make topics as they are declared. Blocks. Raises KafkaException."""
        new = [NewTopic(topic.name, topic.partitions, config=dict(topic.config)) for topic in topics]
        for future in self._admin.create_topics(new).values():
            future.result(_ANSWER_S)

    def send(self, topic: str, records: Iterable[Encoded]) -> int:
        """Produce everything and wait for the broker; returns how many. Raises KafkaException."""
        refused: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                refused.append(error)

        # Nobody waits for one of these: larger batches leave more of the machine to what is measured.
        producer = kafka.producer(self.settings, "bench-fill", **{"linger.ms": 20})
        count = 0
        for record in records:
            count += 1
            while True:
                try:
                    producer.produce(topic, record.value, record.key, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.01)
        if producer.flush(_SEND_S) or refused:
            raise KafkaException(refused[0] if refused else KafkaError(KafkaError._TIMED_OUT))
        return count

    def ends(self, topics: Iterable[Topic]) -> dict[str, list[int]]:
        """The next offset of every partition."""
        latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(topic.name, number): latest for topic in topics for number in range(topic.partitions)}
        found: dict[str, list[int]] = {}
        futures = self._admin.list_offsets(asked, request_timeout=_ANSWER_S)
        for place in sorted(futures, key=lambda place: (place.topic, place.partition)):
            found.setdefault(place.topic, []).append(futures[place].result(_ANSWER_S).offset)
        return found

    def lag(self, group: str, topic: Topic) -> int:
        """Records of the topic that the group has not committed yet."""
        places = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        asked = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, places)], request_timeout=_ANSWER_S
        )
        committed = {place.partition: max(0, place.offset) for place in asked[group].result().topic_partitions}
        return sum(end - committed.get(number, 0) for number, end in enumerate(self.ends([topic])[topic.name]))

    def assigned(self, group: str) -> bool:
        """Whether the group has shared out its partitions."""
        try:
            described: Any = self._admin.describe_consumer_groups([group], request_timeout=_ANSWER_S)[group].result()
        except KafkaException:  # it does not exist yet
            return False
        return bool(described.state.name == "STABLE" and described.members)

    def read(self, topic: Topic, since: list[int]) -> list[tuple[bytes, bytes]]:
        """Key and value of every record from `since` up to now. Blocks. Raises KafkaException."""
        ends = self.ends([topic])[topic.name]
        left = {number: end for number, (start, end) in enumerate(zip(since, ends, strict=True)) if start < end}
        consumer = kafka.consumer(self.settings, name="bench-read")
        consumer.assign([TopicPartition(topic.name, number, since[number]) for number in left])
        values: list[tuple[bytes, bytes]] = []
        try:
            while left:
                batch = consumer.consume(1_000, timeout=0.2)
                for message in batch:
                    error = message.error()
                    if error is not None:
                        raise KafkaException(error)
                    number, offset = message.partition() or 0, message.offset() or 0
                    if offset < ends[number]:
                        values.append((bytes(message.key() or b""), bytes(message.value() or b"")))
                    if offset + 1 >= ends[number]:
                        left.pop(number, None)
        finally:
            consumer.close()
        return values


def renamed(topic: Topic, name: str) -> Topic:
    """A topic of the same making under another name."""
    return replace(topic, name=name)

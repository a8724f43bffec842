"""Reads topics from a place to their present end, as a plain consumer without a group. Blocks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.adapters import kafka
from pipeline.settings import Settings

#: Without an answer for this long, the cluster counts as gone.
SILENCE_S: Final = 15.0
_BATCH: Final = 2_000

Place = tuple[str, int]


def reader(settings: Settings, name: str) -> Consumer:
    """A consumer for `read`, which says where a partition ends."""
    return kafka.consumer(settings, None, name, **kafka.TELL_THE_END)


def every(settings: Settings, topic: str, name: str) -> Iterator[Message]:
    """Every record that the topic keeps, on all its partitions, up to their present ends; `name`: the client's.

    Raises KafkaException where the cluster stops answering.
    """
    consumer = reader(settings, name)
    try:
        yield from read(consumer, dict.fromkeys(partitions(consumer, [topic]), 0))
    finally:
        consumer.close()


def partitions(consumer: Consumer, topics: Iterable[str]) -> list[Place]:
    """Every partition of those topics that the cluster has. Raises KafkaException."""
    known = consumer.list_topics(timeout=kafka.ADMIN_TIMEOUT_S).topics
    return [(name, number) for name in topics if name in known for number in sorted(known[name].partitions)]


def read(consumer: Consumer, starts: Mapping[Place, int]) -> Iterator[Message]:
    """Every record from these offsets up to what each partition had a moment ago. It may be used with pauses.

    Raises KafkaException where the cluster stops answering.
    """
    left: dict[Place, int] = {}
    assigned = []
    for (topic, number), start in starts.items():
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=kafka.ADMIN_TIMEOUT_S)
        if max(start, low) < high:
            left[topic, number] = high
            assigned.append(TopicPartition(topic, number, max(start, low)))
    consumer.assign(assigned)
    heard_s = time.monotonic()
    while left:
        messages = consumer.consume(_BATCH, timeout=0.1)
        for message in messages:
            place = (message.topic() or "", message.partition() or 0)
            error = message.error()
            if error is None:
                offset = message.offset() or 0
                if offset < left.get(place, 0):
                    yield message
                if offset + 1 >= left.get(place, 0):
                    left.pop(place, None)
            elif error.code() == KafkaError._PARTITION_EOF:
                left.pop(place, None)
            else:
                raise KafkaException(error)
        if messages:
            # After they were used, however long that took.
            heard_s = time.monotonic()
        elif time.monotonic() - heard_s > SILENCE_S:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no answer for {SILENCE_S:g} s"))
    consumer.assign([])

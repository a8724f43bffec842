"""How far the store is, by topic and partition, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicPartition

from log_store.chain import Chain
from log_store.consuming import TOPICS
from log_store.objects import Objects
from pipeline.adapters import kafka
from pipeline.adapters.reading import partitions, reader
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Line:
    """One partition. `next`: the first offset that is not in the store; `lag`: records until the topic's end, None
    where the cluster does not answer; `newest_ms`: the newest record's arrival; `lost`: offsets never logged."""

    topic: str
    partition: int
    next: int
    lag: int | None
    newest_ms: int
    lost: int
    files: int
    bytes: int


def by_topic(lines: list[Line]) -> list[Line]:
    """A topic's partitions as one line; `partition` and `next` mean nothing there, and are 0."""
    found: list[Line] = []
    for topic in dict.fromkeys(line.topic for line in lines):
        own = [line for line in lines if line.topic == topic]
        lags = [line.lag for line in own if line.lag is not None]
        found.append(
            Line(
                topic=topic,
                partition=0,
                next=0,
                lag=sum(lags) if len(lags) == len(own) else None,
                newest_ms=max(line.newest_ms for line in own),
                lost=sum(line.lost for line in own),
                files=sum(line.files for line in own),
                bytes=sum(line.bytes for line in own),
            )
        )
    return found


def status(objects: Objects, settings: Settings) -> list[Line]:
    """Every partition that the store or the cluster has. Raises OSError."""
    ends = _ends(settings)
    found = []
    for topic in TOPICS:
        chain = Chain(objects, topic).refresh()
        table = chain.summed()
        numbers = set(table.covers) | {number for name, number in ends or () if name == topic}
        for number in sorted(numbers):
            files = [file for file in table.files if file.partition == number]
            end = None if ends is None else ends.get((topic, number))
            found.append(
                Line(
                    topic,
                    number,
                    chain.next(number),
                    None if end is None else max(0, end - chain.next(number)),
                    table.newest_ms.get(number, 0),
                    sum(one.next - one.first for one in table.lost if one.partition == number),
                    len(files),
                    sum(file.bytes for file in files),
                )
            )
    return found


def _ends(settings: Settings) -> dict[tuple[str, int], int] | None:
    """Where each partition ends; None where the cluster does not answer."""
    consumer = reader(settings, "logs-status")
    try:
        return {
            (topic, number): consumer.get_watermark_offsets(
                TopicPartition(topic, number), timeout=kafka.ADMIN_TIMEOUT_S
            )[1]
            for topic, number in partitions(consumer, TOPICS)
        }
    except KafkaException:
        return None
    finally:
        consumer.close()

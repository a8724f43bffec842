"""Reads the dead letters: finds, filters and explains them. Sends nothing and joins no group.

A record may be dead-lettered more than once (after a crash it is delivered again): letters of the same origin are one.
A record of the topic with no value and the header `nextbest-replayed` says that a letter was replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from pipeline.adapters import kafka, reading
from pipeline.adapters.keys import Keys
from pipeline.adapters.messages import headers_of
from pipeline.codecs.errors import CodecError
from pipeline.core.model.records import DeadLetter
from pipeline.core.model.values import replaced
from pipeline.flow import Reason
from pipeline.settings import Settings
from topics.catalog import DEAD_LETTERS

#: On a marker in `dead.letters`: which letter was replayed.
REPLAYED_HEADER: Final = "nextbest-replayed"

#: Told now and then: records read so far, and how many there are.
Progress = Callable[[int, int], None]

ADVICE: Final[dict[str, str]] = {
    Reason.NOT_AVRO: "Make the producer send Avro in Confluent wire format; a replay of these bytes fails again.",
    Reason.UNKNOWN_SCHEMA: "Give the producer the ids of schemas/registry.json, or upgrade the workers, then replay.",
    Reason.WRONG_SCHEMA: "The producer mixed up two topics: make it send this record to the topic of its schema.",
    Reason.TRUNCATED: "The producer cut the bytes off: make it send the record again; a replay fails again.",
    Reason.WRONG_TYPE: "The bytes are not what their schema id says: correct the producer and let it send again.",
    Reason.TOO_LARGE: "Make the producer send less in one record; a replay fails again while the limit stands.",
    Reason.EMPTY_KEY: "Make the producer set the record's key to the event's subject; a replay fails again.",
    Reason.WRONG_KEY: "Make the producer use the event's subject as the record's key; a replay fails again.",
    Reason.WRONG_PARTITION: "Let the producer partition by murmur2 (partitioner=murmur2_random), then replay.",
    Reason.NULL_VALUE: "This topic takes no tombstones: correct the producer; a replay fails again.",
    Reason.INVALID: "Correct what the detail names in the producer and let it send again, or replay after an upgrade "
    "that allows it.",
    Reason.NOT_CAUGHT_UP: "See whether the workers are behind, or the offset was made up; then replay.",
    Reason.FAILED: "Publish the release before the one it names, or upgrade the workers; then replay. Report it.",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter; `written_at_ms` and `partition` are those of the letter, not of the record in it."""

    record: DeadLetter
    written_at_ms: int
    partition: int
    replays: int = 0

    @property
    def id(self) -> str:
        """`topic:partition:offset` of the record that could not be used."""
        return f"{self.record.topic}:{self.record.partition}:{self.record.offset}"

    @property
    def origin(self) -> str:
        """The id and the record's time: a topic made anew uses the same offsets for other records."""
        return f"{self.id}@{self.record.at_ms}"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE.get(self.record.reason, "Look at the detail.")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are wanted; None: any."""

    topic: str | None = None
    reason: str | None = None
    since_ms: int | None = None
    id: str | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether the letter is one of those wanted."""
        return (
            (self.topic is None or letter.record.topic == self.topic)
            and (self.reason is None or letter.record.reason == self.reason)
            and (self.since_ms is None or letter.written_at_ms >= self.since_ms)
            and (self.id is None or letter.id == self.id)
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The letters wanted, oldest first, and how many records of the topic could not be read as letters."""

    letters: tuple[Letter, ...]
    unreadable: int


def find(settings: Settings, wanted: Filter, progress: Progress | None = None) -> Found:
    """The letters that lie in the topic now, without their values: those may be many and large. Blocks.

    Raises KafkaException where the cluster does not answer.
    """
    letters: dict[str, Letter] = {}
    replays: dict[str, int] = {}
    unreadable = 0
    with Keys(settings) as keys:
        for message in _read_to_the_end(settings, wanted.since_ms, progress):
            replayed = _replayed(message)
            if replayed is not None:
                replays[replayed] = replays.get(replayed, 0) + 1
                continue
            letter = _letter(message, keys)
            if letter is None:
                unreadable += 1
            elif wanted.takes(letter) and letter.origin not in letters:
                letters[letter.origin] = replace(letter, record=replaced(letter.record, value=None))
    counted = (replace(letter, replays=replays.get(origin, 0)) for origin, letter in letters.items())
    return Found(tuple(sorted(counted, key=lambda letter: (letter.written_at_ms, letter.id))), unreadable)


def with_values(settings: Settings, letters: Iterable[Letter], progress: Progress | None = None) -> Iterator[Letter]:
    """The same letters, each once, with their values; letters of one key in the order they were written. Blocks.

    Raises KafkaException where the cluster does not answer.
    """
    left = {letter.origin: letter for letter in letters}
    since_ms = min((letter.written_at_ms for letter in left.values()), default=None)
    with Keys(settings) as keys:
        for message in _read_to_the_end(settings, since_ms, progress) if left else ():
            letter = None if message.value() is None else _letter(message, keys)
            found = left.pop(letter.origin, None) if letter is not None else None
            if letter is not None and found is not None:
                yield replace(letter, replays=found.replays)


def _letter(message: Message, keys: Keys) -> Letter | None:
    """None where the record is no letter, or one of a subject that was erased."""
    try:
        record: DeadLetter = keys.value(DEAD_LETTERS, message.key(), message.value())
    except CodecError:
        return None
    if record.encrypted is not None:
        return None
    return Letter(record, message.timestamp()[1], message.partition() or 0)


def _replayed(message: Message) -> str | None:
    """The origin that a marker says was replayed; None for any other record."""
    try:
        headers = headers_of(message) if message.value() is None else ()
    except ValueError:
        return None
    return next((v.decode(errors="replace") for name, v in headers if name == REPLAYED_HEADER and v is not None), None)


def _read_to_the_end(settings: Settings, since_ms: int | None, progress: Progress | None) -> Iterator[Message]:
    consumer = reading.reader(settings, "dead-letters")
    try:
        starts, total = _starts(consumer, since_ms)
        done = 0
        if progress is not None:
            progress(0, total)
        for message in reading.read(consumer, starts):
            done += 1
            if progress is not None and done % 200 == 0:
                progress(done, max(done, total))
            yield message
        if progress is not None:
            progress(done, done)
    finally:
        consumer.close()


def _starts(consumer: Consumer, since_ms: int | None) -> tuple[dict[reading.Place, int], int]:
    """Where to begin in each partition that holds anything to read, and how many records that is at most."""
    topic = DEAD_LETTERS.name
    known = consumer.list_topics(topic, timeout=kafka.ADMIN_TIMEOUT_S).topics[topic]
    if known.error is not None:
        raise KafkaException(known.error)
    starts, total = {}, 0
    for number in known.partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=kafka.ADMIN_TIMEOUT_S)
        start = low
        if since_ms is not None:
            asked = [TopicPartition(topic, number, since_ms)]
            (answer,) = consumer.offsets_for_times(asked, timeout=kafka.ADMIN_TIMEOUT_S)
            start = high if answer.offset == OFFSET_END else max(low, answer.offset)
        if start < high:
            starts[topic, number] = start
            total += high - start
    return starts, total

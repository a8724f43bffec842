"""What the broker holds in the end: inputs, outputs, the changelogs as compacted, and the history of the commits."""

from __future__ import annotations

import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaException, Message, TopicPartition

from pipeline.adapters import kafka
from pipeline.adapters.keys import key_encryption_of
from pipeline.codecs import avro
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.keyring import Keyring
from pipeline.core.model.values import replaced
from pipeline.flow import Record
from pipeline.settings import Settings
from tests.sim.cluster import Change
from topics.catalog import (
    DEAD_LETTERS,
    DECISION_AUDIT,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    DECISIONS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    PROFILE_INBOX,
    PROFILES_BY_ID,
    SUBJECT_PARTITIONS,
    Topic,
)

INPUTS: Final = (IDENTITY_EVENTS, FEEDBACK_EVENTS, DECISION_REQUESTS, PROFILE_INBOX)
OUTPUTS: Final = (DECISIONS, DECISION_AUDIT, DECISION_REPLIES, DEAD_LETTERS)

#: Kafka's own topic, with the partitions that the embedded broker gives it.
_COMMITS: Final = "__consumer_offsets"
_COMMITS_PARTITIONS: Final = 8

READ_S_MAX: Final = 30.0


@dataclass(frozen=True, slots=True)
class Announcement:
    """A worker's word that a partition is its own from here on."""

    partition: int
    offset: int
    epoch: int
    worker: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Late:
    """A changelog record that came after the announcement of a later owner."""

    partition: int
    offset: int
    epoch: int
    epoch_then: int
    at_ms: int


@dataclass(slots=True)
class Logs:
    """Everything that was read; see `read`."""

    records: dict[str, list[Record]]
    #: Per partition of the changelog, the newest record of each key, in order of offsets.
    compacted: list[list[Change]] = field(default_factory=list)
    changes: int = 0
    announcements: list[Announcement] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)
    #: When each input record's offset was committed.
    completed_ms: dict[tuple[str, int, int], int] = field(default_factory=dict)
    #: Commits that went back behind an earlier one.
    commits_back: list[str] = field(default_factory=list)


def read(settings: Settings) -> Logs:
    """Read all of it, opened and under the subjects' keys again. Blocks. Raises KafkaException, TimeoutError."""
    logs = Logs({t.name: [_record(m) for m in _messages(settings, t.name, t.partitions)] for t in (*INPUTS, *OUTPUTS)})
    keyring = _read_changelog(settings, logs)
    for topic in OUTPUTS:
        if topic.encrypted:
            logs.records[topic.name] = [_opened(topic, record, keyring) for record in logs.records[topic.name]]
    _read_commits(settings, logs)
    return logs


def _messages(settings: Settings, topic: str, partitions: int) -> Iterator[Message]:
    """Every record of the topic up to now, in order within a partition."""
    consumer = kafka.consumer(settings, name="chaos-read")
    try:
        left = {}
        for number in range(partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=15)
            if low < high:
                left[number] = high
        consumer.assign([TopicPartition(topic, number, 0) for number in left])
        heard_s = time.monotonic()
        while left:
            if time.monotonic() - heard_s > READ_S_MAX:
                raise TimeoutError(f"{topic}: nothing more came, but these partitions should reach {left}")
            for message in consumer.consume(2_000, timeout=0.2):
                heard_s = time.monotonic()
                error = message.error()
                if error is not None:
                    raise KafkaException(error)
                yield message
                number, offset = message.partition() or 0, message.offset() or 0
                if offset + 1 >= left.get(number, offset + 2):
                    del left[number]
    finally:
        consumer.close()


def _record(message: Message) -> Record:
    topic, value = message.topic() or "", message.value()
    return Record(
        topic, message.partition() or 0, message.offset() or 0, message.timestamp()[1], message.key(), value, ()
    )


def _opened(topic: Topic, record: Record, keyring: Keyring) -> Record:
    """As it was before it was encrypted. What has no key (nothing of it is anybody's) stays as it is."""
    value = keyring.value(topic, record.key, record.value)
    if value.encrypted is not None:
        return record
    # A letter about somebody who has no key yet lies under nobody's.
    subject = value.key if topic is DEAD_LETTERS else keyring.subject_of(record.key or b"") or record.key
    return replaced(record, key=subject, value=avro.encode(topic, value))


def _read_changelog(settings: Settings, logs: Logs) -> Keyring:
    """Values are kept as compaction would keep them; of the others, who announced what and what came late.

    Returns the subjects' keys.
    """
    newest: list[dict[bytes, Change]] = [{} for _ in range(SUBJECT_PARTITIONS)]
    epochs = [0] * SUBJECT_PARTITIONS
    keyring = Keyring(key_encryption_of(settings))
    for message in _messages(settings, PROFILES_BY_ID.changelog(settings.app_id), SUBJECT_PARTITIONS):
        record = _record(message)
        partition, key, value = record.partition, record.key or b"", record.value
        logs.changes += 1
        keyring.follow(partition, key, value)
        newest[partition][key] = Change(record.offset, key, value, record.at_ms, "")
        if value is None:
            continue
        epoch = envelopes.epoch_of(value)
        if epoch < epochs[partition]:
            logs.late.append(Late(partition, record.offset, epoch, epochs[partition], record.at_ms))
        epochs[partition] = max(epochs[partition], epoch)
        if key == envelopes.EPOCH_KEY:
            worker = (envelopes.decode(value).state or b"").decode()
            logs.announcements.append(Announcement(partition, record.offset, epoch, worker, record.at_ms))
    logs.compacted = [sorted(keys.values(), key=lambda change: change.offset) for keys in newest]
    return keyring


def _read_commits(settings: Settings, logs: Logs) -> None:
    """The commits of the workers' group, as the coordinator wrote them down."""
    commits: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for message in _messages(settings, _COMMITS, _COMMITS_PARTITIONS):
        key, value = message.key() or b"", message.value()
        if value is None or struct.unpack(">h", key[:2])[0] > 1:
            continue  # a tombstone, or a record about the group's members
        group, rest = _text(key[2:])
        if group == settings.app_id:
            topic, rest = _text(rest)
            commits[topic, struct.unpack(">i", rest)[0]].append(commit_of(value))
    for (topic, partition), made in commits.items():
        logs.commits_back += _complete(topic, partition, made, logs.completed_ms)


def _complete(
    topic: str, partition: int, made: Iterable[tuple[int, int]], completed_ms: dict[tuple[str, int, int], int]
) -> list[str]:
    committed, back = 0, []
    for offset, at_ms in made:
        if offset < committed:
            back.append(f"{topic}[{partition}]: offset {offset} was committed after {committed}")
        for number in range(committed, offset):
            completed_ms[topic, partition, number] = at_ms
        committed = max(committed, offset)
    return back


def _text(data: bytes) -> tuple[str, bytes]:
    """A string as Kafka's protocol writes it, and what follows."""
    length = struct.unpack(">h", data[:2])[0]
    return data[2 : 2 + length].decode(), data[2 + length :]


def commit_of(value: bytes) -> tuple[int, int]:
    """Offset and time (epoch ms) of a commit: version, offset, (leader epoch,) metadata, time, as Kafka writes them."""
    version, offset = struct.unpack(">hq", value[:10])
    rest = value[14:] if version >= 3 else value[10:]
    if version >= 4:  # since then a string's length is a variable number of bytes, and one more than it is
        length, at = 0, 0
        while True:
            length |= (rest[at] & 0x7F) << 7 * at
            at += 1
            if rest[at - 1] < 0x80:
                break
        rest = rest[at + length - 1 :]
    else:
        rest = _text(rest)[1]
    at_ms: int = struct.unpack(">q", rest[:8])[0]
    return offset, at_ms

"""Who wrote what, from the heads of the record batches in the broker's own files: clients are not told.

Every worker has two idempotent producers, and the id of one is in every batch (Kafka's message format, version 2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
#: What precedes the bytes that a batch's length counts.
_PREFIX: Final = 12


@dataclass(frozen=True, slots=True)
class Batch:
    """One record batch. Times are epoch ms: the producer's, or the broker's where the topic says so."""

    topic: str
    partition: int
    first: int
    last: int
    at_ms: int
    latest_ms: int
    producer: int


def batches(data: Path, topic: str, partitions: int) -> Iterator[Batch]:
    """Every batch of a topic, in order within a partition, from the broker's data directory."""
    for partition in range(partitions):
        for path in sorted((data / f"{topic}-{partition}").glob("*.log")):
            yield from _of(path.read_bytes(), topic, partition)


def _of(data: bytes, topic: str, partition: int) -> Iterator[Batch]:
    at = 0
    while at + _HEAD.size <= len(data):
        first, length, _, magic, _, _, last, at_ms, latest_ms, producer, _, _, _ = _HEAD.unpack_from(data, at)
        if magic != 2 or length <= 0:
            return  # room that the broker has not written yet
        yield Batch(topic, partition, first, first + last, at_ms, latest_ms, producer)
        at += _PREFIX + length

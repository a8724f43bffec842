"""Where Kafka's own partitioner puts a key (murmur2): which partition a subject lives on."""

from __future__ import annotations

import struct
from typing import Final

from topics.catalog import SUBJECT_PARTITIONS

_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a keyed record on a topic with so many partitions."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def subject_partition(key: bytes) -> int:
    """The partition of a subject or profile on every topic and table that is keyed by them."""
    return partition_of(key, SUBJECT_PARTITIONS)


def murmur2(data: bytes) -> int:
    """Kafka's murmur2, unsigned."""
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    words = length // 4
    for k in struct.unpack_from(f"<{words}I", data):
        k = k * _M & _MASK
        h = h * _M & _MASK ^ (k ^ k >> 24) * _M & _MASK
    whole = 4 * words
    if whole < length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15

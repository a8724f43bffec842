"""Taking over a partition: bring its store up to its changelog, then announce a new epoch there.

Reads the changelog in bulk with a plain consumer (several times the speed of Faust's own recovery, docs/benchmarks.md)
and blocks: run it on a thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.ports import StateStore

log = logging.getLogger(__name__)

BATCH_RECORDS = 2_000
READ_TIMEOUT_S = 30.0
#: `consume` waits this long for a full batch, also at the end of the log.
BATCH_S = 0.05


class ChangelogUnreadableError(RuntimeError):
    """The changelog could not be read to its end in time; the partition is not taken over."""


class TableStore(StateStore, Protocol):
    """A local copy of one partition: what a take-over fills and a lane then writes."""

    path: Path
    #: The changelog offset and the owner's epoch it has reached; -1 and 0 where it is empty.
    offset: int
    epoch: int
    #: Keys whose newest changelog record is not their value, but what a lost owner wrote too late.
    stale: set[bytes]

    def load(self, changes: Iterable[tuple[bytes, bytes | None, int]]) -> int:
        """Apply changelog records (key, value, offset) in order, but those it has; in any thread. Returns how many were
        stale and passed over."""

    def due(self, now_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """Keys whose state time alone changes by now, earliest first, with that time (epoch ms)."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value, in key order."""

    @property
    def erased(self) -> dict[bytes, int]:
        """The erased keys whose replaced values may still lie in the files; to compact, and then to say `compacted`."""

    def compact(self, keys: Iterable[bytes]) -> bool:
        """Remove from the files what was replaced of these keys; in any thread. False: closed meanwhile."""

    def compacted(self, keys: Mapping[bytes, int]) -> None:
        """Of these nothing is left to compact, but of what was erased again since."""

    def close(self) -> None:
        """Release the files; the store may be opened again."""

    def destroy(self) -> None:
        """Close and delete."""


def bring_up_to_date(
    store: TableStore,
    reopen: Callable[[Path], TableStore],
    new_reader: Callable[[], Consumer],
    changelog: str,
    partition: int,
) -> tuple[TableStore, int, int]:
    """Load what the store lacks of the changelog; returns the store, records read and stale records passed over.

    A store that is ahead of the changelog belongs to another cluster or to a changelog since deleted: it is dropped
    and read anew. Raises ChangelogUnreadableError where the broker stops answering.
    """
    consumer = new_reader()
    try:
        where = TopicPartition(changelog, partition)
        low, high = consumer.get_watermark_offsets(where, timeout=READ_TIMEOUT_S)
        if store.offset >= high:
            log.warning("%s[%d]: the local store is ahead of the changelog; reading it anew", changelog, partition)
            store.destroy()
            store = reopen(store.path)
        read = stale = 0
        if store.offset + 1 < high:
            consumer.assign([TopicPartition(changelog, partition, max(low, store.offset + 1))])
            for batch in _batches(consumer, high):
                stale += store.load(batch)
                read += len(batch)
        return store, read, stale
    except KafkaException as error:
        raise ChangelogUnreadableError(f"{changelog}[{partition}]: {error}") from error
    finally:
        consumer.close()


def _batches(consumer: Consumer, high: int) -> Iterator[list[tuple[bytes, bytes | None, int]]]:
    """The assigned partition's records up to `high` (exclusive), in batches."""
    at, heard_s = -1, time.monotonic()
    while at < high:
        batch: list[tuple[bytes, bytes | None, int]] = []
        messages = consumer.consume(BATCH_RECORDS, timeout=BATCH_S)
        if messages:
            heard_s = time.monotonic()
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                # Compaction may have removed the last records before `high`.
                at = high
                continue
            change = change_of(message)
            at = max(at, change[2] + 1)
            batch.append(change)
        if time.monotonic() - heard_s > READ_TIMEOUT_S:
            raise ChangelogUnreadableError(f"no changelog record within {READ_TIMEOUT_S:.0f} s at offset {at}")
        yield batch


def change_of(message: Message) -> tuple[bytes, bytes | None, int]:
    """A changelog record's key, value and offset. Raises ChangelogUnreadableError for one without key."""
    offset, key = message.offset(), message.key()
    if offset is None or not isinstance(key, bytes):
        raise ChangelogUnreadableError(f"{message.topic()}[{message.partition()}]: a record without key at {offset}")
    return key, message.value(), offset

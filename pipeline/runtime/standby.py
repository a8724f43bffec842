"""Copies of partitions that other workers decide for, kept up with the changelog: whoever holds one takes the partition
over at once when its owner is gone.

Read as a take-over reads (`takeover.py`): from where the copy is, by one reader, without a gap. So a copy is always a
prefix of its changelog.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from pipeline.runtime.takeover import TableStore, change_of

log = logging.getLogger(__name__)

BATCH_RECORDS: Final = 2_000
#: How long a batch is waited for, and with it how far a copy is behind.
BATCH_S: Final = 0.25
ASK_S: Final = 10.0
RETRY_S: Final = 2.0

#: librdkafka's: nobody waits for these records, so they are fetched some at a time.
FETCHING: Final[dict[str, Any]] = {"fetch.min.bytes": 65_536, "fetch.wait.max.ms": 250}


class Standby:
    """A worker's copies. `follow` and `stop` from any thread."""

    def __init__(
        self, new_reader: Callable[[], Consumer], changelog: str, loaded: Callable[[int], None] = lambda records: None
    ) -> None:
        """`loaded` is told how many records were loaded; on a thread of its own."""
        self._loaded = loaded
        self._new_reader = new_reader
        self._changelog = changelog
        #: What to keep up to date, and its number. Nothing is loaded but under this lock.
        self._following: tuple[int, Mapping[int, TableStore]] = (0, {})
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, stores: Mapping[int, TableStore]) -> None:
        """Keep these copies up to date and no others: no other is touched from here on."""
        with self._lock:
            self._following = (self._following[0] + 1, dict(stores))
        self._changed.set()
        if stores and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="standby", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Touch no copy any more."""
        self.follow({})
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(ASK_S)

    # -- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            consumer = self._new_reader()
            try:
                self._read(consumer)
            except Exception as error:
                # A copy that stays behind costs the next take-over time, nothing else.
                log.warning("copies of other workers' partitions are not kept up for now: %r", error)
                self._stopping.wait(RETRY_S)
            finally:
                consumer.close()

    def _read(self, consumer: Consumer) -> None:
        """Returns when it is to stop. Raises whatever reading and loading raises."""
        at = -1
        while not self._stopping.is_set():
            with self._lock:
                number, stores = self._following
                self._changed.clear()
            if number != at:
                consumer.assign(self._places(consumer, stores))
                at = number
            if not stores:
                self._changed.wait(1.0)
                continue
            self._load(consumer.consume(BATCH_RECORDS, timeout=BATCH_S), number)

    def _places(self, consumer: Consumer, stores: Mapping[int, TableStore]) -> list[TopicPartition]:
        """Where to read on. A copy of another changelog, which is ahead of this one, is left to a take-over."""
        places = []
        for partition, store in stores.items():
            low, high = consumer.get_watermark_offsets(TopicPartition(self._changelog, partition), timeout=ASK_S)
            if store.offset < high:
                places.append(TopicPartition(self._changelog, partition, max(low, store.offset + 1)))
        return places

    def _load(self, messages: Sequence[Message], number: int) -> None:
        changes: dict[int, list[tuple[bytes, bytes | None, int]]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            changes.setdefault(message.partition() or 0, []).append(change_of(message))
        with self._lock:
            if self._following[0] == number:
                for partition, records in changes.items():
                    self._following[1][partition].load(records)
                    self._loaded(len(records))

"""The profile table's store as Faust sees it: standby copies are fed through here, active ones by the lanes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from faust.stores.base import SerializedStore
from faust.tables.base import Collection
from faust.types import TP

from pipeline.runtime.lanes import Lanes
from pipeline.runtime.takeover import TableStore

ONE_WRITER = "the table is written by its lanes only: one writer per key"


class LaneStore(SerializedStore[bytes, bytes]):
    """Reads what the lanes keep; refuses to write past them."""

    lanes: Lanes

    def _partition(self, partition: int) -> TableStore:
        return self.lanes.store(partition)

    def persisted_offset(self, tp: TP) -> int | None:
        offset = self._partition(tp.partition).offset
        return offset if offset >= 0 else None

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Nothing to do: the offset is written with the values it belongs to."""

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        changes: dict[int, list[tuple[bytes, bytes | None, int]]] = {}
        for event in batch:
            message = event.message
            changes.setdefault(message.partition, []).append((message.key, message.value, message.offset))
        for partition, records in changes.items():
            store = self._partition(partition)
            store.follow(records)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        changelog = cast(Collection, self.table).changelog_topic_name
        self.lanes.release_stores(keep=[tp.partition for tp in assigned if tp.topic == changelog])

    def _owned(self) -> list[TableStore]:
        return [self._partition(p) for p in self.lanes.partitions()]

    def _get(self, key: bytes) -> bytes | None:
        return next((value for store in self._owned() if (value := store.get(key)) is not None), None)

    def _set(self, key: bytes, value: bytes | None) -> None:
        raise TypeError(ONE_WRITER)

    def _del(self, key: bytes) -> None:
        raise TypeError(ONE_WRITER)

    def _iterkeys(self) -> Iterator[bytes]:
        return (key for key, _ in self._iteritems())

    def _itervalues(self) -> Iterator[bytes | None]:
        return (value for _, value in self._iteritems())

    def _iteritems(self) -> Iterator[tuple[bytes, bytes]]:
        return (item for store in self._owned() for item in store.items())

    def _size(self) -> int:
        return sum(1 for _ in self._iteritems())

    def _contains(self, key: bytes) -> bool:
        return self._get(key) is not None

    def _clear(self) -> None:
        raise TypeError(ONE_WRITER)

    def reset_state(self) -> None:
        """Faust's `reset` command: forget the local copies; the changelog has everything."""
        self.lanes.destroy_stores()

    async def backup_partition(self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1) -> None:
        raise TypeError("back up the changelog topic: a local copy is only a cache of it")

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        raise TypeError("a local copy is restored from the changelog topic, by deleting it")

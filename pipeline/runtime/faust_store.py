"""The profile table's store as Faust sees it. It learns here which copies a worker is to have; what is in them is the
lanes' and the standby's affair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

from faust.stores.base import SerializedStore
from faust.tables.base import Collection
from faust.types import TP

from pipeline.runtime.lanes import Lanes
from pipeline.runtime.takeover import TableStore

ONE_WRITER: Final = "the table is written by its lanes only: one writer per key"
ONE_READER: Final = "the table's changelog is read by take-overs and the standby only"


class LaneStore(SerializedStore[bytes, bytes]):
    """Reads what the lanes keep; refuses to write past them."""

    lanes: Lanes

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        changelog = cast(Collection, self.table).changelog_topic_name
        standby = self.app.assignor.assigned_standbys()
        self.lanes.keep_copies(
            [tp.partition for tp in assigned if tp.topic == changelog],
            [tp.partition for tp in standby if tp.topic == changelog],
        )

    def persisted_offset(self, tp: TP) -> int | None:
        raise TypeError(ONE_READER)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        raise TypeError(ONE_READER)

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        raise TypeError(ONE_READER)

    def _owned(self) -> list[TableStore]:
        return [self.lanes.store(p) for p in self.lanes.partitions()]

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
        self.lanes.copies.destroy()

    async def backup_partition(self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1) -> None:
        raise TypeError("back up the changelog topic: a local copy is only a cache of it")

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        raise TypeError("a local copy is restored from the changelog topic, by deleting it")

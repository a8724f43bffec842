"""The local copies of partitions on one worker: those it decides for, and by the standby those of others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Set
from pathlib import Path

from pipeline.runtime.standby import Standby
from pipeline.runtime.takeover import TableStore

log = logging.getLogger(__name__)


class Copies:
    """One store for each partition, in a folder of its own. All on one event loop."""

    def __init__(self, folder: Path, open_store: Callable[[Path], TableStore], standby: Standby) -> None:
        self._folder = folder
        self._open_store = open_store
        self._standby = standby
        self._stores: dict[int, TableStore] = {}

    def store(self, partition: int) -> TableStore:
        """The partition's store, opened where needed."""
        store = self._stores.get(partition)
        if store is None:
            store = self._stores[partition] = self._open_store(self._folder / f"{partition}")
        return store

    def reopened(self, partition: int, store: TableStore) -> None:
        """The partition's store is this one from now on."""
        self._stores[partition] = store

    def keep(self, mine: Set[int], others: Set[int]) -> None:
        """Keep copies of these partitions, those of others' by the standby. What is neither is closed."""
        self._standby.follow({})
        for partition in self._stores.keys() - mine - others:
            self._stores.pop(partition).close()
        self._standby.follow({partition: self.store(partition) for partition in sorted(others)})

    def destroy(self) -> None:
        """Delete every local copy; the changelog has everything."""
        self._standby.follow({})
        for partition in list(self._stores):
            self._stores.pop(partition).destroy()

    def close(self) -> None:
        """Close every store."""
        self._standby.stop()
        for store in self._stores.values():
            store.close()
        self._stores.clear()

    async def compact_erased(self) -> None:
        """Remove from the files of every copy what was replaced of erased subjects; called by the app's timer."""
        for partition, store in list(self._stores.items()):
            erased = store.erased
            if not erased:
                continue
            try:
                done = await asyncio.to_thread(store.compact, erased)
            except Exception:
                log.exception("partition %d: what was erased could not be compacted; tried again", partition)
                continue
            if done and self._stores.get(partition) is store:
                store.compacted(erased)
                log.info("partition %d: %d erased keys are gone from its files", partition, len(erased))

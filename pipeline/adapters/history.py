"""Reads `policy.releases`, `catalog.items` and `model.snapshots` back to what an audit saw. Blocks; joins no group and
commits nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import Message, TopicPartition

from pipeline.adapters import kafka
from pipeline.adapters.messages import record_of
from pipeline.adapters.reading import read, reader
from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.decide.live import Live
from pipeline.core.keys import model_key, tenant_of
from pipeline.core.model.records import AuditRecord, Decision
from pipeline.core.release.history import History, NotKept
from pipeline.onnx_models.sessions import opened
from pipeline.settings import Settings
from topics.catalog import CATALOG_ITEMS, MODEL_SNAPSHOTS, POLICY_RELEASES, Topic

_ITEMS: Final = TopicPartition(CATALOG_ITEMS.name, 0)


class PublishedHistory:
    """The release and the catalog of any audit, read off the topics. Not for several threads.

    The catalog is read forward as audits ask for it, each record once, where they come in the order of their
    `catalog_version`; an audit that names an earlier one has it read from the beginning again. Memory holds the last
    versions of each item, never the topic.
    """

    def __init__(self, settings: Settings) -> None:
        self._history = History(opened)
        self._releases = reader(settings, "history-releases")
        self._next_release = 0
        self._items = reader(settings, "history-items")
        self._snapshots = reader(settings, "history-snapshots")
        #: Where each snapshot's record is, by its key; and the next one to look at.
        self._places: dict[str, int] = {}
        self._next_snapshot = 0
        self._records: Iterator[Message] = iter(())
        #: Read and not taken yet: it is beyond the version that was asked for last.
        self._ahead: Message | None = None
        self._version = -1
        self._next = 0
        self._end = 0

    def close(self) -> None:
        """Release the connections."""
        self._releases.close()
        self._items.close()
        self._snapshots.close()

    def live(self, seen: AuditRecord | Decision) -> Live:
        """The release and the catalog that were decided by.

        Raises NotKept where they cannot be had any more, KafkaException where the cluster does not answer.
        """
        if not self._history.has_release(seen):
            self._read_releases()
        self._read_items(seen)
        for model, number in self._history.lacks_snapshots(seen):
            self._read_snapshot(f"{model_key(tenant_of(seen.profile_id), model)}/{number}")
        return self._history.live(seen)

    def _read_releases(self) -> None:
        for message in read(self._releases, {(POLICY_RELEASES.name, 0): self._next_release}):
            self._next_release = (message.offset() or 0) + 1
            found = _usable(POLICY_RELEASES, message)
            if found is not None:
                self._history.take_release(*found)

    def _read_snapshot(self, key: str) -> None:
        """Take one snapshot, by where it was seen; the topic is looked through once, its bodies are not kept."""
        if key not in self._places:
            for message in read(self._snapshots, {(MODEL_SNAPSHOTS.name, 0): self._next_snapshot}):
                self._next_snapshot = (message.offset() or 0) + 1
                self._places[(message.key() or b"").decode("utf-8", "replace")] = message.offset() or 0
        if key not in self._places:
            return
        for message in read(self._snapshots, {(MODEL_SNAPSHOTS.name, 0): self._places[key]}):
            found = _usable(MODEL_SNAPSHOTS, message)
            if found is not None and found[0] == key and found[1] is not None:
                self._history.take_snapshot(found[1])
            return

    def _read_items(self, seen: AuditRecord | Decision) -> None:
        """Take the catalog as far as the version that was seen; raises NotKept where the topic does not go there."""
        version = seen.catalog_version
        if version >= self._end:
            self._end = self._items.get_watermark_offsets(_ITEMS, timeout=kafka.ADMIN_TIMEOUT_S)[1]
        if version >= self._end:
            raise NotKept(
                f"{seen.decision_id} saw {CATALOG_ITEMS.name} up to offset {version}, which ends at {self._end}: the "
                "topic was deleted and made anew, or this is another cluster; look in a copy of the topic of that time")
        if version < self._version:
            self._history.start_over()
            self._next, self._ahead, self._records = 0, None, iter(())
        self._version = version
        while self._next <= version:
            message = next(self._records, None) if self._ahead is None else self._ahead
            if message is None:
                # All that was there when it was asked; by now there is more.
                self._records = read(self._items, {(CATALOG_ITEMS.name, 0): self._next})
                message = next(self._records, None)
            if message is None or (message.offset() or 0) > version:
                self._ahead, self._next = message, version + 1
                return
            self._ahead, self._next = None, (message.offset() or 0) + 1
            found = _usable(CATALOG_ITEMS, message)
            if found is not None:
                self._history.take_item(*found)


def _usable(topic: Topic, message: Message) -> tuple[str, Any] | None:
    """Key and value, None for a record that every worker passes over, too."""
    record = record_of(message)
    if record.unreadable or not record.key:
        return None
    try:
        return record.key.decode("utf-8", "replace"), None if record.value is None else avro.decode(topic, record.value)
    except CodecError:
        return None

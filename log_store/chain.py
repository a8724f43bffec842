"""What the store holds, by topic: the manifests of the sink, linked by offsets, and the tables that sum them up.

A manifest is named by the offset that it begins with and says which offset comes next: of several sinks only one can
write the manifest that begins there, so the manifests of a partition are one chain without gap or overlap. What is not
linked to it does not exist. A table is everything there is up to certain offsets; its number is the one after the
table it was made from, and again only one can write it.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from log_store.errors import LogStoreError
from log_store.objects import Objects

_DIGITS: Final = 20
_Kind = TypeVar("_Kind")


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file. `keys`: the key files of what is encrypted in it by this store. `day`: 2026-11-28, UTC."""

    path: str
    tenant: str
    day: str
    partition: int
    first: int
    last: int
    rows: int
    bytes: int
    keys: tuple[str, ...] = ()
    #: Rows of records that could not be read, with their bytes.
    unreadable: bool = False


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """Offsets that were gone from the topic before a sink read them: `first` up to, not including, `next`."""

    partition: int
    first: int
    next: int


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """That somebody was erased: the tag of one identifier, and when (epoch ms)."""

    tag: str
    at_ms: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One commit of a sink: the offsets from `start` up to, not including, `next`, and where their records are."""

    partition: int
    start: int
    next: int
    files: tuple[File, ...] = ()
    lost: Lost | None = None
    erased: tuple[Erasure, ...] = ()
    #: Newest timestamp among the records, epoch ms; 0: none.
    newest_ms: int = 0
    #: The cluster's id of the topic that the records are of; empty: not known.
    topic_id: str = ""


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """A file that no table names any more since then (epoch ms); it is deleted after a grace."""

    path: str
    at_ms: int


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Everything up to `covers` (per partition the next offset), and what to delete when readers have moved on."""

    number: int = 0
    covers: dict[int, int] = {}
    files: tuple[File, ...] = ()
    lost: tuple[Lost, ...] = ()
    erased: tuple[Erasure, ...] = ()
    retired: tuple[Retired, ...] = ()
    newest_ms: dict[int, int] = {}
    topic_id: str = ""


def manifest_name(topic: str, partition: int, start: int) -> str:
    """Where the manifest that begins with this offset lies."""
    return f"{topic}/_log/{partition:05}/{start:0{_DIGITS}}.json"


def table_name(topic: str, number: int) -> str:
    """Where the table of this number lies."""
    return f"{topic}/_table/{number:0{_DIGITS}}.json"


class Chain:
    """What is known of one topic's files. Reads on from where it was; holds no connection."""

    def __init__(self, objects: Objects, topic: str) -> None:
        self._objects = objects
        self.topic = topic
        self.table = Table()
        #: The linked manifests behind the table, by partition.
        self.manifests: dict[int, list[Manifest]] = {}
        #: Goes into what this process commits.
        self.topic_id = ""

    @property
    def committed_topic_id(self) -> str:
        """The topic that what is committed is of; empty: not known, or nothing is."""
        known = [one.topic_id for one in self.linked() if one.topic_id]
        return self.table.topic_id or next(iter(known), "")

    def refresh(self) -> Chain:
        """Read what is new; returns itself. Raises OSError, LogStoreError for what is damaged."""
        numbers = self._objects.names(f"{self.topic}/_table")
        newest = numbers[-1] if numbers else ""
        if newest and newest != table_name(self.topic, self.table.number):
            self.table = self._read(newest, Table)
            self.manifests = {
                partition: [one for one in chain if one.start >= self.table.covers.get(partition, 0)]
                for partition, chain in self.manifests.items()
            }
        names = set(self._objects.names(f"{self.topic}/_log"))
        for partition in {int(name.split("/")[2]) for name in names} | set(self.table.covers):
            self._follow(partition, names)
        return self

    def next(self, partition: int) -> int:
        """The offset of the first record that is not in the store."""
        chain = self.manifests.get(partition)
        return chain[-1].next if chain else self.table.covers.get(partition, 0)

    def last(self, partition: int) -> Manifest | None:
        """The newest linked manifest that no table covers."""
        chain = self.manifests.get(partition)
        return chain[-1] if chain else None

    def linked(self) -> list[Manifest]:
        """Every linked manifest that no table covers."""
        return [one for chain in self.manifests.values() for one in chain]

    def summed(self) -> Table:
        """The table with every linked manifest in it; its number is still that of the table it was made from."""
        found = self.linked()
        newest_ms = dict(self.table.newest_ms)
        for one in found:
            newest_ms[one.partition] = max(newest_ms.get(one.partition, 0), one.newest_ms)
        return Table(
            number=self.table.number,
            covers=self.table.covers
            | {partition: chain[-1].next for partition, chain in self.manifests.items() if chain},
            files=(*self.table.files, *(file for one in found for file in one.files)),
            lost=(*self.table.lost, *(one.lost for one in found if one.lost is not None)),
            erased=(*self.table.erased, *(erasure for one in found for erasure in one.erased)),
            retired=self.table.retired,
            newest_ms=newest_ms,
            topic_id=self.committed_topic_id,
        )

    def commit(self, manifest: Manifest) -> bool:
        """Append it, unless another sink has written the one that begins there: False. The atomic step of a sink."""
        name = manifest_name(self.topic, manifest.partition, manifest.start)
        manifest = msgspec.structs.replace(manifest, topic_id=self.topic_id)
        if manifest.next <= manifest.start or not self._objects.put_if_absent(name, msgspec.json.encode(manifest)):
            return False
        self.manifests.setdefault(manifest.partition, []).append(manifest)
        return True

    def replace(self, table: Table) -> bool:
        """Make it the table in force, unless there is another of its number: False."""
        if not self._objects.put_if_absent(table_name(self.topic, table.number), msgspec.json.encode(table)):
            return False
        self.refresh()
        return True

    def _follow(self, partition: int, names: set[str]) -> None:
        chain = self.manifests.setdefault(partition, [])
        while (name := manifest_name(self.topic, partition, self.next(partition))) in names:
            chain.append(self._read(name, Manifest))

    def _read(self, name: str, type_: type[_Kind]) -> _Kind:
        try:
            return msgspec.json.decode(self._objects.get(name), type=type_)
        except msgspec.DecodeError as error:
            raise LogStoreError(
                f"{name} is damaged ({error}): restore it from a copy of the store, as nothing else says which files "
                "count"
            ) from error

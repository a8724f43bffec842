"""Each family's part of the logs before the simulation's oracle (tests/sim/oracle.py), as a finished run of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.adapters.rocksdb_store import RocksStore
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.encryption import KeyEncryption
from pipeline.flow import Record
from pipeline.runtime.memory import MemoryStore
from tests.chaos.families import TENANT, Family
from tests.chaos.logs import Logs
from tests.sim.cluster import Change, Changelog
from tests.sim.oracle import judge
from topics.catalog import DECISION_REPLIES, PROFILES_BY_ID

_Entry = TypeVar("_Entry", Change, tuple[bytes, bytes])


@dataclass
class _Part:
    """One family's part of the logs: what the oracle asks of a simulated cluster."""

    completed_ms: dict[tuple[str, int, int], int]
    changelogs: list[Changelog]
    by_topic: dict[str, list[Record]]

    def records(self, topic: str) -> list[Record]:
        return self.by_topic.get(topic, [])


@dataclass
class _Owner:
    """The last owner of every partition, and its copies: what the oracle asks of a worker and its lanes."""

    stores: list[MemoryStore]

    @property
    def lanes(self) -> _Owner:
        return self

    def partitions(self) -> list[int]:
        return list(range(len(self.stores)))

    def store(self, partition: int) -> MemoryStore:
        return self.stores[partition]


@dataclass
class _Run:
    """A finished run, as the oracle sees one."""

    cluster: _Part
    workers: Sequence[_Owner]
    misdeeds: Sequence[str]
    key_encryption: KeyEncryption
    #: Topics are read side by side here.
    in_order: bool = False
    accounts: bool = False
    forgotten: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Disk:
    """What one partition's last owner has on its disk: the changelog up to an offset."""

    values: dict[bytes, bytes]
    offset: int
    epoch: int


def disks(owners: Mapping[int, Path]) -> list[Disk]:
    """Each partition's, by the data directory of its last owner. The workers must have ended."""
    found = []
    for partition in sorted(owners):
        store = RocksStore(owners[partition] / "state" / PROFILES_BY_ID.name / f"{partition}")
        found.append(Disk(dict(store.items()), store.offset, store.epoch))
        store.close()
    return found


def judge_families(
    families: Sequence[Family], logs: Logs, kept: list[Disk], key_encryption: KeyEncryption
) -> Iterator[tuple[str, str]]:
    """What is wrong, with the family it is wrong with."""
    names = {key.encode(): family.name for family in families for key in family.keys()}
    records: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for topic, all_of in logs.records.items():
        for record in all_of:
            records[_family_of(topic, record.key or b"", names)][topic].append(record)
    changes = [_by_family(partition, names) for partition in logs.compacted]
    found = [_by_family(disk.values.items(), names) for disk in kept]
    for family in families:
        changelogs = [Changelog(sorted((*one[""], *one[family.name]), key=lambda c: c.offset)) for one in changes]
        part = _Part(logs.completed_ms, changelogs, records[family.name])
        copies = [MemoryStore() for _ in kept]
        for copy, one, disk, changelog in zip(copies, found, kept, changelogs, strict=True):
            copy.apply(dict(one[family.name]), None)
            copy.offset, copy.epoch = disk.offset, disk.epoch
            # An owner that was stopped in a hurry has not written down its last changes: it would read them again.
            copy.load((c.key, c.value, c.offset) for c in changelog.changes if c.offset > disk.offset)
        for wrong in judge(_Run(part, [_Owner(copies)], (), key_encryption)):
            yield family.name, wrong


def _by_family(entries: Iterable[_Entry], names: Mapping[bytes, str]) -> dict[str, list[_Entry]]:
    """Entries by their key's family; an announcement is nobody's."""
    found: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        key = entry.key if isinstance(entry, Change) else entry[0]
        if not key.startswith(envelopes.BESIDE):
            found["" if key == envelopes.EPOCH_KEY else _family_of("", key, names)].append(entry)
    return found


def _family_of(topic: str, key: bytes, names: Mapping[bytes, str]) -> str:
    """The family's name; another's where the key is of no tenant of ours (the bridges ask about their own readiness),
    and for a reply that confirms an event's consent.

    Raises KeyError for a subject that nobody sent.
    """
    if topic == DECISION_REPLIES.name:
        family, _, name = key.decode().partition("-")
        return f"{family}-" if name.startswith("r") else "others"
    return names[key] if key.startswith(f"{TENANT}/".encode()) else "others"

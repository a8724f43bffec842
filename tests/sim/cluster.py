"""The simulated Kafka: logs, a changelog that compacts, and one consumer group with generations and sessions.

Only what the engine can notice. Nothing here knows of workers but their names.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field

from pipeline.codecs.envelope import epoch_of
from pipeline.flow import Record
from pipeline.ports import Outbound

CHANGELOG = "sim-changelog"
SESSION_MS = 6_000
REBALANCE_MS = 10_000
COMPACTION_LAG_MS = 3_600_000
START_MS = 1_800_000_000_000

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Change:
    """One changelog record; `writer`: who sent it."""

    offset: int
    key: bytes
    value: bytes | None
    at_ms: int
    writer: str


@dataclass(slots=True)
class Changelog:
    """One partition of the compacted changelog: offsets stay when records go."""

    changes: list[Change] = field(default_factory=list)
    end: int = 0
    #: Everything ever appended, for the oracle.
    history: list[Change] = field(default_factory=list)

    def append(self, key: bytes, value: bytes | None, at_ms: int, writer: str) -> int:
        change = Change(self.end, key, value, at_ms, writer)
        self.changes.append(change)
        self.history.append(change)
        self.end += 1
        return change.offset

    def stale_records(self) -> int:
        """How many values came after the announcement of a later owner."""
        epoch = stale = 0
        for change in self.history:
            written = epoch if change.value is None else epoch_of(change.value)
            stale += written < epoch
            epoch = max(epoch, written)
        return stale

    def compact(self, before_ms: int) -> None:
        """Keep the newest of each key among the records older than the lag; younger ones hide nothing yet."""
        newest = {change.key: change.offset for change in self.changes if change.at_ms <= before_ms}
        self.changes = [c for c in self.changes if c.at_ms > before_ms or newest[c.key] == c.offset]


@dataclass(slots=True)
class Member:
    """One member of the group as the coordinator sees it."""

    heard_ms: int
    joined: bool = False


class Cluster:
    """Logs and group. Time is the simulation's, in `now_ms`."""

    def __init__(self, rng: random.Random, partitions: int, inputs: tuple[str, ...]) -> None:
        self._rng = rng
        self.partitions = partitions
        self.inputs = inputs
        self.now_ms = START_MS
        self.logs: dict[str, list[list[Record]]] = {name: [[] for _ in range(partitions)] for name in inputs}
        self.changelogs = [Changelog() for _ in range(partitions)]
        self.committed: dict[TopicPartition, int] = {(name, p): 0 for name in inputs for p in range(partitions)}
        #: When each input record's offset was committed: its effects are complete then.
        self.completed_ms: dict[tuple[str, int, int], int] = {}
        self.generation = 0
        self.members: dict[str, Member] = {}
        self.assignment: dict[str, list[int]] = {}
        #: When a running rebalance stops waiting for members; None while the group is stable.
        self.rebalance_until_ms: int | None = None

    # -- records --------------------------------------------------------------------------------------------------

    def partition_of(self, key: bytes) -> int:
        return zlib.crc32(key) % self.partitions

    def append(self, out: Outbound, writer: str) -> tuple[int, int]:
        """The record's partition and offset."""
        partition = self.partition_of(out.key) if out.partition is None else out.partition % self.partitions
        if out.topic == CHANGELOG:
            return partition, self.changelogs[partition].append(out.key, out.value, self.now_ms, writer)
        log = self.logs.setdefault(out.topic, [[] for _ in range(self.partitions)])[partition]
        log.append(Record(out.topic, partition, len(log), self.now_ms, out.key, out.value))
        return partition, len(log) - 1

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, oldest first within a partition."""
        return [record for log in self.logs.get(topic, ()) for record in log]

    # -- group ----------------------------------------------------------------------------------------------------

    def commit(self, member: str, generation: int, offsets: dict[TopicPartition, int]) -> bool:
        """Take the offsets; False for one that is no member of this generation (any more)."""
        if member not in self.members or generation != self.generation:
            return False
        for (topic, partition), offset in offsets.items():
            for number in range(self.committed[topic, partition], offset):
                self.completed_ms.setdefault((topic, partition, number), self.now_ms)
            self.committed[topic, partition] = offset
        return True

    def heartbeat(self, member: str, generation: int) -> str:
        """`ok`, `rebalancing` (join again; still a member), or `unknown` (join as a new one)."""
        known = self.members.get(member)
        if known is None or generation != self.generation:
            return "unknown"
        known.heard_ms = self.now_ms
        return "ok" if self.rebalance_until_ms is None else "rebalancing"

    def join(self, member: str) -> None:
        """A member has given up what it had and waits for its next assignment."""
        self.members[member] = Member(self.now_ms, joined=True)
        if self.rebalance_until_ms is None:
            self.rebalance()
            self.members[member].joined = True

    def leave(self, member: str) -> None:
        """A member is gone by its own word."""
        if self.members.pop(member, None) is not None:
            self.assignment.pop(member, None)
            self.rebalance()

    def rebalance(self) -> None:
        """Ask every member to join again."""
        if self.rebalance_until_ms is None:
            self.rebalance_until_ms = self.now_ms + REBALANCE_MS
            for member in self.members.values():
                member.joined = False

    def settle(self) -> bool:
        """Put silent members out, and end a rebalance that is due; True where a new generation began."""
        for name, member in list(self.members.items()):
            if not member.joined and self.now_ms - member.heard_ms > SESSION_MS:
                self.leave(name)
        until_ms = self.rebalance_until_ms
        if until_ms is None or not (all(m.joined for m in self.members.values()) or self.now_ms >= until_ms):
            return False
        self.members = {name: member for name, member in self.members.items() if member.joined}
        for member in self.members.values():
            member.joined, member.heard_ms = False, self.now_ms
        self.rebalance_until_ms = None
        self.generation += 1
        self.assignment = {name: [] for name in self.members}
        names = list(self.members)
        self._rng.shuffle(names)
        for partition in range(self.partitions if names else 0):
            self.assignment[names[partition % len(names)]].append(partition)
        return True

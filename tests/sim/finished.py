"""What a run leaves behind for the oracle: of the simulation, or of a real broker under attack (tests/chaos)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

from pipeline.codecs.encryption import KeyEncryption
from pipeline.flow import Record
from tests.sim.cluster import Change, Changelog


class Logs(Protocol):
    """What the cluster holds in the end."""

    @property
    def changelogs(self) -> Sequence[Changelog]: ...

    @property
    def completed_ms(self) -> Mapping[tuple[str, int, int], int]: ...

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, in order within a partition."""


class Lanes(Protocol):
    """What a worker decides for, and its copies of it."""

    def partitions(self) -> list[int]: ...

    def store(self, partition: int) -> Any: ...


class Worker(Protocol):
    """One that is alive in the end."""

    @property
    def lanes(self) -> Lanes: ...


class Finished(Protocol):
    """One run to be examined: a simulated one, or a part of one on a real broker (tests/chaos)."""

    @property
    def cluster(self) -> Logs: ...

    @property
    def workers(self) -> Sequence[Worker]: ...

    #: What was seen while it ran.
    @property
    def misdeeds(self) -> Sequence[str]: ...

    #: Whether topics were read in the order of appending.
    @property
    def in_order(self) -> bool: ...

    #: Whether all subjects belong to one firm.
    @property
    def accounts(self) -> bool: ...

    #: Everybody who belongs to somebody that asked to be forgotten.
    @property
    def forgotten(self) -> Set[str]: ...

    #: The installation's keys.
    @property
    def key_encryption(self) -> KeyEncryption: ...


def compacted(changes: Sequence[Change]) -> list[Change]:
    """What compaction leaves of a changelog."""
    newest = {change.key: change.offset for change in changes}
    return [change for change in changes if newest[change.key] == change.offset]

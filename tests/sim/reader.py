"""The plain consumer with which a take-over reads a changelog, on the simulated cluster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError

from tests.sim.cluster import Change, Cluster


class SimReader:
    """The plain consumer of a take-over, over one changelog as it is when read."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._left: list[Change] = []

    def get_watermark_offsets(self, where: Any, timeout: float) -> tuple[int, int]:
        changelog = self._cluster.changelogs[where.partition]
        return (changelog.changes[0].offset if changelog.changes else changelog.end), changelog.end

    def assign(self, where: list[Any]) -> None:
        changes = self._cluster.changelogs[where[0].partition].changes
        self._left = [change for change in changes if change.offset >= where[0].offset]

    def consume(self, count: int, timeout: float) -> list[Any]:
        batch, self._left = self._left[:count], self._left[count:]
        return [_Message(c.offset, c.key, c.value) for c in batch] or [_End()]

    def close(self) -> None:
        """Nothing is open."""


class _Message:
    __slots__ = ("_key", "_offset", "_value")

    def __init__(self, offset: int, key: bytes, value: bytes | None) -> None:
        self._offset, self._key, self._value = offset, key, value

    def error(self) -> None:
        return None

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes | None:
        return self._value


class _End(_Message):
    def __init__(self) -> None:
        super().__init__(-1, b"", None)

    def error(self) -> Any:
        return SimpleNamespace(code=lambda: KafkaError._PARTITION_EOF)

"""A broker's side of the lanes, under the test's hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.ports import Outbound
from pipeline.runtime.lanes import TopicPartition


class HeldPublisher:
    """Keeps what is sent until the test acknowledges it; `at_once` acknowledges by itself."""

    def __init__(self, at_once: bool = False) -> None:
        self.at_once = at_once
        self.sent: list[Outbound] = []
        #: The next offset per topic; a test may move it, as another's record would.
        self.ends: dict[str, int] = {}
        self._waiting: list[tuple[Sequence[Outbound], Callable[[int | None], None]]] = []

    def send(self, records: Sequence[Outbound], done: Callable[[int | None], None]) -> None:
        """See the port."""
        self.sent.extend(records)
        if not records:
            done(None)
        elif self.at_once:
            done(self._take(records))
        else:
            self._waiting.append((records, done))

    def acknowledge(self) -> None:
        """The broker has the oldest group that is waiting."""
        records, done = self._waiting.pop(0)
        done(self._take(records))

    def _take(self, records: Sequence[Outbound]) -> int:
        for record in records:
            self.ends[record.topic] = self.ends.get(record.topic, 0) + 1
        return self.ends[records[-1].topic] - 1

    def topics(self) -> list[str]:
        """Where records went, in order."""
        return [record.topic for record in self.sent]


@dataclass
class FakeGroup:
    """The consumer's side: what is read, from where, and what was committed."""

    starts: dict[TopicPartition, int] = field(default_factory=dict)
    reading: dict[TopicPartition, int] = field(default_factory=dict)
    committed_offsets: dict[TopicPartition, int] = field(default_factory=dict)

    async def committed(self, inputs: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {one: self.starts.get(one, 0) for one in inputs}

    async def read_from(self, positions: Mapping[TopicPartition, int]) -> None:
        self.reading = dict(positions)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.committed_offsets.update(offsets)


class FakeReader:
    """A plain consumer over a changelog given as (key, value) pairs."""

    def __init__(self, changelog: list[tuple[bytes, bytes | None]]) -> None:
        self.changelog = changelog
        self.at = 0

    def get_watermark_offsets(self, _where: Any, timeout: float) -> tuple[int, int]:
        return 0, len(self.changelog)

    def assign(self, where: list[Any]) -> None:
        self.at = where[0].offset

    def consume(self, count: int, timeout: float) -> list[Any]:
        found = [FakeMessage(n, *self.changelog[n]) for n in range(self.at, min(self.at + count, len(self.changelog)))]
        self.at += len(found)
        return found

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class FakeMessage:
    """One changelog record."""

    _offset: int
    _key: bytes
    _value: bytes | None

    def error(self) -> None:
        return None

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes | None:
        return self._value

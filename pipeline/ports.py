"""The few things the shell offers and the tests fake. Each says whether it blocks, raises, and may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pipeline.core.model.values import Value


class Outbound(Value, frozen=True, array_like=True):
    """One encoded record to send. `partition` None: by the key (murmur2)."""

    topic: str
    key: bytes
    value: bytes | None
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Publisher(Protocol):
    """Sends records; never blocks beyond a full local buffer."""

    def send(self, records: Sequence[Outbound], done: Callable[[int | None], None]) -> None:
        """Send in order. When the broker has acknowledged all of them, call `done` once, on the caller's thread, with
        the highest offset among them (None for no records). A record that cannot be delivered is not reported to
        `done` but ends the process: nothing that comes after it may become visible."""


class StateStore(Protocol):
    """Keyed bytes of one partition of one table."""

    def get(self, key: bytes) -> bytes | None:
        """The value as of the last `apply`. Blocks for a disk read at most."""

    def apply(self, writes: Mapping[bytes, bytes | None], offset: int | None) -> None:
        """Write all or nothing, together with the changelog offset they reach. Repeatable."""


class Clock(Protocol):
    """The only source of the present; never passed to the core."""

    def now_ms(self) -> int:
        """Wall clock, epoch milliseconds."""

    def monotonic_s(self) -> float:
        """Seconds that never run backwards."""


class Metrics(Protocol):
    """Where the lane counts. Never blocks, never raises."""

    def record(self, flow: str, fate: str, reason: str) -> None:
        """One record met its fate."""

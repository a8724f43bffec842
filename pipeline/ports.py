"""The few things the shell offers and the tests fake. Each says whether it blocks, raises, and may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

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


class States(Protocol):
    """What the values of a table are made of, which whoever runs flows knows nothing else about. All of it is pure."""

    @property
    def undecodable(self) -> type[Exception]:
        """What looking at a decoded state may raise: the table holds something else. No record's fault."""

    def decode(self, data: bytes) -> Any:
        """The state of what `encode` gave. Raises ValueError saying what to do where it is something else."""

    def encode(self, state: Any) -> bytes:
        """A new state's bytes, which is likely to be encoded again with other changes."""

    def due_ms(self, state: Any) -> int | None:
        """When time alone changes the state (epoch ms)."""

    def holds_somebody(self, state: Any) -> bool:
        """Whether anything of its subject is in it; False: its key is to be destroyed."""


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

    def outcome(self, matched_by: str, reason: str) -> None:
        """One record of the topic `outcomes`: by what it was matched (none; final: a window's total), or why not."""

    def learnt(self, tenant: str, model: str, snapshot: int, observations: int) -> None:
        """A model's writer counted an update, or cut a snapshot: its newest one's number, and showings so far."""

    def earned(
        self, tenant: str, model: str, outcome: str, snapshot: int, reward: float, decided_ms: int
    ) -> None:
        """The window of one showing that the model chose was closed: what it brought, and when it was decided."""

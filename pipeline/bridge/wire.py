"""What the bridge needs of the broker: ask the workers, read their replies, hand over events. Faked by the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from pipeline.core.model.records import DecisionReply
from pipeline.ports import Outbound

#: Partition and offset of a record.
Place = tuple[int, int]


class WireFullError(RuntimeError):
    """The client's own queue has no room: the broker has not taken anything for a while."""


class ReplyListener(Protocol):
    """Who waits for replies. Everything but `wants` is called on the event loop."""

    def wants(self, request_id: str) -> bool:
        """Whether anybody waits for this request. Called from another thread; cheap."""

    def replied(self, replies: Sequence[DecisionReply]) -> None:
        """Replies to requests that somebody wanted."""

    def broker_went_away(self) -> None:
        """No broker can be reached any more; what waits now waits in vain."""


class Wire(Protocol):
    """The bridge's connection. Lives on one event loop."""

    @property
    def reply_partition(self) -> int:
        """The partition of the replies that this bridge reads."""

    @property
    def listening(self) -> bool:
        """Whether the replies are read from an offset fixed by now: a request sent before could miss its reply."""

    @property
    def away(self) -> bool:
        """Whether no broker could be reached the last time one was needed."""

    def send(self, record: Outbound, undelivered: Callable[[], None]) -> None:
        """Send one record; returns at once. `undelivered` is called on the loop, once, where the broker did not take
        it. Raises WireFullError."""

    async def publish(self, records: Sequence[Outbound]) -> list[Place | None]:
        """Send records in order and wait until the broker has acknowledged or refused each: where it has put them, None
        for what it has not taken. Repeatable, for records with an id. Ends in bounded time; never raises for a broker
        that is away."""

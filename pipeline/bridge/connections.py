"""One HTTP connection, with bounds that uvicorn's protocol lacks: on its head, on how long head and body may take, and
on how many connections there are, in all and of one address.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline.bridge import problems
from pipeline.bridge.problems import Kind

#: Bytes of a request's line and headers.
HEAD_BYTES_MAX: Final = 32_768
#: How long a request's head, and its body, may take to come.
HEAD_S: Final = 10.0
BODY_S: Final = 30.0

#: A connection too many is told so; so many at a time, and for so long, the others are closed without a word.
REFUSED_MAX: Final = 64
REFUSED_S: Final = 1.0

_LOOK_S: Final = 2.0
#: Descriptors left for the broker, files and the listening socket.
_DESCRIPTORS_KEPT: Final = 128


class Limits:
    """What the connections of one bridge share."""

    def __init__(self, connections_max: int, per_address_max: int) -> None:
        self.connections_max = connections_max
        self.per_address_max = per_address_max
        self.by_address: Counter[str] = Counter()
        self.count = 0
        #: Connections too many that are being told so.
        self.refused = 0

    def enter(self, address: str) -> bool:
        """Whether one more connection of the address may stay; it is counted then."""
        if self.count >= self.connections_max or self.by_address[address] >= self.per_address_max:
            return False
        self.count += 1
        self.by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """One connection less."""
        self.count -= 1
        self.by_address[address] -= 1
        if not self.by_address[address]:
            del self.by_address[address]


def with_descriptors(connections_max: int) -> int:
    """As many connections as there are descriptors for, once the process has all it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return connections_max if hard == resource.RLIM_INFINITY else max(1, min(connections_max, hard - _DESCRIPTORS_KEPT))


class GuardedProtocol(HttpToolsProtocol):
    """`limits` is set on a subclass by `guarded`."""

    limits: Limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._within = self.limits.enter(self._address)
        self._ended = not self._within
        self._head_bytes = 0
        #: When what is waited for has to be there, by the loop's clock; None: nothing is.
        self._until_s: float | None = self.loop.time() + HEAD_S
        self._in_head = True
        self._look: asyncio.TimerHandle | None = None
        self._refused = False
        if not self._ended:
            self._look = self.loop.call_later(_LOOK_S, self._look_at_clock)
        elif self.limits.refused < REFUSED_MAX:
            self._refuse(transport)
        else:
            transport.abort()

    def _refuse(self, transport: asyncio.Transport) -> None:
        """Answer at once, and hang up after the request: before it was read, a reset would overtake the answer."""
        self._refused = True
        self.limits.refused += 1
        self._say(problems.TOO_MANY_CONNECTIONS, b"retry-after: 1\r\n")
        self._look = self.loop.call_later(REFUSED_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._refused:
            self.limits.refused -= 1
        if self._look is not None:
            self._look.cancel()
        if self._within:
            self.limits.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self.transport.close()
        if self._ended:
            return
        if self._in_head:
            if self._until_s is None:
                self._until_s = self.loop.time() + HEAD_S
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            self._end(problems.HEADERS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._in_head = False
        head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head > HEAD_BYTES_MAX:
            self._end(problems.HEADERS_TOO_LARGE)
        if self._ended:
            return
        self._until_s = self.loop.time() + BODY_S
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head, self._head_bytes, self._until_s = True, 0, None
        if not self._ended:
            super().on_message_complete()

    def _look_at_clock(self) -> None:
        if self._ended or self.transport.is_closing():
            return
        if self._until_s is not None and self.loop.time() > self._until_s:
            self._end(problems.REQUEST_TIMEOUT)
            return
        self._look = self.loop.call_later(_LOOK_S, self._look_at_clock)

    def _end(self, kind: Kind) -> None:
        """Answer, where no answer was begun, and hang up."""
        if self._ended:
            return
        self._ended = True
        if self.cycle is None or self.cycle.response_complete:
            self._say(kind)
        self.transport.close()

    def _say(self, kind: Kind, headers: bytes = b"") -> None:
        body = msgspec.json.encode({"type": kind.type, "title": kind.title, "status": kind.status,
                                    "detail": kind.advice})
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n" % (
                kind.status, kind.title.encode(), problems.MEDIA_TYPE.encode(), len(body), headers) + body)


def guarded(limits: Limits) -> type[asyncio.Protocol]:
    """The protocol of one bridge's connections."""
    shared: dict[str, Any] = {"limits": limits}
    return type("BridgeProtocol", (GuardedProtocol,), shared)

"""One HTTP connection, with bounds that uvicorn's protocol lacks: on all bytes that are no body, on how long head and
body may take, and on how many connections there are, in all and of one address.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline.bridge import problems
from pipeline.bridge.problems import Kind

#: Bytes of a request's line and headers; of its trailers; and of the framing of its chunks beyond what each byte of the
#: body pays for: a chunk of one byte has five.
HEAD_BYTES_MAX: Final = 32_768
_PAID_BY_BODY_BYTE: Final = 9
#: How long a request's head, and its body, may take to come.
HEAD_S: Final = 10.0
BODY_S: Final = 30.0

#: A connection too many is told so; so many at a time, and for so long, the others are closed without a word.
REFUSED_MAX: Final = 64
REFUSED_S: Final = 1.0

#: A request that is answered before all of it came is read on, so that no reset overtakes the answer: so much, so long.
LINGER_BYTES_MAX: Final = 8_388_608
LINGER_S: Final = 2.0

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


class _NoTrailers(list[tuple[bytes, bytes]]):
    """What comes as trailers: nothing here reads them, and they must not become headers after these were checked."""

    def append(self, header: tuple[bytes, bytes], /) -> None:
        pass


_NO_TRAILERS: Final = _NoTrailers()


class _LingeringTransport:
    """The transport as uvicorn sees it: closing it in the middle of a request sends the answer and reads on a while."""

    def __init__(self, transport: asyncio.Transport, linger: Callable[[], bool]) -> None:
        """`linger`: begins to, where there is a reason; whether it did."""
        self._transport = transport
        self._linger = linger
        self._closing = False
        #: Called for every answer: no detour.
        self.write = transport.write
        self.abort = transport.abort

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        if self._closing or self._transport.is_closing() or not self._linger():
            self._transport.close()
        else:
            self._transport.write_eof()
            self.write = _unsent
        self._closing = True


def _unsent(data: Any) -> None:
    """Nothing is sent after the last answer."""


class GuardedProtocol(HttpToolsProtocol):
    """`limits` is set on a subclass by `guarded`."""

    limits: Limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = _LingeringTransport(transport, self._linger)  # type: ignore[assignment]
        self._lingering_bytes: int | None = None
        self._address = self.client[0] if self.client else ""
        self._within = self.limits.enter(self._address)
        self._ended = not self._within
        #: Bytes that came since head, body or the last chunk of it began and are none of the body.
        self._overhead_bytes = 0
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
        if self._lingering_bytes is not None:
            self._lingering_bytes += len(data)
            if self._lingering_bytes > LINGER_BYTES_MAX:
                self.transport.abort()
            return
        if self._ended:
            return
        if self._in_head and self._until_s is None:
            self._until_s = self.loop.time() + HEAD_S
        self._overhead_bytes += len(data)
        super().data_received(data)
        if self._overhead_bytes > HEAD_BYTES_MAX:
            self._end(problems.HEADERS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head > HEAD_BYTES_MAX:
            self._end(problems.HEADERS_TOO_LARGE)
        if self._ended:
            return
        self._in_head, self._overhead_bytes, self._until_s = False, 0, self.loop.time() + BODY_S
        super().on_headers_complete()
        self.headers = _NO_TRAILERS

    def on_body(self, body: bytes) -> None:
        self._overhead_bytes = max(0, self._overhead_bytes - _PAID_BY_BODY_BYTE * len(body))
        if not self._ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head, self._overhead_bytes, self._until_s = True, 0, None
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
        """Answer, where no answer was begun and none to an earlier request is due, and hang up."""
        if self._ended:
            return
        self._ended = True
        cycle = self.cycle
        if self._in_head:
            unanswered = cycle is None or cycle.response_complete
        else:
            unanswered = not cycle.response_started and not self.pipeline
        if unanswered:
            self._say(kind)
        self.transport.close()
        if not self._in_head:
            # The endpoint shall not wait on for the rest of the body.
            cycle.disconnected = True
            cycle.message_event.set()

    def _linger(self) -> bool:
        """Read on for a while, where a request has come in part."""
        if self._in_head and not self._overhead_bytes:
            return False
        self._ended, self._lingering_bytes = True, 0
        self.flow.resume_reading()
        if self._look is not None:
            self._look.cancel()
        self._look = self.loop.call_later(LINGER_S, self.transport.abort)
        return True

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

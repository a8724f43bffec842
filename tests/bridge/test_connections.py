"""Connections that are too many, too slow or too large: each is told why where it can be, and no other pays."""

from __future__ import annotations

import asyncio
import resource
import socket
import tracemalloc
from itertools import repeat

import httpx
import pytest

from pipeline.bridge.connections import HEAD_BYTES_MAX, LINGER_BYTES_MAX, Limits, with_descriptors
from tests.bridge.pipeline_double import BridgeDouble, served

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop that a bridge runs on: others close connections otherwise."""
    return "asyncio", {"use_uvloop": True}


async def _raw(host: str, data: bytes, timeout_s: float = 5.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(host.rpartition(":")[2]))
    try:
        writer.write(data)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), timeout_s)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_an_endless_head_is_refused_at_once(bridge: BridgeDouble) -> None:
    heads = (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (2 * HEAD_BYTES_MAX),
             b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * HEAD_BYTES_MAX + b"\r\n\r\n",
             b"GET /" + b"y" * HEAD_BYTES_MAX + b" HTTP/1.1\r\nHost: x\r\n\r\n",
             b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 9_000)
    async with served(bridge) as host:
        for head in heads:
            answer = await _raw(host, head)
            assert answer.startswith(b"HTTP/1.1 431 ") and b"/problems/headers-too-large" in answer, head[:60]
        async with httpx.AsyncClient(base_url=host) as client:
            assert (await client.get("/healthz", headers={"X": "y" * 30_000})).status_code == 200


CHUNKED = (b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
           b"Transfer-Encoding: chunked\r\n\r\n")
EVENT = b'{"type": "track", "userId": "u1", "event": "view", "properties": {"item_id": "boots"}}'


async def _endless(host: str, begin: bytes, part: bytes, bytes_max: int = 24_000_000) -> tuple[int, bytes]:
    """How much of it was taken before the connection was closed, and what was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(host.rpartition(":")[2]))
    answer = asyncio.create_task(reader.read())
    sent = 0
    try:
        writer.write(begin)
        for one in repeat(part, bytes_max // len(part)):
            writer.write(one)
            await writer.drain()
            sent += len(one)
        return sent, b"" if not answer.done() else await answer
    except (ConnectionResetError, BrokenPipeError):
        try:
            return sent, await answer
        except ConnectionResetError:
            return sent, b""
    finally:
        answer.cancel()
        writer.close()


@pytest.mark.parametrize(("begin", "part"), [
    (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: y\r\n" * 8_000),
    (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: " + b"y" * 60_000 + b"\r\n"),
    (CHUNKED + b"2\r\n{}\r\n0\r\nX-A: ", b"y" * 60_000),
    (CHUNKED + b"5;", b"x" * 60_000),
    (CHUNKED, b"0" * 60_000),
    (CHUNKED, (b"1;" + b"x" * 100 + b"\r\n \r\n") * 600),
], ids=["trailers", "large trailers", "one trailer", "a chunk extension", "a chunk's size", "many extensions"])
async def test_what_comes_endlessly_and_is_no_body_is_refused_at_once(
    bridge: BridgeDouble, begin: bytes, part: bytes
) -> None:
    async with served(bridge) as host:
        tracemalloc.start()
        sent, answer = await _endless(host, begin, part)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sent < LINGER_BYTES_MAX + 8_000_000
        assert most < 6_000_000
        assert answer.startswith(b"HTTP/1.1 431 ") and b"/problems/headers-too-large" in answer


async def test_chunks_of_a_byte_and_some_trailers_are_taken_and_trailers_are_no_headers(bridge: BridgeDouble) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in EVENT + b" " * 20_000)
    async with served(bridge) as host:
        answer = await _raw(host, CHUNKED + chunks + b"0\r\nX-Tenant-Id: other\r\nContent-Encoding: br\r\n\r\n"
                            b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 202 ") and b"HTTP/1.1 200 " in answer
    assert [event.subject for event in bridge.events()] == [bridge.subject("u1")]


async def test_a_body_that_stops_is_told_so(bridge: BridgeDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("BODY_S", 0.2), ("_LOOK_S", 0.05)):
        monkeypatch.setattr(f"pipeline.bridge.connections.{name}", seconds)
    async with served(bridge) as host:
        for begun in (b"5;x", b"2\r\n{}\r\n0\r\nX-A: y\r\n", b"40\r\n{"):
            assert (await _raw(host, CHUNKED + begun)).startswith(b"HTTP/1.1 408 ")
        # An answer that is due to an earlier request is not mistaken for this one's.
        bridge.wire.mode = "is silent"
        first = (b"POST /personalization/decide HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                 b"X-Deadline-Ms: 1000\r\nContent-Length: 74\r\n\r\n"
                 b'{"subject":{"id":"a"},"context":{"channel":"web","placement":"hero"}}     ')
        assert b" 408 " not in await _raw(host, first + CHUNKED + b"5;x")


@pytest.mark.parametrize("size", [600_000, 900_000, 3_000_000])
async def test_who_sends_too_much_reads_the_answer(bridge: BridgeDouble, size: int) -> None:
    head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with served(bridge) as host:
        port = int(host.rpartition(":")[2])
        for framing in (b"Content-Length: %d\r\n\r\n" % size, b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size):
            answers = [await asyncio.to_thread(_blocking, port, head + framing, b" " * size) for _ in range(5)]
            assert [answer[:13] for answer in answers] == [b"HTTP/1.1 413 "] * 5
            assert all(b"/problems/body-too-large" in answer for answer in answers)


def _blocking(port: int, head: bytes, body: bytes) -> bytes:
    """As simple clients do: all is sent before anything is read."""
    with socket.create_connection(("127.0.0.1", port), 10.0) as connection:
        connection.sendall(head)
        connection.sendall(body)
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
        return b"".join(parts)


async def test_what_is_read_on_for_an_answers_sake_is_bounded(
    bridge: BridgeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(10, 10)
    head = (b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 999999999\r\n\r\n")
    async with served(bridge, limits) as host:
        sent, _ = await _endless(host, head, b" " * 60_000)
        assert sent < LINGER_BYTES_MAX + 8_000_000
        monkeypatch.setattr("pipeline.bridge.connections.LINGER_S", 0.2)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(host.rpartition(":")[2]))
        writer.write(head)
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
        assert limits.count == 1
        # It is closed although the client goes on holding it.
        async with asyncio.timeout(5):
            while limits.count:
                await asyncio.sleep(0.01)
        writer.close()


async def test_connections_that_say_nothing_are_closed(bridge: BridgeDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("HEAD_S", 0.2), ("BODY_S", 0.2), ("_LOOK_S", 0.05)):
        monkeypatch.setattr(f"pipeline.bridge.connections.{name}", seconds)
    async with served(bridge) as host:
        assert b" 408 " in await _raw(host, b"")
        assert b" 408 " in await _raw(host, b"GET /healthz HTTP/1.1\r\nHost:")
        slow = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        assert b" 202 " not in await _raw(host, slow)
        async with httpx.AsyncClient(base_url=host) as client:
            for _ in range(3):
                assert (await client.get("/healthz")).status_code == 200
                await asyncio.sleep(0.15)


async def test_connections_are_bounded_in_all_and_by_address(bridge: BridgeDouble) -> None:
    limits = Limits(connections_max=5, per_address_max=3)
    async with served(bridge, limits) as host:
        port = int(host.rpartition(":")[2])
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for request in (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /v1/events HTTP/1.1\r\n" + b"x" * 9_000):
            told = await _raw(host, request)
            assert told.startswith(b"HTTP/1.1 503 ") and b"/problems/too-many-connections" in told
            assert b"retry-after: 1\r\n" in told and b"connection: close\r\n" in told
        assert (limits.refused, limits.count, limits.by_address["127.0.0.1"]) == (0, 3, 3)
        for _, writer in held:
            writer.close()
        while limits.count:
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(base_url=host) as client:
            assert (await client.get("/healthz")).status_code == 200
    assert limits.count == 0 and not limits.by_address


def test_connections_of_many_addresses_are_bounded_too() -> None:
    limits = Limits(connections_max=3, per_address_max=2)
    assert [limits.enter(one) for one in ("a", "a", "a", "b", "b", "c")] == [True, True, False, True, False, False]
    limits.leave("a")
    assert limits.enter("c") and limits.by_address == {"a": 1, "b": 1, "c": 1}


async def test_a_request_on_a_connection_too_many_is_not_worked_on_and_ends_it(
    bridge: BridgeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.bridge.connections.REFUSED_S", 60.0)
    body = b'{"type": "track", "userId": "u1", "event": "view", "properties": {"item_id": "boots"}}'
    request = (b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
               b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    async with served(bridge, Limits(connections_max=0, per_address_max=1)) as host:
        # It ends with the request, long before it would be hung up on.
        assert (await _raw(host, request)).startswith(b"HTTP/1.1 503 ")
        await asyncio.sleep(0.05)
        assert bridge.events() == []
    async with served(bridge) as host:
        assert (await _raw(host, request)).startswith(b"HTTP/1.1 202 ")
        assert len(bridge.events()) == 1


@pytest.mark.parametrize(("hard", "wanted", "found"), [
    (1_000, 500, 500), (1_000, 5_000, 872), (100, 500, 1), (resource.RLIM_INFINITY, 5_000, 5_000),
])
def test_no_more_connections_than_there_are_descriptors_for(
    hard: int, wanted: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (64, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, both: raised.append(both))
    assert with_descriptors(wanted) == found
    assert raised == [(hard, hard)]


async def test_connections_too_many_are_told_so_but_not_without_bound(
    bridge: BridgeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.bridge.connections.REFUSED_MAX", 2)
    monkeypatch.setattr("pipeline.bridge.connections.REFUSED_S", 0.3)
    limits = Limits(connections_max=1, per_address_max=1)
    async with served(bridge, limits) as host:
        port = int(host.rpartition(":")[2])
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        told = [await reader.read() for reader, _ in held[1:]]
        assert [b" 503 " in one for one in told] == [True, True, False, False]
        while limits.refused:
            await asyncio.sleep(0.01)
        for _, writer in held:
            writer.close()

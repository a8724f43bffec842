"""Connections that are too many, too slow or too large: each is told why where it can be, and no other pays."""

from __future__ import annotations

import asyncio
import resource

import httpx
import pytest

from pipeline.bridge.connections import HEAD_BYTES_MAX, Limits, with_descriptors
from tests.bridge.pipeline_double import BridgeDouble, served

pytestmark = pytest.mark.anyio


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

"""Headers that say one thing: given twice, or wrong, they are refused by every endpoint in the same way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.bridge import operations
from pipeline.bridge.openapi import Operation
from tests.bridge.pipeline_double import BridgeDouble, decide_body

pytestmark = pytest.mark.anyio

BRIDGE = Path(operations.__file__).parent
#: Read by what lies below: HTTP itself, which refuses two lengths.
OF_HTTP = {"content-length"}

EVENT = {"type": "track", "userId": "ann", "event": "view", "properties": {"item_id": "boots"}}
BODIES = {"DecideBody": decide_body(), "SegmentEvent": EVENT, "Batch": {"batch": [EVENT]},
          "PrivacyBody": {"subject": {"id": "ann"}, "by": "ann"}}


def table(bridge: BridgeDouble) -> list[Operation]:
    return operations.table(bridge.endpoints)


def request(one: Operation) -> dict[str, Any]:
    path = one.path.replace("{job_id}", "j").replace("{slug}", "not-found")
    body = {"json": BODIES[one.bodies[0].__name__]} if one.bodies else {}
    return {"method": one.method, "url": path, **body}


async def test_a_header_or_parameter_of_two_values_is_refused_and_named(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    tried = 0
    for one in table(bridge):
        given = client.build_request(**request(one)).headers.raw
        for name in one.once.values():
            both = [(name.encode(), b"1"), (name.lower().encode(), b"2")]
            reply = await client.request(**request(one) | {"headers": [*given, *both]})
            assert reply.status_code == 422, (one.path, name)
            [error] = reply.json()["errors"]
            assert error["pointer"] == f"header:{name}" and "more than once" in error["message"]
            tried += 1
        for name in one.query_names:
            reply = await client.request(one.method, f"{one.path}?{name}=a&{name}=b")
            assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, f"query:{name}")
    assert tried > 50
    assert bridge.wire.sent == [] and bridge.wire.published == []


async def test_the_same_said_twice_is_taken(client: httpx.AsyncClient) -> None:
    twice = [("Idempotency-Key", "r1"), ("Idempotency-Key", "r1"), ("X-Forwarded-For", "a"), ("X-Forwarded-For", "b")]
    reply = await client.post("/personalization/decide", json=decide_body(), headers=twice)
    assert (reply.status_code, reply.json()["request_id"]) == (200, "r1")


def test_every_header_that_is_read_is_one_of_those(bridge: BridgeDouble) -> None:
    read = {name for path in BRIDGE.glob("*.py")
            for name in re.findall(r"headers\.get\(\s*\"([\w-]+)\"", path.read_text("utf-8"))}
    assert {"idempotency-key", "x-deadline-ms", "x-tenant-id", "authorization", "content-encoding"} <= read
    known = {name.decode() for one in table(bridge) for name in one.once}
    assert read - OF_HTTP <= known


@pytest.mark.parametrize("tenant", ["../x", "a/b", "", " ", "x" * 64, "-a"])
async def test_a_header_that_is_no_tenant_is_refused_everywhere_alike(tmp_path: Path, tenant: str) -> None:
    for keys in ("", "k=decide events:write privacy"):
        bridge = BridgeDouble(tmp_path / (keys or "open"), api_keys=keys)
        async with bridge.client() as client:
            for one in table(bridge):
                if not one.bodies:
                    continue
                headers = {"X-Tenant-Id": tenant} | ({"X-Api-Key": "k"} if keys else {})
                reply = await client.request(**request(one), headers=headers)
                assert reply.status_code == 422, (one.path, reply.text)
                [error] = reply.json()["errors"]
                assert error["pointer"] == "header:X-Tenant-Id" and "1 to 63 letters" in error["message"]


async def test_the_header_names_the_tenant_at_every_endpoint_and_agrees_with_the_body(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    for path, body in (("/personalization/decide", decide_body()), ("/privacy/erase", {"subject": {"id": "ann"}})):
        elsewhere = await client.post(path, json=body, headers={"X-Tenant-Id": "elsewhere"})
        assert elsewhere.status_code == (404 if "decide" in path else 202)
        body = body | {"subject": body["subject"] | {"tenant_id": "shop"}}
        reply = await client.post(path, json=body, headers={"X-Tenant-Id": "elsewhere"})
        assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "/subject/tenant_id")
        assert (await client.post(path, json=body, headers={"X-Tenant-Id": "shop"})).status_code in (200, 202)
    assert [event.subject.split("/")[0] for event in bridge.events()] == ["elsewhere", "shop"]

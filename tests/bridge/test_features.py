"""`GET /features/{subject}` over the whole pipeline: what was counted is told, what may not be shown is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from tests.bridge.pipeline_double import BridgeDouble
from tests.support import shop
from topics.catalog import FEEDBACK_EVENTS, IDENTITY_EVENTS

pytestmark = pytest.mark.anyio

POLICY = shop.POLICY + """
features:
  views: {count: {event: view}, window: 7d}
  item_views: {count: {event: view}, per: item}
  last_item: {last: event.item, of: {event: view}}
  money: {sum: event.value, of: {event: conversion}, sensitivity: risk}
  first_order: {first: event.at, of: {event: conversion}}
  since_view: {recency: {event: view}}
"""


@pytest.fixture
def bridge(tmp_path: Path) -> BridgeDouble:
    return BridgeDouble(tmp_path / "policy", shop.publication(tmp_path / "counted", POLICY))


def views(bridge: BridgeDouble, subject: str, *items: str) -> None:
    """Somebody looked at items, one a second."""
    for number, item in enumerate(items):
        at_ms = bridge.clock.at_ms + 1_000 * number
        event = FeedbackEvent(f"{subject}-{number}", subject, FeedbackKind.VIEW, at_ms, "view", item, "d")
        bridge.pipeline.send(FEEDBACK_EVENTS, subject, event)
        bridge.pipeline.run()


async def told(client: httpx.AsyncClient, address: str = "/features/ann", **headers: str) -> dict[str, Any]:
    answer = await client.get(address, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return found


async def test_what_was_counted_is_told(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.consents("ann")
    views(bridge, bridge.subject("ann"), "tent", "boots", "tent")
    found = await told(client)
    features = found["features"]
    assert found["reason"] == "read" and found["release"]
    assert features["views"] == {"kind": "count", "type": "int", "per": "subject", "value": 3}
    assert features["item_views"]["values"] == {"boots": 1, "tent": 2}
    assert features["last_item"]["value"] == "tent"
    assert features["first_order"]["unknown"] == "no_value" and "value" not in features["first_order"]
    assert features["since_view"]["value"].endswith("s")


async def test_a_sensitive_value_is_not_shown(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.consents("ann")
    assert (await told(client))["features"]["money"] == {
        "kind": "sum", "type": "double", "per": "subject", "hidden": "risk"}


async def test_without_consent_nothing_is_told_and_nobody_is_told_apart(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.consents("ann")
    views(bridge, bridge.subject("ann"), "tent")
    bridge.pipeline.send(IDENTITY_EVENTS, bridge.subject("ann"),
                         shop.consent(bridge.subject("ann"), bridge.clock.at_ms + 1, False))
    bridge.pipeline.run()
    refused, unknown = await told(client), await told(client, "/features/nobody")
    assert refused == unknown and refused["features"] == {} and refused["reason"] == "no_consent"


async def test_somebody_erased_is_as_somebody_unknown(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.consents("ann")
    views(bridge, bridge.subject("ann"), "tent")
    await client.post("/privacy/erase", json={"subject": {"id": "ann"}})
    assert await told(client) == await told(client, "/features/nobody")


async def test_an_alias_has_the_features_of_its_profile(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.consents("ann")
    phone = bridge.subject("tablet", "device")
    views(bridge, bridge.subject("ann"), "tent", "boots")
    bridge.pipeline.send(IDENTITY_EVENTS, phone, shop.alias(phone, bridge.subject("ann"), 2))
    bridge.pipeline.run()
    found = await told(client, "/features/tablet?type=device&channel=web")
    assert found["features"]["views"]["value"] == 2


async def test_asking_changes_nothing(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.consents("ann")
    views(bridge, bridge.subject("ann"), "tent")
    before = bridge.pipeline.state(bridge.subject("ann"))
    assert await told(client) == await told(client)
    assert bridge.pipeline.state(bridge.subject("ann")) == before
    assert "decisions" not in bridge.pipeline.logs and "decision.audit" not in bridge.pipeline.logs


async def test_what_is_asked_wrongly_is_a_problem(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    for address, status, kind in (
        ("/features/ann?channel=fax", 422, "unknown-channel"), ("/features/ann?type=shoe", 422, "invalid-request"),
    ):
        answer = await client.get(address)
        assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
    nobody = await client.get("/features/ann", headers={"X-Tenant-Id": "other"})
    assert (nobody.status_code, nobody.json()["type"]) == (404, "/problems/no-policy")


async def test_where_no_worker_answers_nothing_is_made_up(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.wire.mode = "refuses"
    answer = await client.get("/features/ann")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_the_scope_is_asked_for(tmp_path: Path) -> None:
    keys = "a=decide events:write privacy,b=features:read,c=features:read tenant:other"
    bridge = BridgeDouble(tmp_path, shop.publication(tmp_path / "counted", POLICY), api_keys=keys)
    async with bridge.client() as client:
        assert (await client.get("/features/ann")).status_code == 401
        assert (await client.get("/features/ann", headers={"X-Api-Key": "a"})).status_code == 403
        await told(client, **{"X-Api-Key": "b"})
        headers = {"X-Api-Key": "c", "X-Tenant-Id": "shop"}
        assert (await client.get("/features/ann", headers=headers)).status_code == 403

"""Whoever says no beside the event's own consent: its batch, another system's object, the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from pipeline.bridge.operations import EVENTS_PATH
from pipeline.core.model.records import IdentityEvent
from pipeline.ingest.event_bodies import SegmentEvent
from tests.bridge.pipeline_double import BridgeDouble
from tests.ingest.test_event_mapping import NEEDED
from tests.support import shop

pytestmark = pytest.mark.anyio

NO: dict[str, Any] = {"categoryPreferences": {"personalization": False}}
TYPES: tuple[str, ...] = get_args(SegmentEvent.model_fields["type"].annotation)


def event(type_: str, **more: Any) -> dict[str, Any]:
    """A right event of the type that refuses personalization."""
    named = {"track": {"event": "Song Played"}, "page": {"name": "Home"}}.get(type_, {})
    return {"type": type_, "messageId": "m1", "userId": "ann", "context": {"consent": NO}, **named, **NEEDED[type_],
            "anonymousId": "v9", **more}


def refused(bridge: BridgeDouble) -> set[str]:
    """The keys of those who refuse personalization by what was published since this was asked last."""
    events = bridge.events()
    bridge.wire.published.clear()
    return {one.subject for one in events if isinstance(one, IdentityEvent) for grant in one.consent
            if (grant.purpose, grant.channel, grant.granted) == ("personalization", None, False)}


def gpc_bridge(folder: Path) -> BridgeDouble:
    """A bridge whose policy says what a browser's global privacy control refuses."""
    return BridgeDouble(folder, shop.publication(
        folder / "gpc", shop.POLICY.replace("  tracking:", "  gpc: personalization\n  tracking:")))


@pytest.mark.parametrize("own", [
    {}, {"categoryPreferences": {}}, {"categoryPreferences": {"marketing": True}},
    {"categoryPreferences": {"personalization": True}}, {"tcString": "x"}, None])
@pytest.mark.parametrize("type_", TYPES)
async def test_what_a_batch_refuses_no_event_of_it_takes_back(
    bridge: BridgeDouble, client: httpx.AsyncClient, own: Any, type_: str
) -> None:
    for of_batch, of_event in ((NO, own), (own or {}, NO)):
        body = {"batch": [event(type_, context={"consent": of_event})], "context": {"consent": of_batch}}
        assert (await client.post(EVENTS_PATH, json=body)).status_code == 202
        assert refused(bridge) == {bridge.subject("ann")}


@pytest.mark.parametrize("context", [
    {"consentManagement": {"allowedConsentIds": [], "deniedConsentIds": ["personalization"], "provider": "custom",
                           "resolutionStrategy": "and"}},
    {"consentManagement": {"allowedConsentIds": ["personalization"], "deniedConsentIds": ["personalization"]}},
    {"consentManagement": {"allowedConsentIds": ["personalization"]}, "consent": NO},
    {"consentManagement": {"deniedConsentIds": ["personalization"]}, "consent": {"categoryPreferences": {}}},
    {"consent": {"deniedConsentIds": ["personalization"]}},
    {"consent": {"categorypreferences": {"personalization": False}}},
    {"consent": {"category_preferences": {"personalization": False}, "categoryPreferences": {"personalization": True}}},
])
async def test_a_no_is_read_as_other_systems_write_it(
    bridge: BridgeDouble, client: httpx.AsyncClient, context: dict[str, Any]
) -> None:
    for type_ in TYPES:
        reply = await client.post(EVENTS_PATH, json=event(type_, context=context))
        assert reply.status_code == 202 and refused(bridge) == {bridge.subject("ann")}, (type_, reply.text)


async def test_consent_management_permits_what_it_allows(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    context = {"consentManagement": {"allowedConsentIds": ["personalization"], "deniedConsentIds": []}}
    await client.post(EVENTS_PATH, json=event("page", context=context))
    assert [one.granted for one in bridge.events()[0].consent] == [True]


@pytest.mark.parametrize("part", ["consent", "consentManagement"])
async def test_consent_of_which_nothing_is_read_is_warned_of(client: httpx.AsyncClient, part: str) -> None:
    for type_ in TYPES:
        reply = await client.post(EVENTS_PATH, json=event(type_, context={part: {"analytics": False}}))
        [warning] = reply.json()["events"][0]["warnings"]
        assert "deniedConsentIds" in warning and f"context.{part} says nothing" in warning


@pytest.mark.parametrize("type_", TYPES)
async def test_a_browser_s_global_refusal_counts_with_an_event_of_any_type(tmp_path: Path, type_: str) -> None:
    bridge = gpc_bridge(tmp_path)
    async with bridge.client() as client:
        await client.post(EVENTS_PATH, json=event(type_, context={}), headers={"Sec-GPC": "1"})
    assert refused(bridge) == {bridge.subject("ann")}

"""The privacy endpoints over the whole pipeline: what is asked for is done, told, and can be looked for in vain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.adapters.privacy_search import Kind
from tests.bridge.pipeline_double import BridgeDouble, decide_body
from tests.support import shop
from topics.catalog import DAY_MS, IDENTITY_EVENTS, PURGE_MS

ANN: dict[str, Any] = {"subject": {"id": "ann"}, "by": "ticket 17"}


async def known(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    """Ann agreed, her phone is hers, and she asked."""
    bridge.consents("ann")
    phone = bridge.subject("tablet", "device")
    bridge.pipeline.send(IDENTITY_EVENTS, phone, shop.consent(phone, 1))
    bridge.pipeline.send(IDENTITY_EVENTS, phone, shop.alias(phone, bridge.subject("ann"), 2))
    bridge.pipeline.run()
    assert (await client.post("/personalization/decide", json=decide_body())).json()["reason"] == "decided"


async def done(client: httpx.AsyncClient, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    asked = await client.post(path, json=body, headers=headers)
    assert asked.status_code == 202, asked.text
    told = await client.get(asked.headers["location"], headers=headers)
    assert told.status_code == 200
    found: dict[str, Any] = told.json()
    assert found["job_id"] == asked.json()["job_id"] and found["status"] == "done"
    return found


@pytest.mark.anyio
async def test_an_erasure_has_a_receipt_for_every_identifier(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    await known(bridge, client)
    job = await done(client, "/privacy/erase", ANN)
    assert {one["identifier"] for one in job["receipts"]} == {bridge.subject("ann"), bridge.subject("tablet", "device")}
    assert "decision.audit" in job["receipts"][0]["unreadable"] and job["done_ms"]
    again = (await client.post("/personalization/decide", json=decide_body())).json()
    assert again["fallback"] and again["reason"] == "no_consent"


@pytest.mark.anyio
async def test_an_export_is_everything_opened(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    await known(bridge, client)
    document = (await done(client, "/privacy/export", {"subject": {"id": "tablet", "type": "device"}}))["document"]
    ann = bridge.subject("ann")
    assert set(document["identifiers"]) == {ann, bridge.subject("tablet", "device")}
    assert document["profiles"][ann]["consent"]["personalization"]["granted"] is True
    [audit] = document["records"]["decision.audit"]
    assert audit["value"]["profile_id"] == ann and audit["value"]["candidates"]
    assert {"identity.events", "decision.requests", "decisions", "profile.inbox"} <= set(document["records"])
    bob = bridge.subject("bob")
    bridge.consents("bob")
    assert bob not in json.dumps((await done(client, "/privacy/export", ANN))["document"])


@pytest.mark.anyio
async def test_an_export_has_every_remembered_reply_wherever_it_is_kept(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    await known(bridge, client)
    for _ in range(20):
        await client.post("/personalization/decide", json=decide_body())
    document = (await done(client, "/privacy/export", ANN))["document"]
    remembered = document["profiles"][bridge.subject("ann")]["requests"].values()
    inline = [one["reply"] for one in remembered if one.get("reply")]
    assert inline and document["replies"]
    told = sorted(one["decision_id"] for one in (*inline, *document["replies"]))
    assert told == sorted(one["value"]["decision_id"] for one in document["records"]["decision.audit"])


@pytest.mark.anyio
async def test_the_same_key_is_the_same_job(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    await known(bridge, client)
    first, second = [await done(client, "/privacy/erase", ANN, **{"Idempotency-Key": "k"}) for _ in range(2)]
    other = await done(client, "/privacy/erase", ANN)
    assert first["job_id"] == second["job_id"] != other["job_id"]
    assert first["receipts"] == second["receipts"] and not other["receipts"][0]["known"]


@pytest.mark.anyio
async def test_what_cannot_be_done_is_said(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    nobody = await client.get("/privacy/jobs/none")
    assert (nobody.status_code, nobody.json()["type"]) == (404, "/problems/unknown-job")
    blocked = await client.post("/privacy/erase", json={"subject": {"id": "null"}})
    assert (blocked.status_code, blocked.json()["errors"][0]["pointer"]) == (422, "/subject/id")
    misspelt = await client.post("/privacy/erase", json={"subjct": {"id": "ann"}})
    assert misspelt.status_code == 422 and "subject" in misspelt.json()["detail"]
    bridge.wire.refused_topics = {"erasure.requests"}
    assert (await client.post("/privacy/erase", json=ANN)).status_code == 503


@pytest.mark.anyio
async def test_the_scope_is_asked_for(tmp_path: Path) -> None:
    bridge = BridgeDouble(tmp_path, api_keys="a=decide events:write,b=privacy")
    async with bridge.client() as client:
        for path in ("/privacy/erase", "/privacy/export"):
            assert (await client.post(path, json=ANN, headers={"X-Api-Key": "a"})).status_code == 403
            assert (await client.post(path, json=ANN)).status_code == 401
        assert (await client.get("/privacy/jobs/x", headers={"X-Api-Key": "a"})).status_code == 403
        await done(client, "/privacy/erase", ANN, **{"X-Api-Key": "b"})


@pytest.mark.anyio
async def test_a_key_of_one_tenant_neither_erases_nor_sees_anybody_of_another(tmp_path: Path) -> None:
    bridge = BridgeDouble(tmp_path, api_keys="a=privacy tenant:shop,b=privacy tenant:other")
    async with bridge.client() as client:
        body = {"subject": {"id": "ann", "tenant_id": "shop"}}
        assert (await client.post("/privacy/erase", json=body, headers={"X-Api-Key": "b"})).status_code == 403
        asked = await client.post("/privacy/export", json=body, headers={"X-Api-Key": "a"})
        location = asked.headers["location"]
        assert (await client.get(location, headers={"X-Api-Key": "b"})).status_code == 404
        assert (await client.get(location, headers={"X-Api-Key": "a"})).status_code == 200


@pytest.mark.anyio
async def test_before_an_erasure_the_verifier_finds_her_and_afterwards_only_what_expires(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    await known(bridge, client)
    ann = bridge.subject("ann")
    _, before = bridge.archive.verifier([ann])
    assert {place.topic for place in before.done() if place.kind is Kind.TRACE} == {"nextbest-profiles_by_id-changelog"}
    bridge.pipeline.advance(2 * DAY_MS)
    erased_ms = bridge.clock.at_ms
    await done(client, "/privacy/erase", ANN)
    bridge.pipeline.advance(2_000)
    names, verifier = bridge.archive.verifier([ann])
    assert names == {ann, bridge.subject("tablet", "device")}
    places = verifier.done()
    assert [place for place in places if place.kind is Kind.TRACE] == []
    # Inputs until their retention, what the destroyed keys open until they are compacted; then nothing but the proof.
    now_ms = bridge.clock.at_ms
    expiring = {place.topic: place.until_ms for place in places if place.kind is Kind.EXPIRES}
    assert all(until is not None and until <= now_ms + 7 * DAY_MS for until in expiring.values())
    # The broker has a day from the erasure, however old what it replaces.
    assert all(place.until_ms is not None and erased_ms < place.until_ms <= now_ms + PURGE_MS
               for place in places if place.topic.endswith("changelog") and place.kind is Kind.EXPIRES)
    assert expiring["decision.audit"] is not None and expiring["decision.audit"] <= now_ms + PURGE_MS
    compact(bridge)
    for topic in ("identity.events", "decision.requests", "profile.inbox", "decision.replies"):
        bridge.pipeline.logs.pop(topic)
    _, verifier = bridge.archive.verifier([ann])
    assert {(place.kind, place.topic) for place in verifier.done()} == {
        (Kind.KEPT, "nextbest-profiles_by_id-changelog"), (Kind.KEPT, "erasure.requests"),
        (Kind.KEPT, "erasure.receipts"),
    }


@pytest.mark.anyio
async def test_the_verifier_sees_a_key_that_came_back_and_a_copy_of_the_table(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    await known(bridge, client)
    ann = bridge.subject("ann").encode()
    copies = [dict(log) for log in bridge.pipeline.changelog]
    [value] = [copy[ann] for copy in copies if ann in copy]
    await done(client, "/privacy/erase", ANN)
    compact(bridge)
    _, verifier = bridge.archive.verifier([ann.decode()])
    verifier.table_value("a/copy", ann, value)
    assert [place.topic for place in verifier.done() if place.kind is Kind.TRACE] == ["a/copy"]
    # Somebody writes the old value, and with it the key, to the changelog again.
    next(log for log in bridge.pipeline.changelog if ann in dict(log)).append((ann, value))
    _, verifier = bridge.archive.verifier([ann.decode()])
    assert Kind.TRACE in {place.kind for place in verifier.done()}


def compact(bridge: BridgeDouble) -> None:
    """What the broker does in time: of each key the newest record."""
    for log in bridge.pipeline.changelog:
        newest = {key: number for number, (key, _) in enumerate(log)}
        log[:] = [record for number, record in enumerate(log) if newest[record[0]] == number]

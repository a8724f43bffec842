"""A clear no is never lost: what refuses is applied, whatever is wrong beside it, in any field of any event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from pipeline.bridge.operations import EVENTS_PATH, SEGMENT_PATHS
from pipeline.core.model.records import Basis
from pipeline.ingest.consent_bodies import Statement
from pipeline.ingest.event_bodies import BatchHead, EventContext, GroupMembership, SegmentEvent
from tests.bridge.pipeline_double import BridgeDouble, decide_body
from tests.bridge.test_consent_sources import NO, TYPES, event, gpc_bridge, refused

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}

#: What may stand in a field where it is wrong. Some is right in some fields: then the event is accepted with its no.
WRONG: tuple[Any, ...] = (
    None, "", "x", "x" * 2_000, "ann@example.com", "1969-12-31", "\ud83d", True, False, 5, -1.5, 10**20, [], [1],
    {}, {"a": {"b": 1}}, {"consent": "x"})


def names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def beside(type_: str, wrong: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The event with something wrong beside the no, in every field that there is, by where it stands."""
    for name in names(SegmentEvent):
        yield name, {name: {"consent": NO, "groupId": wrong} if name == "context" else wrong}
    for where, of in (("membership", names(GroupMembership)), ("traits", ("company", "contract", "email", "plan")),
                      ("properties", ("products", "value", "item_id", "path"))):
        for name in of:
            yield f"{where}.{name}", {where: {name: wrong}}
    for context in (
        *({name: wrong, "consent": NO} for name in names(EventContext)),
        *({"consent": {**NO, name: wrong}} for name in ("tcString", "allowedConsentIds", "unknown", "TcString")),
        *({"consent": {"categoryPreferences": {"personalization": False, name: wrong}}}
          for name in ("marketing", "zz#", "/web", "personalization//web")),
        *({"consent": {"categoryPreferences": {"personalization": {name: wrong, "granted": False}}}}
          for name in (*names(Statement), "unknown")),
    ):
        yield f"context: {context}", {"context": context}


@pytest.mark.parametrize("type_", TYPES)
async def test_a_no_beside_anything_in_any_field_is_applied(
    bridge: BridgeDouble, client: httpx.AsyncClient, type_: str
) -> None:
    lost = []
    for wrong in WRONG:
        sent = [(where, {**event(type_), "userId": f"ann-{number}", "anonymousId": f"v-{number}", **more})
                for number, (where, more) in enumerate(beside(type_, wrong))]
        reply = await client.post(EVENTS_PATH, content=json.dumps({"batch": [one for _, one in sent]}), headers=JSON)
        told = reply.json()["events"]
        known = refused(bridge)
        for number, (where, _) in enumerate(sent):
            somebody = {bridge.subject(f"ann-{number}"), bridge.subject(f"v-{number}", "anonymous_id")}
            accepted = told[number]["status"] == "accepted"
            if not known & somebody and not (where == "userId" and accepted):
                lost.append((where, wrong, told[number]))
            if not accepted and told[number]["applied"] != ["personalization"]:
                lost.append((where, wrong, "is not told"))
    assert lost == []


@pytest.mark.parametrize("path", [EVENTS_PATH, *SEGMENT_PATHS])
async def test_at_every_address_and_in_every_batch(bridge: BridgeDouble, client: httpx.AsyncClient, path: str) -> None:
    type_ = SEGMENT_PATHS.get(path) or "track"
    right, wrong = event(type_), event(type_, timestamp="soon", messageId=[1])
    large = event(type_, properties={"note": "x" * 33_000})
    half = event(type_, traits={"note": "\ud83d"}, properties={"note": "\ud83d"})
    bodies: list[Any] = [{"batch": [one]} for one in (wrong, large, half)]
    bodies += [{"batch": [wrong, {"type": "track", "userId": "bob", "event": "click"}]}, {"batch": [right] * 501}]
    bad: tuple[Any, ...] = ("x", 5, [1], {"groupId": {}}, {"consent": "x"})
    bodies += [{"batch": [right], name: one} for name in names(BatchHead) if name != "writeKey" for one in bad]
    bodies += [{"batch": [{**right, "context": {}}], "context": {"consent": NO}, "sentAt": "yesterday"}]
    if SEGMENT_PATHS.get(path, "") is not None:
        bodies += [wrong, large, half]
    for body in bodies:
        reply = await client.post(path, content=json.dumps(body), headers=JSON)
        assert reply.status_code in (200, 202, 400, 413, 422), reply.text
        assert bridge.subject("ann") in refused(bridge), str(body)[:200]


async def test_the_next_decision_obeys_what_a_refused_event_refuses(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.consents("ann")
    reply = await client.post(EVENTS_PATH, json=event("identify", traits="none"))
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "/traits")
    [told] = reply.json()["events"]
    assert (told["status"], told["applied"]) == ("rejected", ["personalization"])
    assert "was applied" in told["warnings"][-1]
    assert (await client.post("/personalization/decide", json=decide_body())).json()["reason"] == "no_consent"
    # Corrected, it is another event under the same id.
    right = await client.post(EVENTS_PATH, json=event("identify", traits={"plan": "plus"}))
    assert right.json()["accepted"] == 1


async def test_a_refused_event_permits_nothing_and_says_nothing_else(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    yes = {"categoryPreferences": {"personalization": True}}
    for type_ in TYPES:
        wrong = event(type_, context={"consent": yes}, messageId={}, traits={"plan": "plus"})
        await client.post(EVENTS_PATH, json=wrong)
    assert bridge.wire.published == []
    both = {"categoryPreferences": {"personalization": False, "marketing": True}}
    wrong = event("identify", context={"consent": both}, messageId={}, traits={"plan": "plus"})
    await client.post(EVENTS_PATH, json=wrong)
    [no] = bridge.events()
    assert [(one.purpose, one.granted) for one in no.consent] == [("personalization", False)] and no.traits == {}


async def test_what_cannot_be_applied_at_once_is_to_be_sent_again(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.wire.refused_topics.add("identity.events")
    reply = await client.post(EVENTS_PATH, json=event("track", timestamp="soon"))
    assert (reply.status_code, reply.json()["events"][0]["status"]) == (503, "not_taken")


@pytest.mark.parametrize("count", [51, 60, 129, 1_000])
async def test_many_noes_at_once_lose_none_of_a_purpose_there_is(
    bridge: BridgeDouble, client: httpx.AsyncClient, count: int
) -> None:
    noes = {f"c{number}": False for number in range(count)} | {"personalization": False}
    reply = await client.post(EVENTS_PATH, json=event("track", context={"consent": {"categoryPreferences": noes}}))
    assert reply.status_code == 422 and refused(bridge) == {bridge.subject("ann")}


async def test_a_statement_keeps_what_is_right_in_it(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    said = {"granted": False, "basis": "legitimate_interest", "proof": "ann@example.com", "expiresAt": 5}
    reply = await client.post(EVENTS_PATH, json=event("identify", context={
        "consent": {"categoryPreferences": {"personalization": said}}}))
    assert reply.status_code == 202 and "its no is applied" in reply.json()["events"][0]["warnings"][0]
    [grant] = bridge.events()[0].consent
    assert (grant.basis, grant.proof, grant.expires_at_ms) == (Basis.LEGITIMATE_INTEREST, "", None)


async def test_what_an_account_refuses_is_applied_too(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    context = {"accountConsent": NO, "consent": NO}
    reply = await client.post(EVENTS_PATH, json=event("group", context=context, traits="x"))
    assert reply.status_code == 422 and len(refused(bridge)) == 2


# -- nothing is said twice ----------------------------------------------------------------------------------------

ONCE = json.dumps(event("track"))[1:-1]
TWICE = [f'{{{ONCE}, "{name}": {value}}}' for name, value in (
    ("context", '{"page": {}}'), ("userId", '"bob"'), ("type", '"page"'), ("messageId", '"m2"'), ("event", '"b"'),
    ("traits", '{"a": 1, "a": 2}'), ("\\u0063ontext", "{}"))]


@pytest.mark.parametrize("path", [EVENTS_PATH, *SEGMENT_PATHS])
async def test_what_is_named_twice_is_refused_at_every_address(
    bridge: BridgeDouble, client: httpx.AsyncClient, path: str
) -> None:
    one, half = f"{{{ONCE}}}", '{"type": "track", "userId": "bob", "event": "\\ud83d"}'
    bodies = [f'{{"batch": [{body}]{more}}}' for body in TWICE for more in ("", ', "sentAt": null')]
    bodies += [f'{{"batch": [{body}, {half}]}}' for body in TWICE]
    bodies += [
        f'{{"batch": [{one}], "batch": [{half}]}}', f'{{"batch": [{one}], "batch": []}}',
        f'{{"batch": [{one}], "context": {{}}, "context": {{}}}}',
        f'{{"batch": [{one}], "writeKey": "a", "writeKey": "b"}}',
        f'{{"batch": [{one}], "context": {{"consent": {{}}, "consent": {{}}}}, "x": "\\ud83d"}}']
    if SEGMENT_PATHS.get(path, "") is not None:
        bodies += TWICE
    for body in bodies:
        reply = await client.post(path, content=body, headers=JSON)
        assert reply.status_code == 422 and "twice" in reply.text, (body, reply.text)
        if '"userId": "bob"}' not in body:
            assert bridge.subject("ann") in refused(bridge), body


async def test_a_no_that_is_contradicted_under_one_name_stands(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    said = '{"personalization": false, "personalization": true}'
    one = f'{{"type": "identify", "userId": "ann", "context": {{"consent": {{"categoryPreferences": {said}}}}}}}'
    half = '{"type": "track", "userId": "bob", "event": "\\ud83d"}'
    for body in (one, f'{{"batch": [{one}, {half}]}}'):
        reply = await client.post(EVENTS_PATH, content=body, headers=JSON)
        assert reply.status_code == 422 and refused(bridge) == {bridge.subject("ann")}


@pytest.mark.parametrize("type_", TYPES)
async def test_a_browser_s_global_refusal_counts_with_a_refused_event(tmp_path: Path, type_: str) -> None:
    bridge = gpc_bridge(tmp_path)
    async with bridge.client() as client:
        reply = await client.post(EVENTS_PATH, json=event(type_, context={}, messageId={}), headers={"Sec-GPC": "1"})
    assert reply.status_code == 422 and refused(bridge) == {bridge.subject("ann")}

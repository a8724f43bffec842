"""`POST /v1/events`: what producers may send, when they may rely on it, and what they are told where they may not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.bridge.breaker import FAILURES_MAX
from pipeline.bridge.confirmations import AGAIN_S, KEPT_S
from pipeline.codecs import avro
from pipeline.core.model.records import FeedbackKind, IdentityKind
from pipeline.ports import Outbound
from tests.bridge.pipeline_double import BridgeDouble, decide_body
from topics.catalog import FEEDBACK_EVENTS, IDENTITY_EVENTS
from topics.partitions import subject_partition

pytestmark = pytest.mark.anyio

PATH = "/v1/events"


def click(message_id: str = "m1", user: str = "ann", **properties: Any) -> dict[str, Any]:
    return {"type": "track", "messageId": message_id, "userId": user, "event": "click",
            "properties": {"item_id": "upgrade", "channel": "web"} | properties}


async def test_an_event_is_accepted_once_the_broker_has_it(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    reply = await client.post(PATH, json=click())
    assert reply.status_code == 202
    assert reply.json() == {
        "accepted": 1, "rejected": 0, "events": [{"message_id": "m1", "status": "accepted"}],
        "token": f"feedback.events:{subject_partition(bridge.subject('ann').encode())}:0",
    }
    [record], [event] = bridge.wire.published, bridge.events()
    assert (record.topic, record.key) == (FEEDBACK_EVENTS.name, bridge.subject("ann").encode())
    assert (event.event_id, event.kind, event.item_id) == ("m1", FeedbackKind.CLICK, "upgrade")
    assert [name for name, _ in record.headers] == ["traceparent"]


async def test_consent_sent_here_lets_the_next_decision_pass(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    identify = {"type": "identify", "userId": "ann", "traits": {"plan": "plus"},
                "context": {"consent": {"categoryPreferences": {"personalization": True}}}}
    assert (await client.post(PATH, json=identify)).status_code == 202
    decided = (await client.post("/personalization/decide", json=decide_body())).json()
    # The upgrade is for free plans only: consent and trait both arrived.
    assert [one.get("content_id") for one in decided["decisions"]] == ["tips"]


async def test_an_event_without_an_id_gets_one(client: httpx.AsyncClient) -> None:
    event = click()
    del event["messageId"]
    ids = [(await client.post(PATH, json=event)).json()["events"][0]["message_id"] for _ in range(2)]
    assert len(set(ids)) == 2 and all(len(one) == 36 for one in ids)


async def test_a_repeated_event_counts_once(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.consents("ann")
    for _ in range(2):
        await client.post(PATH, json=click())
    counts = bridge.pipeline.metrics.counts
    assert counts[("feedback", "accept", "applied")] == 1
    assert counts[("feedback", "drop", "duplicate_event")] == 1


async def test_in_a_batch_each_event_stands_for_itself(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    batch = [click("m1"), {"type": "scream", "userId": "ann"}, click("m3", user="null"), "no event", click("m5")]
    reply = await client.post(PATH, json={"batch": batch})
    assert reply.status_code == 202
    body = reply.json()
    assert (body["accepted"], body["rejected"]) == (2, 3)
    assert [one["status"] for one in body["events"]] == ["accepted", "rejected", "rejected", "rejected", "accepted"]
    assert body["events"][1]["errors"] == [{
        "pointer": "/batch/1/type",
        "message": "Input should be 'identify', 'track', 'page', 'screen', 'alias', 'group', 'logout', 'reset' or "
                   "'unmerge'",
    }]
    assert body["events"][2]["errors"][0]["pointer"] == "/batch/2/userId"
    assert body["events"][3]["errors"] == [{"pointer": "/batch/3", "message": "Input should be an object"}]
    assert [event.event_id for event in bridge.events()] == ["m1", "m5"]


async def test_a_cut_off_emoji_in_one_event_does_not_hold_the_others_up(client: httpx.AsyncClient) -> None:
    body = json.dumps({"batch": [click("m1", note="\ud83d"), click("m2")]})
    reply = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert [one["status"] for one in reply.json()["events"]] == ["rejected", "accepted"]


async def test_context_and_time_of_sending_hold_for_the_whole_batch(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.clock.at_ms = 1_700_000_100_000
    event = {"type": "identify", "userId": "ann", "timestamp": "2020-01-01T00:00:00Z"}
    await client.post(PATH, json={
        "batch": [event], "sentAt": "2020-01-01T00:01:00Z",
        "context": {"consent": {"categoryPreferences": {"personalization": False}}, "library": {"name": "web-sdk"}},
    })
    [identity] = bridge.events()
    assert identity.at_ms == bridge.clock.at_ms - 60_000
    assert [(one.purpose, one.granted) for one in identity.consent] == [("personalization", False)]
    assert identity.source == "web-sdk"


async def test_a_batch_in_which_nothing_is_right_is_refused(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    reply = await client.post(PATH, json={"batch": [{"type": "track"}, {"type": "track", "userId": "ann"}]})
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request")
    assert [error["pointer"] for error in reply.json()["errors"]] == ["/batch/0/userId", "/batch/1/event"]
    assert bridge.wire.published == []


async def test_what_the_broker_did_not_take_is_to_be_sent_again(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.wire.refused_topics = {FEEDBACK_EVENTS.name}
    reply = await client.post(PATH, json={"batch": [
        click("m1"), {"type": "identify", "messageId": "m2", "userId": "ann"}, {"type": "track"},
    ]})
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
    body = reply.json()
    assert body["type"] == "/problems/events-unavailable"
    assert [one["status"] for one in body["events"]] == ["not_taken", "accepted", "rejected"]
    assert [record.topic for record in bridge.wire.published] == [IDENTITY_EVENTS.name]
    assert 'nextbest_bridge_events_total{outcome="not_taken",type="track"} 1.0' in bridge.metrics.text().decode()


async def test_an_alias_goes_to_the_identifier_given_up(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    await client.post(PATH, json={"type": "alias", "userId": "ann", "previousId": "visitor-9"})
    [record], [event] = bridge.wire.published, bridge.events()
    assert record.topic == IDENTITY_EVENTS.name
    assert event.kind is IdentityKind.ALIAS
    assert event.subject == record.key.decode() == bridge.subject("visitor-9", "anonymous_id")
    assert event.alias_of == bridge.subject("ann")


@pytest.mark.parametrize(("properties", "taken", "warned"), [
    ({"offer_id": "b", "item_id": "a"}, ("a", None), ["properties.offer_id differs from properties.item_id"]),
    ({"product_id": "b", "promotion_id": "c"}, ("b", None), ["properties.promotion_id differs"]),
    ({"item_id": "a", "offer_id": "a", "content_id": ""}, ("a", None), []),
    ({"item_id": "a", "revenue": 2, "value": 1}, ("a", 1.0), ["properties.revenue differs from properties.value"]),
    ({"item_id": "a", "revenue": 1, "value": 1.0}, ("a", 1.0), []),
])
async def test_of_synonyms_that_contradict_each_other_the_answer_says_which_was_taken(
    bridge: BridgeDouble, client: httpx.AsyncClient, properties: dict[str, Any], taken: tuple[str, float | None],
    warned: list[str],
) -> None:
    reply = await client.post(PATH, json={"type": "track", "event": "click", "userId": "ann", "properties": properties})
    [told], [event] = reply.json()["events"], bridge.events()
    assert (reply.status_code, event.item_id, event.value) == (202, *taken)
    assert [one[:len(said)] for one, said in zip(told.get("warnings", []), warned, strict=True)] == warned


async def test_another_tenants_events_go_under_its_own_keys(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    await client.post(PATH, json=click(), headers={"X-Tenant-Id": "bank"})
    assert bridge.events()[0].subject == bridge.subject("ann", tenant="bank")
    reply = await client.post(PATH, json=click(), headers={"X-Tenant-Id": "a/b"})
    assert reply.json()["errors"][0]["pointer"] == "header:X-Tenant-Id"


@pytest.mark.parametrize(("body", "status", "pointer"), [
    ({"batch": []}, 422, "/batch"),
    ({"batch": [{}] * 501}, 422, "/batch"),
    ({"batch": {"type": "track"}}, 422, "/batch"),
    ({"batch": [click()], "sentAt": "yesterday"}, 422, "/sentAt"),
    ([click()], 422, ""),
    ({"type": "track", "userId": "ann", "event": "a", "timestamp": "soon"}, 422, "/timestamp"),
    ({"type": "track", "userId": "ann", "event": "a", "timestamp": "1969-12-31T23:59:59Z"}, 422, "/timestamp"),
    ({"type": "identify", "userId": "ann", "traits": [1]}, 422, "/traits"),
    ({"type": "identify", "userId": "a",
      "context": {"consent": {"categoryPreferences": {"personalization": "ja"}}}},
     422, "/context/consent/categoryPreferences/personalization"),
    *(({"type": "identify", "userId": "a", "context": {"consent": {"categoryPreferences": {"personalization": said}}}},
       422, "/context/consent/categoryPreferences/personalization")
      for said in ("t", "on", "yes", "1", 1, 1.0, "true", "false", 0, None, {"granted": "y"})),
    ({"type": "identify", "userId": "a", "context": {"consent": {"categoryPreferences": {"/email": True}}}},
     422, "/context/consent/categoryPreferences/~1email"),
    ({"type": "alias", "userId": "ann"}, 422, "/previousId"),
    ({"type": "alias", "previousId": "ann"}, 422, "/userId"),
    ({"type": "alias", "userId": "a", "previousId": "a", "previousIdType": "user_id"}, 422, "/previousId"),
    ({"type": "alias", "userId": "a", "previousId": "b", "previousIdType": "nickname"}, 422, "/previousId"),
    (click() | {"properties": {"note": "x" * 33_000}}, 413, None),
])
async def test_a_wrong_field_is_named(
    bridge: BridgeDouble, client: httpx.AsyncClient, body: Any, status: int, pointer: str | None
) -> None:
    reply = await client.post(PATH, json=body)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.json().get("errors") or [{"pointer": None}])[0]["pointer"] == pointer
    assert bridge.wire.published == []


async def test_what_is_said_twice_is_refused(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    """Of a no and a yes the last one would win; the no is applied, as whatever is in doubt is one."""
    body = ('{"type": "identify", "userId": "a", "context": {"consent": {"categoryPreferences": '
            '{"personalization": false, "personali\\u007aation": true}}}}')
    reply = await client.post(PATH, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 422 and "names 'personalization' twice" in reply.json()["detail"]
    [no] = bridge.events()
    assert [(one.purpose, one.granted) for one in no.consent] == [("personalization", False)]


async def test_an_oversized_event_in_a_batch_is_rejected_alone(client: httpx.AsyncClient) -> None:
    reply = await client.post(PATH, json={"batch": [click("m1", note="x" * 33_000), click("m2")]})
    assert [one["status"] for one in reply.json()["events"]] == ["rejected", "accepted"]


async def test_scopes_hold_for_events(tmp_path: Path) -> None:
    bridge = BridgeDouble(tmp_path, api_keys="asker=decide,sender=events:write")
    async with bridge.client() as client:
        answers = {
            key: (await client.post(PATH, json=click(), headers={"X-Api-Key": key})).status_code
            for key in ("asker", "sender", "nobody")
        }
    assert answers == {"asker": 403, "sender": 202, "nobody": 401}


def says(granted: bool, message_id: str, user: str = "ann") -> dict[str, Any]:
    return {"type": "identify", "messageId": message_id, "userId": user,
            "context": {"consent": {"categoryPreferences": {"personalization": granted}}}}


async def test_consent_that_no_worker_confirms_is_not_called_accepted(
    bridge: BridgeDouble, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.bridge.events_endpoint.CONFIRMED_WITHIN_S", 0.05)
    bridge.wire.mode = "is silent"
    reply = await client.post(PATH, json={"batch": [says(False, "m1"), click("m2")]})
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
    assert reply.json()["type"] == "/problems/consent-not-in-force"
    assert [one["status"] for one in reply.json()["events"]] == ["not_in_force", "accepted"]
    bridge.wire.mode = "answers"
    bridge.clock.at_ms += int(AGAIN_S * 1_000)
    for _ in range(2):  # sent again, it is confirmed; and once more, though it changes nothing any more
        assert (await client.post(PATH, json={"batch": [says(False, "m1"), click("m2")]})).status_code == 202
    assert bridge.pipeline.state(bridge.subject("ann")).consent["personalization"].granted is False


def sent_of(bridge: BridgeDouble, message_id: str) -> list[Outbound]:
    published = bridge.wire.published
    return [one for one in published if avro.decode(IDENTITY_EVENTS, one.value or b"").event_id == message_id]


async def test_a_repeat_waits_for_what_was_sent_first(
    bridge: BridgeDouble, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.bridge.events_endpoint.CONFIRMED_WITHIN_S", 0.05)
    bridge.wire.mode = "is silent"
    for repeat in range(3):
        body = says(True, "m1") | {"timestamp": "2026-10-03T12:00:00Z", "sentAt": f"2026-10-03T12:00:0{repeat}Z"}
        reply = await client.post(PATH, json=body)
        assert (reply.status_code, reply.json()["type"]) == (503, "/problems/consent-not-in-force")
    assert len(sent_of(bridge, "m1")) == 1
    # Something else under the same id, or of somebody else, is no repeat.
    for other in (says(False, "m1"), says(True, "m1", "bob")):
        assert (await client.post(PATH, json=other)).status_code == 503
    assert len(sent_of(bridge, "m1")) == 3
    # The worker comes back: whoever waits hears of it, and whoever comes later has it sent again.
    waiting = asyncio.create_task(client.post(PATH, json=says(True, "m1")))
    await asyncio.sleep(0.01)
    bridge.wire.deliver(sent_of(bridge, "m1")[0])
    bridge.wire.hand_over()
    assert (await waiting).status_code == 202
    bridge.wire.mode = "answers"
    assert (await client.post(PATH, json=says(True, "m1"))).status_code == 202
    assert len(sent_of(bridge, "m1")) == 4


async def test_a_lost_confirmation_is_asked_for_again_ever_more_seldom(
    bridge: BridgeDouble, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.bridge.events_endpoint.CONFIRMED_WITHIN_S", 0.001)
    bridge.wire.mode = "is silent"
    sent = []
    for _ in range(80):
        await client.post(PATH, json=says(True, "m1"))
        sent.append(len(sent_of(bridge, "m1")))
        bridge.clock.at_ms += 1_000
    assert [sent.index(number) for number in range(1, max(sent) + 1)] == [0, 10, 30, 70]
    bridge.clock.at_ms += int(KEPT_S * 1_000)
    await client.post(PATH, json=says(True, "m2"))
    assert not bridge.asker.wants("m1") and bridge.asker.wants("m2")


async def test_an_event_that_the_broker_has_not_is_sent_again(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.wire.refused_topics = {IDENTITY_EVENTS.name}
    assert (await client.post(PATH, json=says(True, "m1"))).json()["type"] == "/problems/events-unavailable"
    assert not bridge.asker.wants("m1")
    bridge.wire.refused_topics = set()
    assert (await client.post(PATH, json=says(True, "m1"))).status_code == 202
    assert not bridge.asker.wants("m1")


async def test_without_a_listening_bridge_consent_is_not_waited_for(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.wire.listening = False
    assert (await client.post(PATH, json=says(False, "m1"))).status_code == 503
    assert (await client.post(PATH, json=click("m2"))).status_code == 202


async def test_a_request_may_have_the_id_of_an_event(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    asked = decide_body() | {"request_id": "same"}
    said, decided = await asyncio.gather(
        client.post(PATH, json=says(True, "same")), client.post("/personalization/decide", json=asked))
    assert (said.status_code, decided.status_code) == (202, 200)
    assert decided.json()["decision_id"] and decided.json()["decisions"]


async def test_a_decision_that_names_the_token_knows_of_the_events(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    batch = {"batch": [click("m1"), click("m2"), says(True, "m3"), click("m4", "bob")]}
    token = (await client.post(PATH, json=batch)).json()["token"]
    ann, bob = (subject_partition(bridge.subject(name).encode()) for name in ("ann", "bob"))
    assert ann != bob
    assert token == ",".join(sorted(
        [f"feedback.events:{ann}:1", f"feedback.events:{bob}:0", f"identity.events:{ann}:0"]))
    reply = await client.post("/personalization/decide", json=decide_body() | {"after": token})
    assert reply.json()["reason"] == "decided"
    assert ("after", token.encode()) in bridge.wire.sent[-1].headers


async def test_events_that_do_not_come_in_time_mean_the_fallback_and_open_no_circuit(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    ann = subject_partition(bridge.subject("ann").encode())
    for _ in range(FAILURES_MAX + 1):
        reply = await client.post("/personalization/decide", json=decide_body() | {
            "after": f"identity.events:{ann}:99"})
        assert (reply.json()["reason"], reply.json()["fallback"]) == ("deadline", True)
    bridge.clock.at_ms += 1_000
    bridge.pipeline.run()
    assert (await client.post("/personalization/decide", json=decide_body())).json()["reason"] == "no_consent"


@pytest.mark.parametrize("event", [
    {"type": "page", "name": "home"}, {"type": "track", "event": "Song Played"}, {"type": "alias", "previousId": "v1"},
])
@pytest.mark.parametrize("for_the_batch", [True, False])
async def test_a_no_that_comes_with_any_event_holds_for_the_next_decision(
    bridge: BridgeDouble, client: httpx.AsyncClient, event: dict[str, Any], for_the_batch: bool
) -> None:
    consent = {"consent": {"categoryPreferences": {"personalization": False}}}
    assert (await client.post(PATH, json=says(True, "m1"))).status_code == 202
    assert (await client.post("/personalization/decide", json=decide_body())).json()["reason"] == "decided"
    own = {"userId": "ann", "messageId": "m2"} | event
    sent = {"batch": [own], "context": consent} if for_the_batch else own | {"context": consent}
    assert (await client.post(PATH, json=sent)).status_code == 202
    assert (await client.post("/personalization/decide", json=decide_body())).json()["reason"] == "no_consent"


@pytest.mark.parametrize("token", ["", "mine", "identity.events:1", "decisions:0:1", "identity.events:0:x", 7])
async def test_what_is_no_token_is_refused(bridge: BridgeDouble, client: httpx.AsyncClient, token: Any) -> None:
    reply = await client.post("/personalization/decide", json=decide_body() | {"after": token})
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "/after")
    assert bridge.wire.sent == []

"""`POST /personalization/decide`: what a caller gets from a pipeline that answers, and from one that does not."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.core.hashing import decision_id_of
from tests.bridge.pipeline_double import BridgeDouble, Mode, decide_body
from topics.catalog import DECISION_REQUESTS

pytestmark = pytest.mark.anyio

PATH = "/personalization/decide"


async def decide(client: httpx.AsyncClient, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(PATH, json=body or decide_body(), headers=named)


async def test_a_decision_names_item_variant_and_how_long_it_holds(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.consents("ann")
    reply = await decide(client, decide_body() | {"request_id": "r1"})
    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert body.pop("release")
    assert body == {
        "decision_id": decision_id_of(bridge.subject("ann"), "r1"),
        "request_id": "r1",
        "decisions": [{
            "offer_id": "upgrade", "variant": "default", "priority": 50, "experiment": None, "ttl": 300,
            "placement": "hero", "content": {"title": "Upgrade now"}, "fallback": False,
        }],
        "fallback": False,
        "reason": "decided",
    }


async def test_without_consent_the_fallback_is_shown_and_says_why(client: httpx.AsyncClient) -> None:
    body = (await decide(client)).json()
    assert (body["fallback"], body["reason"]) == (True, "no_consent")
    assert [one["content_id"] for one in body["decisions"]] == ["welcome"]


async def test_a_caller_may_do_without_consent(client: httpx.AsyncClient) -> None:
    body = (await decide(client, decide_body() | {"constraints": {"require_consent": False}})).json()
    assert body["decisions"][0]["offer_id"] == "upgrade"


async def test_the_record_is_keyed_by_the_subject_and_holds_no_raw_identifier(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    await client.post(PATH, json={
        "subject": {"id": " Ann@Example.com ", "type": "email"},
        "context": {"channel": "web", "placement": "hero", "attributes": {"page": "/", "mail": "ann@example.com",
                                                                            "note": "write to ann@example.com"}},
    })
    [record], [request] = bridge.wire.sent, bridge.requests()
    assert record.topic == DECISION_REQUESTS.name
    assert record.key.decode() == request.subject == bridge.subject("ann@example.com", "email")
    assert b"example" not in (record.value or b"").lower()
    assert request.attributes == {"page": "/"}


async def test_what_was_dropped_from_the_request_is_named(client: httpx.AsyncClient) -> None:
    body = (await decide(client, decide_body(attributes={"page": "/", "first_name": "Ann"}))).json()
    assert body["warnings"] == ["context.attributes.first_name was dropped: personal data stays at the edge"]


async def test_the_same_request_id_gets_the_same_answer_and_spends_no_cap_twice(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.consents("ann")
    answers = [(await decide(client, Idempotency_Key=key)).json() for key in ("r1", '"r1"', "r1")]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["request_id"] == "r1"
    assert answers[0]["decisions"][0]["offer_id"] == "upgrade"
    # The cap is two a day: had the repeats been counted, the next one would be over it.
    again = (await decide(client, Idempotency_Key="r2")).json()
    assert again["decisions"][0]["offer_id"] == "upgrade"


@pytest.mark.parametrize("other_body", [
    decide_body(scenario="onboarding"), decide_body(attributes={"page": "/"}),
    decide_body() | {"constraints": {"max_variants": 2}}, decide_body() | {"constraints": {"require_consent": False}},
])
async def test_a_request_id_for_another_request_is_refused(
    bridge: BridgeDouble, client: httpx.AsyncClient, other_body: dict[str, Any]
) -> None:
    await decide(client, Idempotency_Key="r1")
    other = await decide(client, other_body, Idempotency_Key="r1")
    assert (other.status_code, other.json()["type"]) == (422, "/problems/request-id-reused")


SAME_NUMBERS = (("20", "20.0", "2e1", "200E-1"), ("0", "-0", "0.0", "-0.0"), ("-3", "-3.00"),
                ("9007199254740993", ), ("9007199254740992.0", "9007199254740992"), ("1e300", "10.0e299"),
                ("-9223372036854775807",), ("0.1", "1e-1"), ("true",), ("1", "1.0"), ("20.5",), ("null",), ('"20"',),
                ("9223372036854775807",), ("9223372036854775808.0", "9.223372036854775808e18"),
                ("-9223372036854775808", "-9223372036854775808.0"))


async def test_numbers_that_are_equal_make_the_same_request_and_others_another(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    """However they are written; true is not 1."""
    body = json.dumps(decide_body(attributes={"basket_value": "@", "page": "/"}))
    seen: dict[str, int] = {}
    for number, same in enumerate(SAME_NUMBERS):
        for written in same:
            reply = await client.post(PATH, content=body.replace('"@"', written), headers={
                "Idempotency-Key": f"r{number}", "Content-Type": "application/json"})
            assert reply.status_code == 200, (written, reply.text)
            assert seen.setdefault(bridge.requests()[-1].digest, number) == number, written
    assert len(seen) == len(SAME_NUMBERS)


async def test_two_subjects_may_use_the_same_request_id_at_once(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.consents("ann")
    bridge.wire.mode = "is silent"
    both = asyncio.gather(*(decide(client, decide_body(user), Idempotency_Key="1") for user in ("ann", "ben")))
    while len(bridge.wire.sent) < 2:
        await asyncio.sleep(0)
    for record in reversed(bridge.wire.sent):
        bridge.wire.deliver(record)
    bridge.wire.hand_over()
    ann, ben = [reply.json() for reply in await both]
    assert (ann["decisions"][0].get("offer_id"), ben["reason"]) == ("upgrade", "no_consent")


async def test_a_repeat_while_the_first_is_under_way_waits_for_the_same_answer(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.wire.mode = "is silent"
    first = asyncio.create_task(decide(client, Idempotency_Key="r1"))
    while not bridge.wire.sent:
        await asyncio.sleep(0)
    second = asyncio.create_task(decide(client, Idempotency_Key="r1"))
    other = await decide(client, decide_body(scenario="x"), Idempotency_Key="r1")
    assert other.json()["type"] == "/problems/request-id-reused"
    while bridge.asker.in_flight < 2:
        await asyncio.sleep(0)
    bridge.wire.deliver(bridge.wire.sent[0])
    bridge.wire.hand_over()
    assert (await first).json() == (await second).json()
    assert len(bridge.wire.sent) == 1


async def test_a_late_answer_to_somebody_else_with_the_same_request_id_is_passed_over(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.consents("ann")
    bridge.wire.mode = "is silent"
    await decide(client, decide_body("ann"), Idempotency_Key="1", X_Deadline_Ms="5")
    waiting = asyncio.create_task(decide(client, decide_body("ben"), Idempotency_Key="1", X_Deadline_Ms="50"))
    while len(bridge.wire.sent) < 2:
        await asyncio.sleep(0)
    bridge.wire.deliver(bridge.wire.sent[0])
    bridge.wire.hand_over()
    assert (await waiting).json()["reason"] == "deadline"


# -- a pipeline that is not there -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "reason"), [
    ("is silent", "deadline"), ("refuses", "pipeline_unavailable"), ("has no room", "pipeline_unavailable"),
])
async def test_a_pipeline_that_does_not_answer_costs_the_declared_fallback(
    bridge: BridgeDouble, client: httpx.AsyncClient, mode: Mode, reason: str
) -> None:
    bridge.wire.mode = mode
    reply = await decide(client, decide_body() | {"request_id": "r1"}, X_Deadline_Ms="20")
    assert reply.status_code == 200
    body = reply.json()
    assert (body["fallback"], body["reason"], body["decision_id"], body["request_id"]) == (True, reason, None, "r1")
    [shown] = body["decisions"]
    assert (shown["content_id"], shown["content"], shown["fallback"]) == ("welcome", {"title": "Welcome"}, True)


async def test_before_the_replies_are_read_nothing_is_asked(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.wire.listening = False
    assert (await decide(client)).json()["reason"] == "pipeline_unavailable"
    assert bridge.wire.sent == []


async def test_a_broker_that_goes_away_releases_who_waits_at_once(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.wire.mode = "is silent"
    waiting = asyncio.create_task(decide(client, X_Deadline_Ms="2000"))
    while not bridge.wire.sent:
        await asyncio.sleep(0)
    bridge.asker.broker_went_away()
    assert (await asyncio.wait_for(waiting, 1)).json()["reason"] == "pipeline_unavailable"


async def test_the_worker_is_told_a_deadline_before_the_callers(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    await decide(client, X_Deadline_Ms="100")
    [request] = bridge.requests()
    assert request.deadline_ms == bridge.clock.at_ms + 90
    assert request.reply_partition == bridge.wire.reply_partition


@pytest.mark.parametrize("deadline", ["0", "-1", "2001", "soon", "1.5", "²", "9" * 20])
async def test_a_deadline_out_of_bounds_is_refused(client: httpx.AsyncClient, deadline: str) -> None:
    reply = await client.post(PATH, json=decide_body(), headers=[(b"X-Deadline-Ms", deadline.encode("latin-1"))])
    assert reply.status_code == 422
    assert reply.json()["errors"] == [
        {"pointer": "header:X-Deadline-Ms", "message": "send whole milliseconds, 1 to 2000"}
    ]


async def test_after_failures_in_a_row_the_circuit_opens_and_a_probe_closes_it(tmp_path: Path) -> None:
    bridge = BridgeDouble(tmp_path, deadline_ms=5)
    async with bridge.client() as client:
        bridge.wire.mode = "is silent"
        reasons = [(await decide(client)).json()["reason"] for _ in range(6)]
        assert reasons == ["deadline"] * 5 + ["circuit_open"]
        assert len(bridge.wire.sent) == 5
        assert "nextbest_bridge_open_circuits_partitions 1.0" in bridge.metrics.text().decode()
        bridge.clock.at_ms += 1_000
        bridge.wire.mode = "answers"
        assert [(await decide(client)).json()["reason"] for _ in range(2)] == ["no_consent"] * 2
        assert "nextbest_bridge_open_circuits_partitions 0.0" in bridge.metrics.text().decode()


async def test_the_time_that_checking_takes_does_not_make_a_caller_impatient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = BridgeDouble(tmp_path, deadline_ms=20)
    readings = itertools.count(100.0, 0.001)
    monkeypatch.setattr(type(bridge.clock), "monotonic_s", lambda self: next(readings))
    async with bridge.client() as client:
        bridge.wire.mode = "is silent"
        reasons = [(await decide(client)).json()["reason"] for _ in range(6)]
    assert reasons == ["deadline"] * 5 + ["circuit_open"]


async def test_an_open_circuit_holds_for_its_partition_alone(tmp_path: Path) -> None:
    bridge = BridgeDouble(tmp_path, deadline_ms=5)
    async with bridge.client() as client:
        bridge.wire.mode = "is silent"
        for _ in range(5):
            await decide(client)
        bridge.wire.mode = "answers"
        others = [(await decide(client, decide_body(f"user-{number}"))).json()["reason"] for number in range(30)]
        assert set(others) == {"circuit_open", "no_consent"}
        assert others.count("circuit_open") < 15


async def test_impatient_callers_do_not_open_the_circuit(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.wire.mode = "is silent"
    reasons = {(await decide(client, X_Deadline_Ms="1")).json()["reason"] for _ in range(20)}
    assert reasons == {"deadline"}


async def test_past_the_limit_of_waiting_callers_the_next_is_told_to_come_back(tmp_path: Path) -> None:
    bridge = BridgeDouble(tmp_path, max_in_flight=2)
    async with bridge.client() as client:
        bridge.wire.mode = "is silent"
        waiting = [asyncio.create_task(decide(client, X_Deadline_Ms="200")) for _ in range(2)]
        while len(bridge.wire.sent) < 2:
            await asyncio.sleep(0)
        refused = await decide(client)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["type"] == "/problems/too-many-requests"
        await asyncio.gather(*waiting)
        bridge.wire.mode = "answers"
        assert (await decide(client)).status_code == 200


# -- the live policy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("context", "type_", "pointer", "hint"), [
    ({"placement": "heroo"}, "unknown-placement", "/context/placement", "Did you mean hero? The live policy has: hero"),
    ({"placement": None, "placements": ["hero", "footer"]}, "unknown-placement", "/context/placements", "has: hero"),
    ({"channel": "wep"}, "unknown-channel", "/context/channel", "Did you mean web? The live policy has: web"),
])
async def test_a_name_that_the_policy_does_not_know_is_refused_with_the_known_ones(
    bridge: BridgeDouble, client: httpx.AsyncClient, context: dict[str, Any], type_: str, pointer: str, hint: str
) -> None:
    reply = await decide(client, decide_body(**context))
    assert (reply.status_code, reply.json()["type"]) == (422, f"/problems/{type_}")
    [error] = reply.json()["errors"]
    assert error["pointer"] == pointer
    assert hint in error["message"]
    assert bridge.wire.sent == []


async def test_a_tenant_without_a_policy_is_told_so(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    body = decide_body()
    body["subject"]["tenant_id"] = "elsewhere"
    reply = await decide(client, body)
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/no-policy")


async def test_before_the_policy_is_read_the_caller_is_asked_to_wait(tmp_path: Path) -> None:
    bridge = BridgeDouble(tmp_path, tenant="not.read.yet")
    bridge.caught_up = False
    async with bridge.client() as client:
        reply = await decide(client)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["type"] == "/problems/not-ready"


# -- wrong requests -------------------------------------------------------------------------------------------------


def changed(**changes: Any) -> dict[str, Any]:
    body = decide_body()
    for path, value in changes.items():
        at = body
        *parents, last = path.split("__")
        for name in parents:
            at = at.setdefault(name, {})
        if value is ...:
            at.pop(last, None)
        else:
            at[last] = value
    return body


@pytest.mark.parametrize(("body", "pointer", "message"), [
    (changed(subject=...), "/subject", "Field required"),
    (changed(subject__id=...), "/subject/id", "Field required"),
    (changed(subject__id=None), "/subject/id", "valid string"),
    (changed(subject__id=""), "/subject/id", "at least 1 character"),
    (changed(subject__id="000-000"), "/subject/id", "stands for nobody"),
    (changed(subject__id="null"), "/subject/id", "stands for nobody"),
    (changed(subject__type="e_mial"), "/subject/type", "did you mean email?"),
    (changed(subject__type="email"), "/subject/id", "no e-mail address"),
    (changed(subject__tenant_id="a/b"), "/subject/tenant_id", "1 to 63 letters"),
    (changed(subject__tenant="x"), "/subject/tenant", "did you mean tenant_id?"),
    (changed(context=...), "/context", "Field required"),
    (changed(context__placement=...), "/context", "name one `placement`"),
    (changed(context__placements=["hero"]), "/context", "name one `placement`"),
    (changed(context__placement=..., context__placements=[]), "/context/placements", "at least 1 item"),
    (changed(context__placement=..., context__placements=["hero", "hero"]), "/context", "names one twice"),
    (changed(context__chanel="web"), "/context/chanel", "did you mean channel?"),
    (changed(context__attributes={"a": {"b": 1}}), "/context/attributes", "no objects"),
    (changed(context__attributes={"a": ["b"]}), "/context/attributes/a", "declares a list(string)"),
    (changed(context__attributes={"page": ["b"]}), "/context/attributes/page", "declares a list(string)"),
    (changed(context__attributes={"a": 2**63}), "/context/attributes", "64 bits"),
    (changed(context__attributes={"a": "x" * 1_025}), "/context/attributes", "at most 1024 characters"),
    (changed(constraints__max_variants=0), "/constraints/max_variants", "greater than or equal to 1"),
    (changed(constraints__max_variants=51), "/constraints/max_variants", "less than or equal to 50"),
    (changed(constraints__require_consent="maybe"), "/constraints/require_consent", "neither true nor false"),
    (changed(request_id="x" * 129), "/request_id", "at most 128 characters"),
    (changed(request_id="a\u0000b"), "/request_id", "control characters"),
    ([], "", "should be an object"),
])
async def test_a_wrong_field_is_named(
    bridge: BridgeDouble, client: httpx.AsyncClient, body: Any, pointer: str, message: str
) -> None:
    reply = await client.post(PATH, json=body)
    assert (reply.status_code, reply.headers["content-type"]) == (422, "application/problem+json")
    problem = reply.json()
    assert (problem["type"], problem["status"]) == ("/problems/invalid-request", 422)
    assert problem["title"] and problem["detail"]
    found = {error["pointer"]: error["message"] for error in problem["errors"]}
    assert message in found[pointer]
    assert bridge.wire.sent == []


async def test_two_request_ids_that_differ_are_refused(client: httpx.AsyncClient) -> None:
    reply = await decide(client, decide_body() | {"request_id": "a"}, Idempotency_Key="b")
    assert reply.json()["errors"][0]["pointer"] == "/request_id"


async def test_the_callers_trace_goes_with_the_record_and_a_broken_one_is_replaced(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await decide(client, traceparent=good)
    await decide(client, traceparent="00-0-0-0")
    passed_on, made = (dict(record.headers)["traceparent"].decode() for record in bridge.wire.sent)
    assert passed_on == good
    assert len(made) == len(good) and made != good


async def test_answers_are_counted_by_reason(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    await decide(client)
    text = bridge.metrics.text().decode()
    assert 'nextbest_bridge_decisions_total{fallback="true",reason="no_consent"} 1.0' in text
    assert 'nextbest_bridge_http_requests_total{endpoint="/personalization/decide",status="200"} 1.0' in text
    assert "nextbest_bridge_decide_seconds_count 1.0" in text
    assert "nextbest_bridge_in_flight_requests 0.0" in text

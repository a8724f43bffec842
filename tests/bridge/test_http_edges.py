"""What holds at every endpoint: problem details for every wrong request, keys, scopes, limits, health, documents."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.access import ApiKeysError
from pipeline.bridge import problems
from pipeline.bridge.api_keys import ApiKeys
from pipeline.bridge.problems import KINDS
from pipeline.core.model.bounds import PROPERTIES_PER_EVENT_MAX, TRAITS_PER_EVENT_MAX
from tests.bridge.pipeline_double import BridgeDouble, decide_body

pytestmark = pytest.mark.anyio

LIMITS = Path(__file__).parents[2] / "docs" / "limits.md"
DECIDE, EVENTS = "/personalization/decide", "/v1/events"
JSON = {"Content-Type": "application/json"}


def assert_problem(reply: httpx.Response, kind: problems.Kind) -> dict[str, Any]:
    assert (reply.status_code, reply.headers["content-type"]) == (kind.status, "application/problem+json")
    body: dict[str, Any] = reply.json()
    assert (body["type"], body["title"], body["status"]) == (kind.type, kind.title, kind.status)
    assert body["detail"]
    return body


@pytest.mark.parametrize("path", [DECIDE, EVENTS])
@pytest.mark.parametrize("body", [
    b"", b"{", b'{"a":}', b"nonsense", b'{"subject": "\xff"}', b'"\\ud83d"', b"[" * 5_000, b'{"a":' * 5_000,
])
async def test_a_body_that_is_not_json_is_refused(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    reply = await client.post(path, content=body, headers=JSON)
    if reply.status_code == 422 and path == EVENTS:
        # What is no object is refused as such, however it goes on.
        assert body[:1] in (b'"', b"[")
        return
    assert_problem(reply, problems.MALFORMED_JSON)


@pytest.mark.parametrize("path", [DECIDE, EVENTS])
@pytest.mark.parametrize("headers", [
    {"Content-Type": "text/html"}, {"Content-Type": "application/x-www-form-urlencoded"},
    JSON | {"Content-Encoding": "br"},
])
async def test_another_media_type_is_refused(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> None:
    reply = await client.post(path, content=json.dumps(decide_body()).encode(), headers=headers)
    assert_problem(reply, problems.UNSUPPORTED_MEDIA_TYPE)


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/ld+json"])
async def test_json_by_any_of_its_names_is_taken(client: httpx.AsyncClient, media_type: str) -> None:
    body = json.dumps(decide_body())
    assert (await client.post(DECIDE, content=body, headers={"Content-Type": media_type})).status_code == 200


@pytest.mark.parametrize(("path", "limit"), [(DECIDE, 65_536), (EVENTS, 512_000)])
async def test_a_body_past_the_limit_is_refused_however_it_is_sent(
    client: httpx.AsyncClient, path: str, limit: int
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(limit // 1_000 + 1):
            yield b" " * 1_000

    assert_problem(await client.post(path, content=b" " * (limit + 1), headers=JSON), problems.BODY_TOO_LARGE)
    assert_problem(await client.post(path, content=chunks(), headers=JSON), problems.BODY_TOO_LARGE)
    odd = JSON | {"Content-Length": "1" * 5_000}
    assert_problem(await client.post(path, content=b"{}", headers=odd), problems.BODY_TOO_LARGE)


async def test_of_more_fields_than_are_kept_the_first_are_and_the_rest_is_said(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    row = next(line for line in LIMITS.read_text("utf-8").splitlines() if line.startswith("| over HTTP: "))
    fields, attributes = (int(number) for number in re.findall(r"(\d+) (?:fields|attributes)", row))
    assert fields < TRAITS_PER_EVENT_MAX and fields < PROPERTIES_PER_EVENT_MAX
    many = {f"f{number}": number for number in range(fields + 1)}
    for event in ({"type": "identify", "traits": many}, {"type": "track", "event": "Asked", "properties": many}):
        reply = await client.post(EVENTS, json={"userId": "ann"} | event)
        [told] = reply.json()["events"]
        assert (reply.status_code, len(told["warnings"])) == (202, 1)
        assert f"f{fields} was dropped: at most {fields} fields are kept" in told["warnings"][0]
        sent = bridge.events()[-1]
        assert len(sent.traits if event["type"] == "identify" else sent.properties) == fields
    for number, status in ((attributes, 200), (attributes + 1, 422)):
        body = decide_body(attributes=dict(list(many.items())[:number]))
        assert (await client.post(DECIDE, json=body)).status_code == status


async def test_what_is_said_of_a_media_type_is_taken(client: httpx.AsyncClient) -> None:
    """What a problem and its row in the docs advise does work."""
    advice = problems.UNSUPPORTED_MEDIA_TYPE.advice
    said = dict(re.findall(r"`([\w-]+): ([^`]+)`", advice))
    assert said == {"Content-Type": "application/json", "Content-Encoding": "gzip"} and "uncompressed" in advice
    body = json.dumps(decide_body()).encode()
    reply = await client.post(DECIDE, content=gzip.compress(body), headers=said)
    assert reply.status_code == 200
    del said["Content-Encoding"]
    assert (await client.post(DECIDE, content=body, headers=said)).status_code == 200


async def test_a_body_sent_in_chunks_is_taken(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in json.dumps(decide_body()).encode():
            yield bytes([byte])

    assert (await client.post(DECIDE, content=chunks(), headers=JSON)).status_code == 200


async def test_an_address_or_method_that_is_not_there_is_told(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/nothing/here"), problems.NOT_FOUND)
    assert_problem(await client.get("/problems/none"), problems.NOT_FOUND)
    for path in (DECIDE, EVENTS):
        reply = await client.get(path)
        assert_problem(reply, problems.METHOD_NOT_ALLOWED)
        assert reply.headers["allow"] == "POST"
    assert_problem(await client.post("/healthz"), problems.METHOD_NOT_ALLOWED)


async def test_a_bug_is_a_problem_too_and_tells_nothing_of_the_inside(
    bridge: BridgeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr(bridge.wire, "send", fail)
    transport = httpx.ASGITransport(app=bridge.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as client:
        reply = await client.post(DECIDE, json=decide_body())
    assert_problem(reply, problems.INTERNAL)
    assert "secret" not in reply.text and "Zero" not in reply.text
    assert bridge.asker.in_flight == 0


async def test_every_problem_type_is_explained_at_its_own_address(client: httpx.AsyncClient) -> None:
    assert len({kind.slug for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        reply = await client.get(kind.type)
        assert reply.status_code == 200
        assert kind.title in reply.text and kind.advice in reply.text


# -- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("headers", "status"), [
    ({}, 401), ({"X-Api-Key": "wrong"}, 401), ({"Authorization": "Basic YTpi"}, 401),
    ({"Authorization": "Bearer"}, 401),
    ({"Authorization": "Bearer events"}, 403), ({"X-Api-Key": "events"}, 403),
    ({"Authorization": "Bearer both"}, 200), ({"authorization": "bearer both"}, 200), ({"X-Api-Key": "k=e=y"}, 200),
])
async def test_keys_and_scopes(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    keys = "events=events:write, both=decide events:write,k=e=y=decide"
    bridge = BridgeDouble(tmp_path, api_keys=keys)
    async with bridge.client() as client:
        reply = await client.post(DECIDE, json=decide_body(), headers=headers)
    assert reply.status_code == status
    if status == 401:
        assert_problem(reply, problems.UNAUTHORIZED)
        assert reply.headers["www-authenticate"].startswith("Bearer")
    if status == 403:
        assert "`decide`" in assert_problem(reply, problems.FORBIDDEN)["detail"]


async def test_health_needs_no_key(tmp_path: Path) -> None:
    bridge = BridgeDouble(tmp_path, api_keys="k=decide")
    async with bridge.client() as client:
        for path in ("/healthz", "/metrics", "/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("setting", [
    ",", " ", "key=decide,", "key", "=decide", "key=", "key=decide,other=decid", "key=decide admin"])
def test_a_wrong_keys_setting_is_told_without_the_key(setting: str) -> None:
    with pytest.raises(ApiKeysError, match="decide, events:write") as caught:
        ApiKeys(setting.replace("key", "s3cret"), "shop")
    assert "s3cret" not in str(caught.value)


def test_without_keys_every_door_is_open() -> None:
    assert ApiKeys("", "shop").open and not ApiKeys("k=decide", "shop").open


# -- operations -----------------------------------------------------------------------------------------------------


async def test_metrics_count_every_answer_under_a_bounded_set_of_doors(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/a", "/b"):
        await client.get(path)
    text = (await client.get("/metrics")).text
    assert 'nextbest_bridge_http_requests_total{endpoint="/healthz",status="200"} 1.0' in text
    assert 'nextbest_bridge_http_requests_total{endpoint="other",status="404"} 2.0' in text
    names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert names and all(name.startswith("nextbest_bridge_") for name in names)


async def test_the_documentation_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    addresses = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", page)
    assert addresses and all(address.startswith("/") for address in addresses), addresses
    for address in addresses:
        assert (await client.get(address)).status_code == 200


async def test_the_openapi_document_is_whole(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    text = json.dumps(document)
    missing = {ref for ref in re.findall(r"#/components/schemas/(\w+)", text)} - set(document["components"]["schemas"])
    assert missing == set()
    decide = document["paths"][DECIDE]["post"]
    assert set(decide["responses"]) == {"200", "400", "401", "403", "404", "409", "413", "415", "422", "429", "503"}
    assert set(document["paths"][EVENTS]["post"]["responses"]) == {
        "202", "400", "401", "403", "413", "415", "422", "429", "503",
    }
    assert {"name": "Idempotency-Key", "in": "header"}.items() <= decide["parameters"][0].items()
    schemas = document["components"]["schemas"]
    assert "userId" in schemas["SegmentEvent"]["properties"]
    # The examples are what the endpoints really take.
    for model, path in (("DecideBody", DECIDE), ("SegmentEvent", EVENTS)):
        for example in schemas[model]["examples"]:
            if path == DECIDE:
                example["context"]["placement"] = "hero"
            assert (await client.post(path, json=example)).status_code in (200, 202)

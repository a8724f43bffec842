"""Where the live policy declares a type and what came does not fit, the answer says so, at every endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.bridge.decide_bodies import DecideBody
from pipeline.bridge.openapi import Operation
from pipeline.bridge.operations import table
from pipeline.core.model.records import FeedbackEvent
from pipeline.core.rules import readers
from tests.bridge.pipeline_double import BridgeDouble, decide_body
from tests.support import shop

pytestmark = pytest.mark.anyio

TYPED = shop.POLICY.replace("    plan: {type: string, default: free}\n", """\
    plan: {type: string, default: free}
    age: int
    zip: string
    likes: list(string)
    born: timestamp
    paid: double
    vip: bool
    since: duration
  account: {seats: int}
  context: {basket: double, likes: list(string)}
""")
#: Name, what fits, what does not, and what is said of the latter's shape.
VALUES: list[tuple[str, Any, Any, str]] = [
    ("age", 18.0, "18", "int and a text of digits"), ("zip", "80331", 80331, "string and a whole number"),
    ("likes", ["boots"], [1], "list(string) and a list"), ("born", "2026-09-01", 1_788_256_800, "timestamp and a"),
    ("paid", 3, "3,5", "double and a text of digits"), ("vip", True, "yes", "bool and a text"),
    ("since", "36h", 36, "duration and a whole number"),
]


@pytest.fixture
def bridge(tmp_path: Path) -> BridgeDouble:
    return BridgeDouble(tmp_path, shop.publication(tmp_path / "typed", TYPED))


@pytest.mark.parametrize(("name", "fits", "other", "said"), VALUES)
async def test_a_trait_that_does_not_fit_is_named_with_its_type(
    bridge: BridgeDouble, name: str, fits: Any, other: Any, said: str
) -> None:
    async with bridge.client() as client:
        for value, count in ((fits, 0), (other, 1)):
            reply = await client.post("/v1/events", json={"type": "identify", "userId": "ann", "traits": {name: value}})
            assert reply.status_code == 202
            warnings = [one for one in reply.json()["events"][0].get("warnings", []) if "is declared" in one]
            assert len(warnings) == count
            assert all(f"traits.{name} is declared {said}" in one and str(value) not in one for one in warnings)


async def test_of_an_account_and_of_a_request_too(bridge: BridgeDouble) -> None:
    async with bridge.client() as client:
        reply = await client.post("/v1/events", json={
            "type": "group", "userId": "ann", "groupId": "acme", "traits": {"seats": "5"}})
        assert "traits.seats is declared int" in reply.json()["events"][0]["warnings"][0]
        reply = await client.post("/personalization/decide", json=decide_body(attributes={"basket": "12.5"}))
        assert "context.attributes.basket is declared double" in reply.json()["warnings"][0]


@pytest.mark.parametrize("field", ["timestamp", "originalTimestamp", "sentAt"])
@pytest.mark.parametrize("value", [45_688, "45688", 20_250_131, "20250131", 1_788_256_800])
async def test_a_number_that_may_be_seconds_is_no_timestamp(bridge: BridgeDouble, field: str, value: Any) -> None:
    event = {"type": "track", "event": "click", "userId": "ann", field: value}
    async with bridge.client() as client:
        reply = await client.post("/v1/events", json=event)
    assert reply.status_code == 422 and reply.json()["errors"][0]["pointer"] == f"/{field}"


async def test_17_and_17_0_are_one_subject(bridge: BridgeDouble) -> None:
    async with bridge.client() as client:
        ids: list[Any] = [17, 17.0, "17"]
        wrong: list[Any] = [17.5, True, 1e300, [17]]
        for id_ in ids:
            reply = await client.post("/v1/events", json={"type": "track", "event": "click", "userId": id_})
            assert reply.status_code == 202
        for id_ in wrong:
            reply = await client.post("/v1/events", json={"type": "track", "event": "click", "userId": id_})
            assert reply.status_code == 422
    events = bridge.events()
    assert all(isinstance(one, FeedbackEvent) for one in events) and len({one.subject for one in events}) == 1


@pytest.mark.parametrize(("sent", "kept"), [
    (["boots", "tents"], "boots, tents"), ("boots, tents", "boots, tents"), ([], ""),
    (["a"] * 300, ", ".join("a" * 300)),
])
async def test_a_list_of_texts_is_the_same_as_a_trait_and_in_a_request(
    bridge: BridgeDouble, sent: Any, kept: str
) -> None:
    async with bridge.client() as client:
        trait = await client.post("/v1/events", json={"type": "identify", "userId": "ann", "traits": {"likes": sent}})
        reply = await client.post("/personalization/decide", json=decide_body(attributes={"likes": sent}))
    assert (trait.status_code, reply.status_code) == (202, 200)
    said = [one.replace("traits.", "") for one in trait.json()["events"][0].get("warnings", [])]
    assert said == [one.replace("context.attributes.", "") for one in reply.json().get("warnings", [])]
    [request] = bridge.requests()
    assert request.attributes == {"likes": kept}


@pytest.mark.parametrize("sent", [[1], ["a,b"], [" "], [["a"]], ["x" * 2_000], ["x" * 9] * 200])
async def test_a_list_that_cannot_be_kept_is_refused_in_a_request_and_dropped_as_a_trait(
    bridge: BridgeDouble, sent: Any
) -> None:
    async with bridge.client() as client:
        trait = await client.post("/v1/events", json={"type": "identify", "userId": "ann", "traits": {"likes": sent}})
        reply = await client.post("/personalization/decide", json=decide_body(attributes={"likes": sent}))
    [error] = reply.json()["errors"]
    assert reply.status_code == 422 and error["pointer"] == "/context/attributes/likes"
    assert "a text has" not in error["message"], "it is a list"
    assert f"traits.likes was dropped: {error['message']}" in trait.json()["events"][0]["warnings"]


def test_every_whole_number_of_a_request_is_read_by_the_one_reader(bridge: BridgeDouble) -> None:
    """1.0 is 1 to JSON, as it is in a trait and in an id; no text and no boolean is."""
    found = 0
    for model in models_of(table(bridge.endpoints)):
        for name, field in model.model_fields.items():
            if field.annotation is int or field.annotation == int | None:
                found += 1
                assert readers.whole in [getattr(one, "func", None) for one in field.metadata], (model, name)
    assert found
    for value in (1, 1.0, 2.0):
        DecideBody.model_validate(decide_body() | {"constraints": {"max_variants": value}})
    for odd in (1.5, "1", True, None, 51.0):
        with pytest.raises(ValidationError):
            DecideBody.model_validate(decide_body() | {"constraints": {"max_variants": odd}})


def models_of(operations: list[Operation]) -> set[type[BaseModel]]:
    """Every model within the bodies that are taken."""
    found: set[type[BaseModel]] = set()
    left = [body for one in operations for body in one.bodies]
    while left:
        model = left.pop()
        if model not in found:
            found.add(model)
            left += [part for field in model.model_fields.values() for part in _within(field.annotation)]
    return found


def _within(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for one in get_args(annotation) for part in _within(one)]


async def test_the_openapi_document_says_that_lists_are_taken(bridge: BridgeDouble) -> None:
    async with bridge.client() as client:
        document = (await client.get("/openapi.json")).json()
    attributes = document["components"]["schemas"]["Situation"]["properties"]["attributes"]
    assert "array" in [one["type"] for one in attributes["additionalProperties"]["anyOf"]]


async def test_attributes_that_are_not_there_are_none_however_that_is_written(bridge: BridgeDouble) -> None:
    absent: list[Any] = [None, [], {}]
    async with bridge.client() as client:
        for number, nothing in enumerate(absent):
            body = decide_body(attributes=nothing) | {"request_id": f"r{number}"}
            assert (await client.post("/personalization/decide", json=body)).status_code == 200
        for wrong in ([1], "a", 5):
            reply = await client.post("/personalization/decide", json=decide_body(attributes=wrong))
            assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "/context/attributes")
            for name in ("traits", "properties"):
                event = {"type": "identify", "userId": "ann", name: wrong}
                assert (await client.post("/v1/events", json=event)).status_code == 422


@pytest.mark.parametrize("name", ["value", "revenue"])
async def test_a_worth_that_is_no_number_is_warned_of_by_its_name(bridge: BridgeDouble, name: str) -> None:
    async with bridge.client() as client:
        reply = await client.post("/v1/events", json={
            "type": "track", "event": "Paid", "userId": "ann", "properties": {name: "much"}})
    assert reply.json()["events"][0]["warnings"] == [
        f"properties.{name} is kept as a property only: it is not a number"]

"""Nothing personal goes on in clear, whatever field of whatever endpoint or import it is sent in.

The fields are derived from the models that the endpoints validate with: one that is added later is tried by itself.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.bridge.operations import table
from pipeline.ingest import account_import, consent_import
from pipeline.ingest.consent_bodies import Statement
from pipeline.ingest.consent_import import Format
from pipeline.ingest.personal_texts import found_in, masked
from tests.bridge.pipeline_double import BridgeDouble

pytestmark = pytest.mark.anyio

ADDRESS, PHONE = "ada.planted@example.com", "+4915123456789"
SPELLINGS = {
    "plain": ADDRESS, "in a text": f"Mailed {ADDRESS} today", "encoded": "ada.planted%40example.com",
    "encoded twice": "ada.planted%2540example.com", "full width": "ada.planted＠example.com",
    "internationalised": "ada.planted@bücher.example", "quoted": '"ada.planted"@example.com', "phone": PHONE,
    "phone in a text": f"Call {PHONE} now", "phone in a path": f"/u/{PHONE}/x", "entity": "ada.planted&#64;example.com",
    "account": "DE89370400440532013000", "account in groups": "pay to GB12 DE89 3704 0044 0532 0130 00 ABC",
    "card": "4111 1111 1111 1111", "card in a text": "by 4111-1111-1111-1111.",
}
#: How else the same is written.
MORE = {
    "host": "ada.planted@localhost", "host of one name": "ada.planted@example", "literal": "ada.planted@[10.0.0.1]",
    "two signs": "ada.planted@@example.com", "apart": "ada.planted @ example.com",
    "hidden": "ada.planted(at)example.com", "hidden more": "ada.planted [at] example [dot] com",
    "quoted-printable": "ada.planted=40example.com", "script": "ada.planted%u0040example.com",
    "JSON twice": "ada.planted\\u0040example.com", "C": "ada.planted\\x40example.com", "dots": "0151-234.567.84",
    "no sign": "4915123456785", "British": "447911123456", "card in a row": "4111111111111111",
    "Amex": "378282246310005", "Mastercard": "2221000000000009",
}
#: What must be nowhere, however it was spelt.
PLANTED = ("planted", "15123456789", "370400440532", "3704 0044 0532", "1111 1111", "1111-1111")

_TYPES = ["identify", "track", "page", "screen", "group", "alias"]


def _strings(schema: dict[str, Any], defs: dict[str, Any], path: tuple[str, ...] = (), depth: int = 0
             ) -> Iterator[tuple[str, ...]]:
    """The path of every field of a model that may hold a text, or anything; `*`: a name of its own."""
    if "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    if depth > 6:
        return
    for part in schema.get("anyOf", ()):
        yield from _strings(part, defs, path, depth)
    for name, part in schema.get("properties", {}).items():
        yield from _strings(part, defs, (*path, name), depth + 1)
    more = schema.get("additionalProperties")
    if isinstance(more, dict) or more is True:
        yield (*path, "*value")
        yield (*path, "*name")
    if schema.get("type") == "array":
        yield from _strings(schema.get("items", {}), defs, (*path, "[]"), depth + 1)
    if schema.get("type") == "string" and "enum" not in schema and "format" not in schema:
        yield path
    if not schema.keys() - {"description", "default", "title"}:
        yield from ((*path, "name"), (*path, "id"), path)


def _planted(path: tuple[str, ...], value: str, rest: Any = None) -> Any:
    """A body with the value at the path."""
    if not path:
        return value
    step, *more = path
    if step == "*value":
        return {"note": value}
    if step == "*name":
        return {value: "yes"}
    if step == "[]":
        return [_planted(tuple(more), value)]
    known = rest if isinstance(rest, dict) else {}
    return {**known, step: _planted(tuple(more), value, known.get(step))}


def _operations(bridge: BridgeDouble) -> Iterator[tuple[str, type[Any]]]:
    for one in table(bridge.endpoints):
        if one.bodies and not one.path.startswith(("/v1/b", "/v1/t", "/v1/i", "/v1/p", "/v1/s", "/v1/g", "/v1/a")):
            yield one.path, one.bodies[0]


def _bodies(model: type[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    schema = model.model_json_schema()
    for path in dict.fromkeys(_strings(schema, schema.get("$defs", {}))):
        for said, value in SPELLINGS.items():
            if model.__name__ == "SegmentEvent":
                for type_ in _TYPES:
                    event = {"type": type_, "userId": "ann", "previousId": "bob", "groupId": "acme", "event": "Click",
                             "messageId": f"m-{type_}"}
                    yield f"{path} of a {type_}, {said}", _planted(path, value, event)
            else:
                whole: dict[str, Any] = {"subject": {"id": "ann"}, "context": {"channel": "web", "placement": "hero"}}
                if model.__name__ == "PrivacyBody":
                    del whole["context"]
                yield f"{path}, {said}", _planted(path, value, whole)


def _traces(bridge: BridgeDouble, log: str) -> list[str]:
    """Where something planted is, of all that went on."""
    found = []
    texts: Iterator[tuple[str, bytes]] = itertools.chain(
        ((name, (record.key or b"") + (record.value or b""))
         for name, parts in bridge.pipeline.logs.items() for part in parts for record in part),
        (("published", record.key + (record.value or b"")) for record in bridge.wire.published),
        (("sent", record.key + (record.value or b"")) for record in bridge.wire.sent),
        [("metrics", bridge.metrics.text() if isinstance(bridge.metrics.text(), bytes) else b""),
         ("log", log.encode())])
    for name, data in texts:
        found += [name for planted in PLANTED if planted.encode() in data.lower()]
    return found


async def test_nothing_personal_goes_on_by_any_field_of_any_door(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tried = 0
    bridge = BridgeDouble(tmp_path)
    async with bridge.client() as client:
        for path, model in _operations(bridge):
            for said, body in _bodies(model):
                reply = await client.post(path, json=body)
                assert reply.status_code in (200, 202, 404, 409, 422), (path, said, reply.text)
                answer = reply.text.lower()
                assert reply.status_code == 422 or not any(one in answer for one in PLANTED) or (
                    "message_id" in answer), (path, said, answer)
                tried += 1
                if tried % 200 == 0:
                    assert _traces(bridge, "") == [], (path, said)
    assert tried > 1_000
    assert _traces(bridge, caplog.text) == []


@pytest.mark.parametrize("said", list(SPELLINGS))
def test_nothing_personal_goes_on_by_an_import(said: str) -> None:
    value = SPELLINGS[said]
    keys = (b"key",)
    records = []
    for row in ({"id": "acme", "traits": {"note": value}}, {"id": "acme", "traits": {value: 1, "plan": "x"}},
                {"id": value, "traits": {"plan": "x"}}, {"id": "acme", "consent": {value: True}},
                {"id": "acme", "traits": {"contact": value, "plan": "x"}}):
        records += account_import.read([json.dumps(row)], False, keys, "shop", None, 1).records
    base = {"id": "ann", "type": "user_id", "purpose": "ads", "granted": True, "at": "2026-01-31T08:00:00Z"}
    for name in ("id", "purpose", "channel", "source", "proof"):
        found = consent_import.read([json.dumps({**base, name: value})], Format.JSONL, False, keys, "shop", None,
                                    1_790_000_000_000)
        records += found.records
    for record in records:
        assert not any(planted.encode() in (record.key + (record.value or b"")).lower() for planted in PLANTED), said


@pytest.mark.parametrize("text", [
    "Order Completed", "/products/12345678", "2026-01-31", "2026-01-31T08:00:00Z", "v1.2.3", "m-4711-0815",
    "00000000-0000-0000-0000-000000000001", "sku 0815 4711", "a@b", "x @ y", "1.234.567,89", "10:30 - 11:45",
    "user-17", "550e8400-e29b-41d4-a716-446655440000", "100% cotton", "%zz", "@handle", "50+ offers", "+1", "++",
    "DE89370400440532013001", "4111 1111 1111 1112", "4111111111111112", "4006381333931",
    "4912345678904", "1700000000000", "1234567890123456", "100000000000017", "2026013112345678", "logo@2x",
    "a[0] (at home)", "{at}", "width=40px", "w=40", "C:\\users\\x40", "meet (at 5)", "GA1.2.1234567890.1700000000",
    "491512345678-1", "AB12CD34EF56GH78", "a&amp;b", "DE89"])
def test_ordinary_texts_are_not_taken_for_personal_ones(text: str) -> None:
    assert found_in(text) == "" and masked(text) == text


@pytest.mark.parametrize("text", list(MORE.values()))
def test_other_spellings_are_found_and_masked(text: str) -> None:
    for whole in (text, f"to {text} now", f"/u/{text}/x"):
        assert found_in(whole), whole
        assert found_in(masked(whole)) == "" and text not in masked(whole), masked(whole)
    with pytest.raises(ValidationError):
        Statement.model_validate({"granted": True, "proof": text})


@given(st.text(max_size=30), st.sampled_from(list(SPELLINGS.values())), st.text(max_size=30))
def test_whatever_stands_beside_it_is_masked(before: str, planted: str, after: str) -> None:
    text = f"{before} {planted} {after}"
    assert found_in(text)
    assert not any(one in masked(text).lower() for one in PLANTED)


"""Numbers that are computed, and ids in whatever field: read in one way, never lost without a word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.codecs import avro
from pipeline.core.identity.accounts import account_key
from pipeline.core.model.records import FeedbackEvent
from pipeline.core.model.values import astuple
from pipeline.ingest import account_import, consent_import
from pipeline.ingest.consent_import import Format
from pipeline.ingest.refusal import RefusedError
from tests.ingest.test_event_mapping import KEY, NOW_MS, hash_of, identified, mapped
from topics.catalog import FEEDBACK_EVENTS


@pytest.mark.parametrize(("product", "value", "warned"), [
    ({"price": 1e308, "quantity": 1e308}, None, True), ({"price": -1e308, "quantity": 10}, None, True),
    ({"price": 2**63 - 1, "quantity": 2**63 - 1}, float((2**63 - 1) ** 2), False),
    ({"price": "12"}, None, True), ({"price": 12, "quantity": "2"}, None, True), ({"price": None}, None, False),
    ({"price": 12.5, "quantity": 2}, 25.0, False), ({"value": 1e999}, None, True),
    ({"price": 1e308, "quantity": 1e308, "revenue": 7}, 7.0, True),
])
def test_an_order_s_product_is_a_conversion_whatever_it_is_worth(
    product: dict[str, Any], value: Any, warned: bool
) -> None:
    found = mapped(event="Order Completed", properties={"products": [{"product_id": "boots", **product}]})
    conversion = found.events[-1]
    assert isinstance(conversion, FeedbackEvent) and conversion.item_id == "boots"
    assert conversion.value == value and bool(found.warnings) is warned
    avro.decode(FEEDBACK_EVENTS, avro.encode_checked(FEEDBACK_EVENTS, conversion))


ACME = account_key(KEY, "shop", "17")


@pytest.mark.parametrize("given", [17, 17.0, "17"])
def test_an_id_means_the_same_in_every_field(given: Any) -> None:
    event = identified(traits={"company": {"id": given}})[0]
    assert event.membership is not None and event.membership.account == ACME
    event = identified(context={"groupId": given})[0]
    assert event.membership is not None and event.membership.account == ACME
    [account] = mapped(type="group", userId=None, groupId=given, traits={"plan": "pro"}).events
    assert account.subject == ACME
    [record] = account_import.read(
        [json.dumps({"id": given, "traits": {"plan": "pro"}})], False, KEY, "shop", None, NOW_MS).records
    assert record.key == ACME.encode()
    for name in ("item_id", "product_id", "decision_id", "placement", "channel"):
        found = mapped(event="click", properties={name: given})
        assert "17" in astuple(found.events[0]) and name not in found.events[0].properties  # type: ignore[union-attr]
    assert identified(context={"device": {"id": given}})[0].identifiers[0].hash == hash_of("device", "17")


@pytest.mark.parametrize("given", [True, 17.5, 1e30, ["17"], {"id": 17}, float("inf")])
def test_what_is_no_id_is_told_wherever_it_stands(given: Any) -> None:
    bodies: list[dict[str, Any]] = [
        {"type": "identify", "traits": {"company": {"id": given}}}, {"type": "identify", "traits": {"email": given}},
        {"type": "identify", "traits": {"phone": given}}, {"type": "identify", "context": {"device": {"id": given}}},
        {"type": "identify", "context": {"device": {"advertisingId": given}}},
        {"type": "logout", "anonymousId": "v-1", "context": {"device": {"id": given}}},
        *({"event": "click", "properties": {name: given}} for name in ("item_id", "placement", "channel")),
    ]
    for body in bodies:
        warnings = mapped(**body).warnings
        assert any("was dropped" in one or "as a property only" in one for one in warnings), (body, warnings)
        assert not any("17.5" in one for one in warnings), "a value is never repeated"


@pytest.mark.parametrize(("body", "said"), [
    ({"type": "identify", "traits": {"company": {"name": "Acme"}}}, "traits.company was dropped: it has no id"),
    ({"type": "identify", "context": {"device": "odd"}}, "context.device was dropped: it is no object with an id"),
    ({"event": "click", "properties": {"item_id": "i" * 300}},
     "properties.item_id is kept as a property only: an id"),
])
def test_what_has_no_id_is_told(body: dict[str, Any], said: str) -> None:
    assert any(one.startswith(said) for one in mapped(**body).warnings)


@pytest.mark.parametrize("given", ["8990378.0", "8.99E+06", "8990378,00"])
def test_a_number_that_a_spreadsheet_wrote_is_nobody_s_id_wherever_it_comes_in(given: str) -> None:
    row = {"id": given, "type": "user_id", "purpose": "ads", "granted": "no", "at": "2023-07-22T04:26:40Z"}
    in_csv = [",".join(row) + "\n", ",".join(f'"{cell}"' for cell in row.values()) + "\n"]
    for lines, form in ((in_csv, Format.CSV), ([json.dumps(row)], Format.JSONL)):
        found = consent_import.read(lines, form, False, KEY, "shop", None, NOW_MS)
        assert found.records == [] and found.errors.lines[0].startswith("line") and given not in found.errors.lines[0]
    lines = ["id,plan\n", f'"{given}",pro\n']
    assert account_import.read(lines, True, KEY, "shop", None, NOW_MS).records == []
    for body in ({"userId": given}, {"userId": None, "anonymousId": given}, {"type": "group", "groupId": given}):
        with pytest.raises(RefusedError):
            mapped(**body)

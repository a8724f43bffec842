"""Numbers that are computed, and ids in whatever field: read in one way, never lost without a word."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.codecs import avro
from pipeline.core.model.records import FeedbackEvent
from tests.ingest.test_event_mapping import mapped
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

"""Features that are computed in batch and loaded: used while they are fresh, unknown with that reason afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.core.decide.decision import decide
from pipeline.core.features.shown import shown
from pipeline.core.model.problems import DefinitionError
from pipeline.core.sections.section import changed
from pipeline.core.sections.traits import Trait
from tests.core.build import agreed, asked, made

DAY_MS = 86_400_000
AS_OF_MS = 1_790_000_000_000
POLICY: dict[str, Any] = {"features": {
    "orders_1y": {"count": {"event": "conversion"}, "window": "365d", "fresh_for": "2d"},
    "views": {"count": {"event": "view"}},
}}
LIVE = made(POLICY, {"loyal": {"eligibility": "features.orders_1y >= 2"}})


def somebody(orders: int | None) -> Any:
    return changed(agreed(), traits={"features.orders_1y": Trait(orders, AS_OF_MS)})


def test_a_rule_reads_what_was_loaded_while_it_is_fresh() -> None:
    for orders, item in ((2, "loyal"), (1, "welcome")):
        result = decide(asked(), somebody(orders), LIVE, AS_OF_MS + 2 * DAY_MS - 1)
        assert [one.item_id for one in result.decisions] == [item]


def test_a_stale_value_is_unknown_and_the_audit_says_so() -> None:
    result = decide(asked(), somebody(9), LIVE, AS_OF_MS + 2 * DAY_MS)
    assert [one.item_id for one in result.decisions] == ["welcome"]
    [audit] = [one for one in result.candidates if one.item_id == "loyal"]
    assert audit.outcome == "unknown:stale:features.orders_1y" and "features.orders_1y" not in audit.values
    assert result.reason == "unknown:stale:features.orders_1y"


def test_what_was_never_loaded_is_unknown_but_not_stale() -> None:
    result = decide(asked(), agreed(), LIVE, AS_OF_MS)
    assert result.reason == "unknown:features.orders_1y"


def test_it_is_shown_with_its_moment() -> None:
    fresh, stale = (shown(somebody(3), LIVE.policy, AS_OF_MS + ms)["orders_1y"] for ms in (1, 2 * DAY_MS))
    assert (fresh["value"], fresh["as_of_ms"]) == (3, AS_OF_MS)
    assert (stale["unknown"], stale["as_of_ms"]) == ("stale", AS_OF_MS) and "value" not in stale
    assert shown(agreed(), LIVE.policy, AS_OF_MS)["orders_1y"]["unknown"] == "no_value"


def test_it_is_not_counted_and_takes_no_room_in_the_profile() -> None:
    assert [one.id for one in LIVE.policy.features] == ["views"]
    assert [one.id for one in LIVE.policy.loaded_features] == ["orders_1y"]


@pytest.mark.parametrize(("feature", "said"), [
    ({"top": "event.tags", "fresh_for": "2d"}, "cannot be loaded"),
    ({"count": {"event": "view"}, "per": "item", "fresh_for": "2d"}, "cannot be loaded"),
    ({"ratio": ["views", "views"], "fresh_for": "2d"}, "loaded, the other counted"),
])
def test_what_cannot_be_loaded_is_refused(feature: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        made({"features": {**POLICY["features"], "wrong": feature}})


def test_an_attribute_that_is_told_from_outside_may_have_a_freshness_too() -> None:
    live = made({"attributes": {"features": {"churn": {"type": "double", "default": 0.1, "fresh_for": "1d"}}}},
                {"save": {"eligibility": "features.churn > 0.5"}})
    person = changed(agreed(), traits={"features.churn": Trait(0.9, AS_OF_MS)})
    assert decide(asked(), person, live, AS_OF_MS + 1).decisions[0].item_id == "save"
    assert decide(asked(), person, live, AS_OF_MS + DAY_MS).reason == "unknown:stale:features.churn"


def test_a_fact_of_the_moment_has_no_freshness() -> None:
    with pytest.raises(DefinitionError, match="no `fresh_for`"):
        made({"attributes": {"context": {"page": {"type": "string", "fresh_for": "1d"}}}})

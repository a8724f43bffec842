"""Features in batch: SQL says what the stream and a naive loop say, as of any moment."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_batch.computing import Tally, computed
from feature_batch.preparing import Arrival
from pipeline.core.model.records import ConsentGrant, FeedbackEvent, FeedbackKind, IdentityEvent, IdentityKind
from tests.features.batch import differences, people
from tests.features.world import DAY_MS, HOUR_MS, START_MS, shop

LIVE = shop()
COUNTED: dict[str, Any] = {
    "views": {"count": {"event": "view"}, "window": "7d"},
    "item_views": {"count": {"event": "view"}, "per": "item"},
    "clicks": {"count": {"event": "click"}, "per": "item"},
    "ctr": {"ratio": ["clicks", "item_views"], "least": 1, "per": "item"},
    "last_item": {"last": "event.item", "of": {"event": "view"}},
}


def grant(given: bool, at_ms: int, who: str = "shop/ann") -> Arrival:
    consent = [ConsentGrant("personalization", given, at_ms)]
    return Arrival(who, at_ms, IdentityEvent(f"c{at_ms}", who, IdentityKind.CONSENT, at_ms, consent=consent))


def view(event_id: str, at_ms: int, received_ms: int | None = None, who: str = "shop/ann", item: str = "tent"
         ) -> Arrival:
    event = FeedbackEvent(event_id, who, FeedbackKind.VIEW, at_ms, "view", item, "d")
    return Arrival(who, at_ms if received_ms is None else received_ms, event)


def values(arrivals: list[Arrival], as_of_ms: int, tally: Tally | None = None) -> dict[tuple[str, str, str], Any]:
    """By feature, profile and key."""
    return {(name, row["profile"], row["key"]): row["value"]
            for part in computed(arrivals, shop(COUNTED), as_of_ms, tally or Tally())
            for name, rows in part.items() for row in rows.to_pylist()}


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.integers(1, 2))
def test_sql_stream_and_naive_loop_say_the_same(seed: int, at_once: int) -> None:
    assert differences(people(random.Random(seed), LIVE, "p", 2, each=24), LIVE, at_once) == []


def test_what_arrives_after_the_moment_does_not_count_though_it_happened_before() -> None:
    arrivals = [grant(True, START_MS), view("1", START_MS + 1), view("2", START_MS + 2, START_MS + DAY_MS)]
    assert values(arrivals, START_MS + HOUR_MS)["views", "shop/ann", ""] == 1
    assert values(arrivals, START_MS + DAY_MS)["views", "shop/ann", ""] == 2


def test_a_repeat_counts_once_and_is_told() -> None:
    tally = Tally()
    arrivals = [grant(True, START_MS), view("1", START_MS + 1), view("1", START_MS + 1, START_MS + 9)]
    assert values(arrivals, START_MS + HOUR_MS, tally)["views", "shop/ann", ""] == 1
    assert (tally.events, tally.repeated, tally.left_out, tally.profiles) == (2, 1, 0, 1)


def test_only_what_may_be_tracked_counts_as_of_its_own_time() -> None:
    tally = Tally()
    arrivals = [view("0", START_MS), grant(True, START_MS + 1), view("1", START_MS + 2), grant(False, START_MS + 3),
                view("2", START_MS + 4)]
    assert values(arrivals, START_MS + HOUR_MS, tally)["views", "shop/ann", ""] == 1
    assert tally.left_out == 2


def test_who_did_nothing_has_nought_and_unknown_values() -> None:
    found = values([grant(True, START_MS)], START_MS + 1)
    assert found["views", "shop/ann", ""] == 0 and found["last_item", "shop/ann", ""] is None
    assert not [name for name, _, _ in found if name in ("item_views", "ctr")]


def test_a_ratio_per_item_is_nought_where_only_the_second_happened() -> None:
    assert values([grant(True, START_MS), view("1", START_MS + 1)], START_MS + 2)["ctr", "shop/ann", "tent"] == 0.0

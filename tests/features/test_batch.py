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


def did(kind: FeedbackKind, at_ms: int, value: float | None = None, item: str = "tent", **properties: Any) -> Arrival:
    name = f"{kind}-{at_ms}-{item}"
    return Arrival("shop/ann", at_ms, FeedbackEvent(
        name, "shop/ann", kind, at_ms, str(kind), item, "d", value=value, properties=properties))


def one(feature: dict[str, Any], as_of_ms: int, *arrivals: Arrival, others: dict[str, Any] | None = None) -> Any:
    """The value of one feature of Ann, who agreed from the first and lives in UTC."""
    said = [grant(True, 1), *sorted(arrivals, key=lambda arrival: arrival.received_ms)]
    live = shop((others or {}) | {"it": feature})
    [found] = [row["value"] for part in computed(said, live, as_of_ms, Tally()) for row in part["it"].to_pylist()]
    return found


HOUR = START_MS - START_MS % HOUR_MS
DAY = START_MS - START_MS % DAY_MS


def test_the_oldest_tile_of_a_rolling_window_counts_as_a_whole() -> None:
    count = {"count": {"event": "view"}, "window": "7d"}
    as_of_ms = HOUR + 7 * DAY_MS + HOUR_MS // 2
    at = [HOUR - 1, HOUR, HOUR + HOUR_MS // 4, HOUR + HOUR_MS]
    assert [one(count, as_of_ms, view("v", at_ms)) for at_ms in at] == [0, 1, 1, 1]


def test_a_short_window_has_its_exact_edge() -> None:
    count = {"count": {"event": "view"}, "window": "1h"}
    assert [one(count, START_MS + HOUR_MS, view("v", START_MS + ms)) for ms in (-1, 0, 1)] == [0, 0, 1]


def test_a_calendar_period_ends_at_midnight_and_starts_anew() -> None:
    spent = {"sum": "event.value", "of": {"event": "conversion"}, "window": {"calendar": "day"}}
    before, after = (did(FeedbackKind.CONVERSION, DAY + ms, 2.5) for ms in (-1, 0))
    assert one(spent, DAY + HOUR_MS, before, after) == 2.5
    assert one(spent, DAY - 1, before) == 2.5 and one(spent, DAY + DAY_MS, before, after) == 0.0


def test_a_session_reaches_back_to_a_pause_as_long_as_its_gap() -> None:
    pages = {"count": {"event": "view"}, "window": {"session": "30m"}}
    gap = 30 * 60_000
    for pause, said in ((gap - 1, 2), (gap, 1)):
        arrivals = [view("1", START_MS), view("2", START_MS + pause)]
        assert one(pages, START_MS + pause + 1, *arrivals) == said
    assert [one(pages, START_MS + ms, view("1", START_MS)) for ms in (gap - 1, gap)] == [1, 0]
    two_pauses = [view(str(n), START_MS + 2 * gap * n) for n in range(3)]
    assert one(pages, START_MS + 4 * gap + 1, *two_pauses) == 1


def test_a_session_reaches_back_for_a_day_at_most() -> None:
    pages = {"count": {"event": "view"}, "window": "session", "keep": 100}
    twenty = 20 * 60_000
    looked = [view(str(n), START_MS + twenty * n) for n in range(80)]
    assert one(pages, START_MS + 79 * twenty, *looked) == DAY_MS // twenty


def test_a_ratio_is_known_from_its_least_on() -> None:
    parts = {name: {"count": {"event": name}} for name in ("click", "view")}
    ratio = {"ratio": ["click", "view"], "least": 2}
    events = [did(FeedbackKind.CLICK, START_MS), view("1", START_MS), view("2", START_MS + 1)]
    assert one(ratio, START_MS + 9, *events, others=parts) == 0.5
    assert one(ratio, START_MS + 9, *events[:2], others=parts) is None


def test_what_is_as_frequent_or_as_old_is_settled_by_its_name() -> None:
    kinds = {"event": ["view", "click"]}
    looked = [view("1", START_MS, item="tent"), view("2", START_MS, item="boots"), view("3", START_MS, item="map")]
    assert one({"top": "event.item", "most": 2, "of": kinds}, START_MS + 1, *looked) == ["boots", "map"]
    assert one({"recent": "event.item", "keep": 2, "of": kinds}, START_MS + 1, *looked) == ["tent", "map"]
    assert one({"last": "event.item", "of": kinds}, START_MS + 1, *looked) == "tent"
    assert one({"first": "event.item", "of": kinds}, START_MS + 1, *looked) == "boots"


def test_different_values_count_once_and_recency_is_of_the_newest() -> None:
    looked = [view("1", START_MS), view("2", START_MS + 5), view("3", START_MS + 7, item="map")]
    views = {"event": "view"}
    assert one({"distinct": "event.item", "of": views}, START_MS + 9, *looked) == 2
    found = one({"recency": views}, START_MS + 9, *looked)
    assert (found.total_seconds() * 1_000 if hasattr(found, "total_seconds") else found) == 2


def test_an_event_counts_never_ahead_of_its_arrival() -> None:
    ahead = view("1", START_MS + DAY_MS, START_MS)
    assert one({"recency": {"event": "view"}}, START_MS + 5, ahead) == 5


def test_the_same_id_of_two_people_is_two_events() -> None:
    arrivals = [grant(True, START_MS), view("1", START_MS + 1), grant(True, START_MS, "shop/bob"),
                view("1", START_MS + 1, who="shop/bob")]
    found = values(arrivals, START_MS + 2)
    assert [found["views", who, ""] for who in ("shop/ann", "shop/bob")] == [1, 1]

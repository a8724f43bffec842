"""Every kind of feature over every kind of window, case by case and against a naive loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.decide.decision import decide
from pipeline.core.decide.live import read_by
from pipeline.core.features import sketch
from pipeline.core.features.kept import decoded
from pipeline.core.features.taking import folded
from pipeline.core.identity import merge, undo
from pipeline.core.model.features import DISTINCT_EXACT_MAX, FEATURES_BYTES_MAX, REGISTERS
from pipeline.core.model.problems import DefinitionError
from pipeline.core.rules import segments
from pipeline.core.rules.rule import as_json
from pipeline.core.sections.section import changed
from pipeline.core.subject import SEGMENTS_TIMER, Person
from tests.core.build import agreed, asked, joined, made
from tests.features.million import EVENTS_PER_PERSON, events
from tests.features.world import DAY_MS, HOUR_MS, START_MS, differences, heard, reader, shop, somebody
from tests.support.feature_oracle import Raw

CASES = json.loads((Path(__file__).parents[1] / "features" / "cases.json").read_text("utf-8"))
SHOP = shop()


def after(*raws: Raw, live: Any = SHOP, person: Person | None = None) -> Person:
    """Somebody once these events arrived, in this order."""
    own = person or somebody("shop/a")
    for raw in raws:
        own = heard(own, raw, live)
    return own


def event(number: int, ago_ms: int, kind: str = "view", late_ms: int = 0, **more: Any) -> Raw:
    """An event some time before START_MS, heard of then or later."""
    at_ms = START_MS - ago_ms
    return Raw(f"e{number}", "shop/a", kind, at_ms, at_ms + late_ms, **more)


def said(value: Any) -> Any:
    """A value as the cases write it."""
    return None if value is None else list(value) if isinstance(value, tuple) else json.loads(as_json(value))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["says"])
def test_feature(case: dict[str, Any]) -> None:
    live = shop(case["features"])
    raws = [event(number, round(hours * HOUR_MS), kind, **more)
            for number, (hours, kind, more) in enumerate(case["events"])]
    person = after(*raws, live=live)
    reading = reader(person, live, START_MS)
    for name, expected in case["values"].items():
        feature, _, key = name.partition("@")
        assert said(reading.value(live.policy.features_by_id[feature], key)) == expected, name


@given(st.randoms(use_true_random=False), st.integers(0, 3 * DAY_MS))
@settings(max_examples=25, deadline=None)
def test_whatever_the_order_the_engine_says_what_a_naive_loop_says(chance: Any, later_ms: int) -> None:
    flow = sorted(events(chance, "shop/a", EVENTS_PER_PERSON // 2), key=lambda raw: raw.received_ms)
    person = after(*flow)
    assert differences(person, SHOP, tuple(flow), flow[-1].received_ms + later_ms) == []


@given(st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_a_merge_adds_up_and_undone_takes_out_exactly_what_it_brought(chance: Any) -> None:
    mine, theirs = ([*events(chance, name, 15)] for name in ("shop/a", "shop/b"))
    own, other = after(*mine), after(*theirs, person=somebody("shop/b"))
    now_ms = max(raw.received_ms for raw in (*mine, *theirs))
    whole = merge.merged(own, other, "e", now_ms)
    assert differences(whole, SHOP, (*mine, *theirs), now_ms) == []
    since = [Raw("since", "shop/a", "view", now_ms, now_ms + 1, "tent", tags=("camping",))]
    back = undo.without(heard(whole, since[0], SHOP), other, now_ms + 1, "b")
    assert differences(back, SHOP, (*mine, *since), now_ms + 1) == []


def test_once_a_merge_can_be_undone_no_longer_its_part_is_kept_together() -> None:
    own, other = after(event(1, HOUR_MS)), after(event(2, HOUR_MS), person=somebody("shop/b"))
    whole = merge.merged(own, other, "e", START_MS)
    assert any("|" in name for name in whole.features)
    undo_ms = SHOP.policy.identity.undo_ms
    kept = folded(whole.features, SHOP.policy, whole.merged, START_MS + undo_ms - 1)
    assert kept == whole.features
    kept = folded(whole.features, SHOP.policy, whole.merged, START_MS + undo_ms)
    assert not any("|" in name for name in kept)
    later = changed(whole, features=kept)
    assert reader(later, SHOP, START_MS).value(SHOP.policy.features_by_id["views_ever"]) == 2


def test_two_merges_of_one_profile_and_of_whole_families_lose_nothing() -> None:
    a, b, c = (after(event(number, HOUR_MS), person=somebody(f"shop/{name}")) for number, name in enumerate("abc"))
    both = merge.merged(b, c, "e1", START_MS)
    everyone = merge.merged(a, both, "e2", START_MS)
    views = SHOP.policy.features_by_id["views_ever"]
    assert reader(everyone, SHOP, START_MS).value(views) == 3
    assert reader(undo.without(everyone, c, START_MS, "c"), SHOP, START_MS).value(views) == 2
    assert reader(undo.without(everyone, both, START_MS, "b"), SHOP, START_MS).value(views) == 1
    again = merge.merged(everyone, after(event(9, HOUR_MS), person=somebody("shop/b")), "e3", START_MS)
    assert reader(again, SHOP, START_MS).value(views) == 4


def test_a_state_that_comes_home_is_whole_again() -> None:
    own, since = after(event(1, HOUR_MS)), after(event(2, HOUR_MS))
    home = merge.merged(since, own)
    assert reader(home, SHOP, START_MS).value(SHOP.policy.features_by_id["views_ever"]) == 2


def test_past_its_moments_a_count_is_unknown_but_for_the_least_that_it_is() -> None:
    live = made({"features": {"views": {"count": {"event": "view"}, "window": "1h", "keep": 3}}})
    person = after(*(event(number, 10_000 - number, item="x") for number in range(5)), live=live)
    views = live.policy.features_by_id["views"]
    assert reader(person, live, START_MS).value(views) is None
    assert reader(person, live, START_MS).least(views) == 3
    # Once those without room have left the window, it is known again.
    assert reader(person, live, START_MS - 10_000 + HOUR_MS + 1).value(views) == 3


def test_an_item_that_made_room_is_unknown_and_never_nought() -> None:
    live = made({"features": {"seen": {"count": {"event": "view"}, "per": "item", "keys": 2}}})
    person = after(*(event(number, 10_000 - number, item=name) for number, name in enumerate("abc")), live=live)
    seen = live.policy.features_by_id["seen"]
    values = [reader(person, live, START_MS).value(seen, name) for name in "abc"]
    assert values[:2] == [None, 1]


def test_many_values_are_estimated_within_the_stated_error() -> None:
    registers: sketch.Sketch = {}
    for number in range(10_000):
        sketch.seen(registers, sketch.hashed(f"v{number}"), number)
    assert len(registers) == REGISTERS
    for start, expected in ((0, 10_000), (5_000, 5_000), (9_900, 100)):
        assert abs(sketch.estimate(registers, start) - expected) <= 3 * 0.092 * expected


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 99)), max_size=60))
def test_an_estimate_does_not_depend_on_the_order_nor_on_who_heard_what(seen: list[tuple[int, int]]) -> None:
    one: sketch.Sketch = {}
    other: sketch.Sketch = {}
    everything: sketch.Sketch = {}
    for place, (value, at_ms) in enumerate(seen):
        sketch.seen(everything, sketch.hashed(value), at_ms)
        sketch.seen(one if place % 2 else other, sketch.hashed(value), at_ms)
    assert sketch.united(one, other) == sketch.united(other, one) == everything


def test_past_its_bound_distinct_is_an_estimate_of_all_there_were() -> None:
    live = made({"attributes": {"event": {"word": "string"}},
                 "features": {"words": {"distinct": "event.properties.word", "window": "30d"}}})
    words = DISTINCT_EXACT_MAX * 4
    person = after(*(event(number, 5_000 - number, properties={"word": f"w{number}"}) for number in range(words)),
                   live=live)
    found = reader(person, live, START_MS).value(live.policy.features_by_id["words"])
    assert found != words and abs(found - words) <= 3 * 0.092 * words


def test_an_event_whose_condition_is_unknown_does_not_count_and_is_noted() -> None:
    raws = [event(1, 9, "conversion", value=1.0, properties={"amount": 99.0}), event(2, 8, "conversion", value=1.0),
            event(3, 7, "conversion", value=1.0, properties={"amount": "no number"})]
    person, large = after(*raws), SHOP.policy.features_by_id["large"]
    assert reader(person, SHOP, START_MS).value(large) == 1
    assert decoded(person.features[large.key]).unknown == 2


@pytest.mark.parametrize(("heard_ago_ms", "known"), [(2 * HOUR_MS, False), (30 * 60_000, True)])
def test_a_new_feature_on_somebody_old_is_unknown_as_far_as_it_was_not_counted(heard_ago_ms: int, known: bool) -> None:
    since = "2026-09-21T13:13:20Z"  # START_MS less an hour
    live = shop({"ever": {"count": {"event": "view"}, "since": since},
                 "hour": {"count": {"event": "view"}, "window": "59m", "since": since},
                 "last": {"last": "event.at", "of": {"event": "view"}, "since": since}})
    person = changed(after(event(1, 1_000), live=live), heard_ms=START_MS - heard_ago_ms)
    reading = reader(person, live, START_MS)
    assert reading.value(live.policy.features_by_id["ever"]) == (1 if known else None)
    assert reading.least(live.policy.features_by_id["ever"]) == 1
    assert reading.value(live.policy.features_by_id["hour"]) == 1
    assert reading.value(live.policy.features_by_id["last"]) is not None


def test_time_alone_moves_a_segment_when_a_tile_leaves_the_window() -> None:
    live = made({"features": {"views": {"count": {"event": "view"}, "window": "7d"}},
                 "segments": {"keen": {"rule": "features.views >= 1"}}})
    person = after(event(1, 0), live=live)
    assert "keen" in person.segments
    due_ms = START_MS // HOUR_MS * HOUR_MS + HOUR_MS + 7 * DAY_MS - 1
    now_ms = START_MS
    while "keen" in person.segments:
        now_ms = person.timers[SEGMENTS_TIMER]
        person, _ = segments.refresh(person, live.policy, now_ms)
    assert now_ms == due_ms


def test_rules_read_what_somebody_did_about_the_candidate_and_its_tags() -> None:
    live = made({"features": {"seen": {"count": {"event": "view"}, "per": "item"},
                              "liked": {"decayed": 1.0, "of": {"event": "view"}, "half_life": "3d", "per": "tag"},
                              "again": {"recent": "event.item", "of": {"event": "view"}}},
                 "rankings": {"by_interest": {"formula": "candidate.features.liked"}},
                 "placements": {"hero": {"ranking": "by_interest"}}},
                {"boots": {"tags": ["shoes"], "eligibility": "candidate.features.seen < 2"},
                 "socks": {"tags": ["shoes"], "eligibility": "!(candidate.id in features.again)"},
                 "map": {"priority": 9}})
    person = after(event(1, 9, item="boots"), live=live)
    result = decide(asked(), person, live, START_MS)
    assert result.decisions[0].item_id in ("boots", "socks") and result.decisions[0].score > 0.9
    person = after(event(1, 9, item="boots"), event(2, 8, item="boots"), event(3, 7, item="socks"), live=live)
    result = decide(asked(), person, live, START_MS)
    assert result.decisions[0].item_id == "map"
    assert {one.item_id: one.outcome for one in result.candidates}["boots"] == "not_eligible"


def test_what_is_sensitive_decides_and_is_shown_to_nobody() -> None:
    policy = {"attributes": {"profile": {"risk": {"type": "double", "sensitivity": "risk"},
                                         "tier": {"type": "string", "default": "free"}}},
              "features": {"refused": {"count": {"event": "dismissal"}, "sensitivity": "compliance"}}}
    live = made(policy, {"x": {"eligibility": "features.refused < 1 && profile.risk < 0.5"}})
    person = after(event(1, 9, "dismissal"), live=live, person=agreed(Person(profile_id="shop/a")))
    [audit] = decide(asked(), person, live, START_MS).candidates
    assert (audit.outcome, audit.values) == ("not_eligible", {"features.refused": '"hidden (compliance)"'})
    measured = made(joined(policy, {"outcomes": {"click": {"event": {"event": "click"}, "window": "1d"}}}),
                    {"x": {"eligibility": "features.refused < 9 && profile.risk < 2.0 && profile.tier != 'none'"}})
    told = decide(asked(), person, measured, START_MS).facts
    assert "profile.tier" in told and not told.keys() & {"features.refused", "profile.risk"}
    for more, items in (({"rankings": {"r": {"formula": "profile.risk"}}}, {}),
                        ({"rankings": {"r": {"model": {"coefficients": {"profile.risk": 1.0}}}}}, {}),
                        ({}, {"x": {"variants": {"v": {"content": {"title": "{{ profile.risk }}"}}}}})):
        with pytest.raises(DefinitionError, match=r"sensitive \(risk\)"):
            made(joined(policy, more), items)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"a": {"sum": "event.name"}}, "event.name is a string, sum takes int or double"),
    ({"a": {"sum": "event.worth"}}, "there is no fact of an event 'event.worth'"),
    ({"a": {"last": "event.name", "window": "session"}}, "last does not count by session"),
    ({"a": {"first": "event.name", "window": "7d"}}, "first does not look back over a rolling window"),
    ({"a": {"rate": {"event": "view"}}}, "a rate needs a window"),
    ({"a": {"decayed": 1.0, "half_life": "1d", "window": "7d"}}, "what decays has a half_life and no window"),
    ({"a": {"last": "event.name", "per": "tag"}}, "last of several tags cannot be added up"),
    ({"a": {"ratio": ["b", "b"]}}, "there is no feature 'b'"),
    ({"a": {"count": {}, "where": "profile.age > 3"}}, "'profile.age' is not declared"),
    ({"a": {"count": {}}, "b": {"ratio": ["a", "a"], "per": "item"}}, "a is per subject, the ratio per item"),
    ({"a": {"count": {}, "sensitivity": "risk"}, "b": {"ratio": ["a", "a"]}}, "what is made of it is too"),
    ({"propensity": {"count": {}}}, "features.propensity is declared twice"),
    ({"a": {"count": {}, "per": "item", "window": "365d", "keys": 200}}, "bytes, more than 131,072"),
]


@pytest.mark.parametrize(("features", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_cannot_be_counted_is_a_finding(features: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError) as error:
        made({"features": features})
    assert words in str(error.value)


def test_nobody_keeps_more_bytes_than_the_check_says() -> None:
    live = shop()
    person = somebody("shop/a")
    for number in range(400):
        at_ms = START_MS + number * 5 * HOUR_MS
        kind = ("view", "click", "page", "conversion")[number % 4]
        person = heard(person, Raw(f"e{number}", "shop/a", kind, at_ms, at_ms, f"{'ü' * 62}{number}", 1e9 / 3,
                                   {"category": f"{'ü' * 62}{number}", "amount": 99.0}), live)
    for feature in live.policy.features:
        kept = person.features.get(feature.key)
        assert kept is None or len(feature.key) + len(kept) <= feature.bytes_max, feature.id
    assert sum(map(len, person.features.values())) <= FEATURES_BYTES_MAX


def test_deciding_over_what_was_read_of_the_features_gives_the_same_and_holds_no_other() -> None:
    live = made({"features": {"views": {"count": {"event": "view"}}, "clicks": {"count": {"event": "click"}},
                              "ctr": {"ratio": ["clicks", "views"]}, "pages": {"count": {"event": "page"}},
                              "seen": {"count": {"event": "view"}, "per": "item"}}},
                {"x": {"eligibility": "features.ctr > 0.4 && candidate.features.seen == 2"}})
    one = after(event(1, 9, item="x"), event(2, 8, "page"), live=live)
    other = after(event(3, 9, item="x"), event(4, 8, "click"), live=live, person=somebody("shop/b"))
    whole, _ = segments.refresh(merge.merged(one, other, "e", START_MS), live.policy, START_MS)
    read = read_by(whole, asked(), live, START_MS, None)
    told = decide(asked(), whole, live, START_MS)
    assert told.decisions[0].item_id == "x"
    assert decide(asked(), read, live, START_MS).candidates == told.candidates
    assert {name.partition("#")[0] for name in read.features} == {"views", "clicks", "seen"}
    assert not any("shop" in name for name in read.features)

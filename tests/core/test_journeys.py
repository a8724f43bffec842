"""Journeys, whatever happens in whatever order: one stage at a time, no time-out missed, repeats without effect."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import learn
from pipeline.core.decide.live import Live
from pipeline.core.identity import merge, undo
from pipeline.core.journeys import advance
from pipeline.core.journeys.advance import Move
from pipeline.core.journeys.succession import Displaced, displaced
from pipeline.core.model.problems import DefinitionError
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.core.sections.journeys import Position, further
from pipeline.core.sections.section import changed
from pipeline.core.subject import JOURNEYS_TIMER, Person

from .build import SUBJECT, agreed, made

NOW = 1_800_000_000_000
HOUR = 3_600_000
JOURNEYS: dict[str, Any] = {
    "trial": {
        "enter": {"event": "track", "name": "Go"},
        "stages": {
            "new": {"next": {"keen": {"event": "page"}, "cold": {"after": "2h"}}},
            "keen": {"next": {"bought": {"event": "conversion"}, "cold": {"after": "5h"}}},
            "cold": {"next": {"keen": {"event": "page"}, "new": {"segment": "fans"}}},
            "bought": {"goal": True},
        },
        "exit": {"rule": "profile.member"}, "timeout": "9h", "re_entry": "after 3h",
    },
    "fan": {"enter": {"segment": "fans"}, "re_entry": "always",
            "stages": {"fresh": {"next": {"done": {"event": "click"}}}, "done": {"goal": True}}},
}
SEGMENTS = {"fans": {"rule": "signals.pages >= 2"}}
SIGNALS = {"pages": {"count": {"event": "page"}, "within": "4h"}}
LIVE = made({"signals": SIGNALS, "segments": SEGMENTS, "journeys": JOURNEYS}, {"a": {}})
PLACES = {one.id: one.places for one in LIVE.policy.journeys}

HAPPENS = st.sampled_from(["Go", "page", "click", "conversion"])
STEPS = st.lists(st.tuples(st.integers(0, 3 * HOUR), HAPPENS), min_size=1, max_size=12)


def event(number: int, what: str, at_ms: int) -> FeedbackEvent:
    kind = FeedbackKind.TRACK if what == "Go" else FeedbackKind(what)
    return FeedbackEvent(f"e{number}", SUBJECT, kind, at_ms, name=what, item_id=None if what in ("Go", "page") else "a")


def taken(profile: Person, one: FeedbackEvent, now_ms: int, live: Live = LIVE) -> tuple[Person, list[Move]]:
    learnt = learn.feedback(profile, one, live, now_ms)
    assert learnt is not None
    return learnt[0], [move for move in learnt[1] if isinstance(move, Move)]


def looked(profile: Person, until_ms: int) -> tuple[Person, list[tuple[int, Move]]]:
    """Every look that has become due by then, each at its moment."""
    moves: list[tuple[int, Move]] = []
    while (due_ms := min(profile.timers.values(), default=until_ms + 1)) <= until_ms:
        after, changes = advance.refresh(profile, LIVE.policy, due_ms)
        assert min(after.timers.values(), default=until_ms + 1) > due_ms, "a look that is due again at once never ends"
        profile, moves = after, moves + [(due_ms, move) for move in changes if isinstance(move, Move)]
    return profile, moves


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_moves_lead_from_stage_to_stage_and_no_time_out_is_passed(steps: list[tuple[int, str]]) -> None:
    profile, now_ms, at = agreed(), NOW, dict.fromkeys(PLACES, "")
    for number, (pause_ms, what) in enumerate(steps):
        now_ms += pause_ms
        profile, timely = looked(profile, now_ms)
        profile, moves = taken(profile, event(number, what, now_ms), now_ms)
        for move in (*(one for _, one in timely), *moves):
            assert move.was == at[move.journey], "a move begins where the last one ended"
            at[move.journey] = move.to
        assert sum(one.how == "event" for one in moves if one.journey == "trial") <= 1
        for name, position in profile.journeys.items():
            assert position.stage == at[name]
            assert position.stage == "" or position.place == PLACES[name][position.stage]
        trial = profile.journeys.get("trial")
        if trial is not None and not trial.ended:
            assert now_ms - trial.started_ms < 9 * HOUR
            assert now_ms - trial.since_ms < {"new": 2, "keen": 5, "cold": 9}[trial.stage] * HOUR


@given(STEPS, st.integers(0, 11))
@settings(max_examples=40, deadline=None)
def test_a_look_twice_at_one_moment_changes_nothing(steps: list[tuple[int, str]], extra: int) -> None:
    profile, now_ms = agreed(), NOW
    for number, (pause_ms, what) in enumerate(steps):
        now_ms += pause_ms
        profile, _ = taken(profile, event(number, what, now_ms), now_ms)
        again, changes = advance.refresh(profile, LIVE.policy, now_ms, None)
        assert (again.journeys, [one for one in changes if isinstance(one, Move)]) == (profile.journeys, [])


POSITIONS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.builds(
    Position, st.sampled_from(["", "x", "y"]), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2),
    st.integers(1, 2), st.sampled_from(["", "goal", "exit"]), st.integers(0, 2)), max_size=3)


@given(POSITIONS, POSITIONS, POSITIONS)
@settings(max_examples=100, deadline=None)
def test_merges_commute_and_an_undone_one_leaves_what_was_there(
    own: dict[str, Position], other: dict[str, Position], third: dict[str, Position]
) -> None:
    one, two = Person(profile_id="shop/one", journeys=own), Person(profile_id="shop/two", journeys=other)
    both = merge.merged(one, two, "e", 5)
    assert both.journeys == merge.merged(two, one, "e", 5).journeys
    more = Person(profile_id="shop/three", journeys=third)
    assert merge.merged(both, more).journeys == merge.merged(one, merge.merged(two, more)).journeys
    assert undo.without(both, two, 9, "two").journeys == own


@pytest.mark.parametrize(("wins", "loses"), [
    (Position("b", place=1, started_ms=5), Position("a", place=0, started_ms=1)),
    (Position("a", place=1, started_ms=1), Position("a", place=1, started_ms=5)),
    (Position("a", place=0, started_ms=5), Position("", place=2, started_ms=1, ended="exit")),
    (Position("c", place=2, ended="goal"), Position("d", place=3)),
])
def test_of_two_positions_the_one_further_on_wins(wins: Position, loses: Position) -> None:
    assert further(wins, loses) is wins and further(loses, wins) is wins


def test_a_time_out_that_is_noticed_late_is_made_then_and_skips_no_stage() -> None:
    profile, _ = taken(agreed(), event(1, "Go", NOW), NOW)
    assert profile.timers[JOURNEYS_TIMER] == NOW + 2 * HOUR
    late = NOW + 7 * HOUR
    after, moves = advance.refresh(profile, LIVE.policy, late)
    assert [(one.was, one.to, one.how, one.since_ms) for one in moves if isinstance(one, Move)] == [
        ("new", "cold", "after", NOW)]
    assert after.journeys["trial"].since_ms == late


def test_what_moved_since_a_merge_stays_when_it_is_undone() -> None:
    own = agreed(Person(profile_id=SUBJECT))
    given_, _ = taken(agreed(Person(profile_id="shop/given")), event(1, "Go", NOW), NOW)
    whole = merge.merged(own, given_, "e", NOW)
    moved, _ = taken(changed(whole, segments_release=""), event(2, "page", NOW + 1), NOW + 1)
    assert moved.journeys["trial"].stage == "keen"
    assert undo.without(moved, given_, NOW + 2, "given").journeys["trial"].stage == "keen"


def test_a_new_release_says_which_stages_are_gone_and_where_their_people_go() -> None:
    def release(stages: list[str], **more: Any) -> Live:
        chain = {name: {"next": {after: {"event": "page"}}} for name, after in pairwise(stages)}
        return made({"journeys": {"j": {"enter": {"event": "page"},
                                        "stages": {**chain, stages[-1]: {"goal": True}}, **more}}})

    old = release(["a", "b", "c"]).policy
    assert displaced(old, old) == ()
    assert displaced(old, release(["a", "c"]).policy) == (Displaced("j", "b", "", False),)
    assert displaced(old, release(["a", "c"], gone="leave").policy) == (Displaced("j", "b", "", True),)
    assert displaced(old, release(["a", "c"], was={"b": "a"}).policy) == (Displaced("j", "b", "a", True),)
    assert displaced(old, made().policy) == tuple(Displaced("j", name, "", False) for name in "abc")


@pytest.mark.parametrize(("journey", "said"), [
    ({"stages": {"a": {"next": {"x": {"event": "page"}}}}}, "there is no stage of j 'x'"),
    ({"stages": {"a": {"next": {"b": {"event": "page"}}}, "b": {}}}, "nothing leads out of 'b', and it is no goal"),
    ({"stages": {"a": {"goal": True}, "b": {"goal": True}}}, "nothing leads to 'b' from 'a'"),
    ({"stages": {"a": {"goal": True, "next": {"b": {"event": "page"}}}, "b": {"goal": True}}}, "'a' is a goal"),
    ({"stages": {"a": {"next": {"a": {"event": "page"}}}}}, "'a' leads to itself"),
    ({"stages": {"a": {"next": {"b": {"segment": "fans"}}}, "b": {"next": {"a": {"segment": "fans"}}}}},
     "one condition leads round in a circle, in no time: a → b → a"),
    ({"enter": {"segment": "fns"}}, "there is no segment 'fns'"),
    ({"exit": {"rule": "journey.j.stage == 'a'"}}, "'journey.j.stage' may not be read here"),
    ({"enter": {"rule": "profile.member"}, "re_entry": "always"}, "would let them in again at once"),
    ({"was": {"a": "a"}}, "'a' is a stage still"),
    ({"was": {"old": "b"}}, "there is no stage of j 'b'"),
])
def test_what_cannot_be_meant_is_a_finding(journey: dict[str, Any], said: str) -> None:
    base = {"enter": {"event": "page"}, "stages": {"a": {"goal": True}}}
    with pytest.raises(DefinitionError, match=said):
        made({"signals": SIGNALS, "segments": SEGMENTS, "journeys": {"j": {**base, **journey}}})


def test_a_segment_may_not_read_a_journey_and_an_attribute_may_not_have_its_name() -> None:
    with pytest.raises(DefinitionError, match="journeys follow segments"):
        made({"segments": {"s": {"rule": "journey.trial.reached_goal"}, **SEGMENTS}, "signals": SIGNALS,
              "journeys": JOURNEYS})
    with pytest.raises(DefinitionError, match=r"the attribute journey\.step has this name too"):
        made({"journeys": {"step": {"enter": {"event": "page"}, "stages": {"a": {"goal": True}}}}})


def test_more_journeys_or_stages_than_the_bound_are_a_finding() -> None:
    one = {"enter": {"event": "page"}, "stages": {"a": {"goal": True}}}
    with pytest.raises(DefinitionError, match="there are 33 journeys, at most 32 can be"):
        made({"journeys": {f"j{number}": one for number in range(33)}})
    chain = {f"s{number}": {"next": {f"s{number + 1}": {"event": "page"}}} for number in range(32)}
    with pytest.raises(ValueError, match="at most 32"):
        made({"journeys": {"j": {"enter": {"event": "page"}, "stages": {**chain, "s32": {"goal": True}}}}})


def test_no_time_out_of_a_stage_is_shorter_than_a_minute() -> None:
    with pytest.raises(ValueError, match="`after` is at least 1m"):
        made({"journeys": {"j": {"enter": {"event": "page"}, "stages": {
            "a": {"next": {"b": {"after": "59s"}}}, "b": {"goal": True}}}}})

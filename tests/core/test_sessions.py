"""Caps per session: once per session means once, whatever comes late, comes together or is heard of twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import learn
from pipeline.core.decide.decision import DecisionResult, decide
from pipeline.core.identity.merge import merged
from pipeline.core.identity.undo import returned
from pipeline.core.model.problems import DefinitionError
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.core.sections import sessions
from pipeline.core.sections.sessions import GAP_MS, Session, merged_sessions
from pipeline.core.subject import Person

from .build import SUBJECT, agreed, asked, made

NOW = 1_800_000_000_000
MINUTE = 60_000
CHANNELS = {"web": {"session": "30m"}, "app": {"purposes": ["personalization"], "session": "10m"}}
PLACES = {"hero": {"channels": ["web", "app", "email"]}}


def policy(**cap: Any) -> dict[str, Any]:
    return {"channels": CHANNELS, "placements": PLACES, "caps": {"visit": {"count": "decision", **cap}}}


def shown(result: DecisionResult) -> bool:
    return not result.fallback


def event(kind: FeedbackKind, at_ms: int, channel: str | None, **more: Any) -> FeedbackEvent:
    return FeedbackEvent(f"{kind}-{at_ms}-{channel}", SUBJECT, kind, at_ms, channel=channel, **more)


_steps = st.lists(st.tuples(
    st.sampled_from(["asks", "looks"]), st.sampled_from(["web", "app"]),
    st.sampled_from([0, 1, 9, 10, 11, 29, 30, 31, 300])), max_size=40)


@given(_steps, st.integers(1, 3), st.sampled_from(["item", "all", "session", "placement", "channel"]))
def test_no_session_shows_more_than_its_cap_and_every_new_one_shows_again(
    steps: list[tuple[str, str, int]], limit: int, per: str
) -> None:
    window = {} if per == "session" else {"window": "session"}
    live = made(policy(per=per, limit=limit, **window), {"a": {}})
    profile, now_ms = agreed(), NOW
    last: dict[str, int] = {}
    begun: dict[str, int] = {}
    count: dict[str, int] = {}
    for number, (step, channel, minutes) in enumerate(steps):
        now_ms += minutes * MINUTE
        pause = 30 if channel == "web" else 10
        if channel not in last or now_ms - last[channel] >= pause * MINUTE or now_ms - begun[channel] >= 86_400_000:
            begun[channel], count[channel] = now_ms, 0
        last[channel] = now_ms
        if step == "looks":
            learnt = learn.feedback(profile, event(FeedbackKind.TRACK, now_ms, channel, name="page"), live, now_ms)
            assert learnt is not None
            profile = learnt[0]
            continue
        result = decide(asked(f"r{number}", channel=channel), profile, live, now_ms)
        assert result.profile is not None
        profile = result.profile
        assert shown(result) == (count[channel] < limit)
        count[channel] += shown(result)


@pytest.mark.parametrize(("heard_of", "capped"), [("soon", True), ("with a slow clock", True), ("never", False)])
def test_an_impression_counts_in_the_session_in_which_it_was_decided(heard_of: str, capped: bool) -> None:
    live = made(policy(count="impression", per="item", limit=1, window="session"), {"a": {}})
    result = decide(asked("one"), agreed(), live, NOW)
    assert result.profile is not None and shown(result)
    profile, now_ms = result.profile, NOW + 6 * MINUTE
    if heard_of != "never":
        seen_ms = NOW + 1_000 if heard_of == "soon" else NOW - 300 * MINUTE
        learnt = learn.feedback(profile, event(FeedbackKind.VIEW, seen_ms, None, item_id="a",
                                               decision_id=result.decision_id), live, NOW + 2_000)
        assert learnt is not None
        profile = learnt[0]
    again = decide(asked("two"), profile, live, now_ms)
    assert shown(again) is not capped
    later = decide(asked("three"), again.profile or profile, live, now_ms + 30 * MINUTE)
    assert shown(later)


def test_a_capped_audit_says_when_the_session_may_end() -> None:
    live = made(policy(per="item", limit=1, window="session"), {"a": {}})
    one = decide(asked("one", channel="app"), agreed(), live, NOW)
    two = decide(asked("two", channel="app"), one.profile, live, NOW + MINUTE)
    (stop,) = [audit for audit in two.candidates if audit.outcome == "capped"]
    assert stop.clause == "at most 1 decision per item in a session"
    assert stop.values["free_at_ms"] == str(NOW + 11 * MINUTE)


def test_an_event_whose_channel_nobody_knows_counts_in_every_visit() -> None:
    live = made(policy(count="click", per="item", limit=1, window="session"), {"a": {}})
    profile = agreed()
    for channel in ("web", "app"):
        result = decide(asked(channel, channel=channel), profile, live, NOW)
        assert result.profile is not None and shown(result)
        profile = result.profile
    learnt = learn.feedback(profile, event(FeedbackKind.CLICK, NOW, None, item_id="a"), live, NOW)
    assert learnt is not None
    assert not any(shown(decide(asked(f"{one}2", channel=one), learnt[0], live, NOW)) for one in ("web", "app"))


@given(st.lists(st.integers(0, 29), min_size=1, max_size=12), st.randoms())
def test_the_order_in_which_a_session_is_heard_of_is_nothing(timestamps: list[int], chance: Any) -> None:
    chance.shuffle(timestamps)
    session = None
    for minute in timestamps:
        session = sessions.at(session, minute * MINUTE, GAP_MS)
    assert session == Session(min(timestamps) * MINUTE, max(timestamps) * MINUTE)


def test_an_answer_lasts_no_longer_than_a_session_may() -> None:
    places = {"hero": {**PLACES["hero"], "ttl": "2h"}}
    live = made({**policy(per="item", limit=1, window="session"), "placements": places}, {"a": {}})
    for channel, seconds in (("web", 1_800), ("app", 600)):
        (one,) = decide(asked(channel, channel=channel), agreed(), live, NOW).decisions
        assert one.ttl_s == seconds


def test_a_session_ends_after_a_day_even_without_a_pause() -> None:
    session = None
    for minute in range(0, 24 * 60 + 1, 20):
        session = sessions.at(session, minute * MINUTE, GAP_MS)
    assert session == Session(24 * 60 * MINUTE, 24 * 60 * MINUTE)


@pytest.mark.parametrize(("own", "other", "both"), [
    ((100, 110), (115, 120), (100, 120)),  # one session
    ((100, 110), (105, 107), (100, 110)),
    ((100, 110), (300, 310), (100, 310)),  # in doubt one: a channel may declare a pause as long
    ((100, 110), (400, 410), (400, 410)),
])
def test_profiles_that_become_one_made_one_session_where_that_may_be(
    own: tuple[int, int], other: tuple[int, int], both: tuple[int, int]
) -> None:
    one, two, expected = (Session(start * MINUTE, end * MINUTE) for start, end in (own, other, both))
    assert merged_sessions({"web": one}, {"web": two, "app": two}) == {"web": expected, "app": two}
    assert merged_sessions({"web": two}, {"web": one}) == {"web": expected}


def test_neither_a_merge_nor_its_undoing_ends_a_visit() -> None:
    live = made(policy(per="item", limit=1, window="session"), {"a": {}})
    device = decide(asked("one"), agreed(), live, NOW).profile
    assert device is not None
    whole = merged(agreed(Person(profile_id="shop/user")), device, "login", NOW)
    for number, minute in enumerate((20, 40)):
        result = decide(asked(f"more{number}"), whole, live, NOW + minute * MINUTE)
        assert result.profile is not None and not shown(result)
        whole = result.profile
    alone = returned(device, whole)
    assert not shown(decide(asked("last"), alone, live, NOW + 60 * MINUTE))


@pytest.mark.parametrize(("cap", "said"), [
    ({"per": "session", "limit": 1, "window": "1d"}, "leave the window out"),
    ({"per": "item", "limit": 1, "window": "session", "of": "account"}, "an account has no sessions"),
])
def test_what_has_no_sessions_is_refused(cap: dict[str, Any], said: str) -> None:
    with pytest.raises((DefinitionError, ValueError), match=said):
        made(policy(**cap), {"a": {}})


@pytest.mark.parametrize(("pause", "fits"), [("59s", False), ("1m", True), ("4h", True), ("241m", False)])
def test_a_channels_pause_is_from_a_minute_to_four_hours(pause: str, fits: bool) -> None:
    written = {"channels": {"web": {"session": pause}}}
    if fits:
        assert made(written, {"a": {}}).policy.channels["web"].session_ms
    else:
        with pytest.raises(ValueError, match="from 1m to 4h"):
            made(written, {"a": {}})

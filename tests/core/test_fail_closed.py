"""What is late, unreadable or in doubt never permits: caps, do-not-contact, quiet hours."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import learn
from pipeline.core.decide import caps
from pipeline.core.decide.decision import decide
from pipeline.core.identity.identifiers import IdentifierError, normalised
from pipeline.core.model.definitions import Cap
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.core.model.windows import Rolling
from pipeline.core.rules.cel.functions import EvaluationError, zone
from pipeline.core.sections.section import changed
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person

from .build import SUBJECT, agreed, asked, made

#: A Monday, 12:00 UTC.
NOW_MS = 1_790_596_800_000
DAY_MS = 86_400_000


@given(st.lists(st.integers(0, 400 * DAY_MS), min_size=4, max_size=6))
def test_an_impression_counts_no_earlier_than_its_decision(ages_ms: list[int]) -> None:
    live = made({"caps": {"daily": {"count": "impression", "per": "item", "limit": 3, "window": "1d"}}}, {"a": {}})
    profile, shown = agreed(), 0
    for number, age_ms in enumerate(ages_ms):
        now_ms = NOW_MS + number * 1_000
        result = decide(asked(str(number)), profile, live, now_ms)
        assert result.profile is not None
        profile = result.profile
        if result.fallback:
            continue
        shown += 1
        event = FeedbackEvent(f"v{number}", SUBJECT, FeedbackKind.VIEW, now_ms - age_ms, item_id="a",
                              decision_id=result.decision_id, placement="hero", channel="web")
        learnt = learn.feedback(profile, event, live, now_ms + 1)
        assert learnt is not None
        profile = learnt[0]
    assert shown == 3


@pytest.mark.parametrize(("given_", "reason"), [
    (True, "do_not_contact"), ("yes", "unknown:profile.unsubscribed"), ("true", "unknown:profile.unsubscribed"),
    (1, "unknown:profile.unsubscribed"), (False, "decided"), (None, "decided"),
])
def test_a_default_stands_for_what_is_missing_not_for_what_cannot_be_read(given_: Any, reason: str) -> None:
    live = made({"attributes": {"profile": {"unsubscribed": {"type": "bool", "default": False}}},
                 "channels": {"email": {"do_not_contact": "profile.unsubscribed"}}}, {"a": {}})
    profile = changed(agreed(), traits={"unsubscribed": Trait(given_, 1)})
    assert decide(asked(channel="email"), profile, live, NOW_MS).reason == reason


@pytest.mark.parametrize("attributes", [{"urgent": "no"}, {"urgent": 0}])
def test_nor_does_a_default_of_the_context(attributes: dict[str, Any]) -> None:
    live = made({"attributes": {"context": {"urgent": {"type": "bool", "default": True}}}},
                {"a": {"eligibility": "context.urgent"}})
    assert decide(asked(attributes=attributes), agreed(), live, NOW_MS).reason == "unknown:context.urgent"


@pytest.mark.parametrize("name", ["Asia/Tokio", "asia/tokyo", "GMT+9", "localtime", "../../etc/localtime", "", 9])
def test_quiet_hours_keep_whoever_has_a_zone_that_is_none(name: Any) -> None:
    live = made({"channels": {"email": {"quiet_hours": {"from": "21:00", "to": "08:00"}}}},
                {"a": {}, "b": {"eligibility": "local.hour >= 1 || local.hour < 1"}})
    profile = changed(agreed(), traits={"zone": Trait(name, 1)})
    result = decide(asked(channel="email"), profile, live, NOW_MS)
    assert result.fallback
    assert {one.item_id: one.outcome for one in result.candidates} == {
        "a": "unknown:zone", "b": "unknown:local.hour"}
    if isinstance(name, str):
        with pytest.raises(EvaluationError):
            zone(name)


def test_without_a_zone_it_is_utc() -> None:
    live = made({"channels": {"email": {"quiet_hours": {"from": "21:00", "to": "08:00"}}}}, {"a": {}})
    for traits in ({}, {"zone": Trait(None, 1)}):
        profile = changed(agreed(Person(profile_id=SUBJECT)), traits=traits)
        assert decide(asked(channel="email"), profile, live, NOW_MS).reason == "decided"


def test_a_place_without_its_event_is_given_back() -> None:
    cap = Cap("c", "impression", "item", Rolling(10_000), 1)
    held = caps.reserved(None, caps.holder("d", "i", "hero", "web", 7), until_ms=500, now_ms=7)
    assert caps.used(cap, caps.settled(cap, held, tuple(held.held), 1), 10_006, UTC) == 1
    assert caps.used(cap, caps.settled(cap, held, tuple(held.held), 1), 10_008, UTC) == 0


@pytest.mark.parametrize("address", [
    "mailto:x@example.com", "MAILTO:x@example.com", "a..b@x.de", ".ada@x.de", "ada.@x.de", "ada@-x.de", "ada@x-.de",
    "ada@[127.0.0.1]", "ada@x..de",
])
def test_an_address_that_there_cannot_be_stands_for_nobody(address: str) -> None:
    with pytest.raises(IdentifierError):
        normalised("email", address)


@pytest.mark.parametrize("address", ["ada.l+x@ex-ample.co.uk", "a_b@x.de", "o'neil@x.de", "ada@bücher.de"])
def test_an_address_with_signs_that_may_stand_in_it_is_one(address: str) -> None:
    assert normalised("email", address)

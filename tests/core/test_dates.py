"""Days without a time: the same day wherever somebody lives, and `today` where they live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline.core.decide.decision import decide
from pipeline.core.decide.live import Live
from pipeline.core.model.problems import DefinitionError
from pipeline.core.rules import segments
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import SEGMENTS_TIMER, Person

from .build import SUBJECT, agreed, asked, made

ATTRIBUTES = {"attributes": {"profile": {"renews_on": "date", "born_on": {"type": "date", "default": "1900-01-01"}}}}


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


def offered(live: Live, now_ms: int, **traits: Any) -> bool:
    known = {name: Trait(value) for name, value in traits.items()}
    return not decide(asked(), agreed(Person(profile_id=SUBJECT, traits=known)), live, now_ms).fallback


def rule(text: str) -> Live:
    return made(ATTRIBUTES, {"a": {"eligibility": text}})


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "UTC", "America/Los_Angeles", "Europe/Berlin"])
@pytest.mark.parametrize(("text", "is_so"), [
    ("daysSince(profile.renews_on) == 0", True), ("daysSince(profile.renews_on) == 1", False),
    ("profile.renews_on == today", True), ("profile.renews_on < today", False),
    ("profile.renews_on > date('2026-06-14')", True), ("profile.renews_on.getDayOfWeek() == 1", True),
    ("profile.renews_on.getMonth() == today.getMonth()", True), ("string(profile.renews_on) == '2026-06-15'", True),
    ("string(profile.renews_on) == local.date", True),
    ("profile.born_on < date('1950-01-01')", True),
])
def test_a_day_is_the_same_day_everywhere(zone: str, text: str, is_so: bool) -> None:
    noon = datetime.fromisoformat("2026-06-15T12:00:00").replace(tzinfo=ZoneInfo(zone))
    assert offered(rule(text), int(noon.timestamp() * 1_000), renews_on="2026-06-15", zone=zone) is is_so


def test_today_begins_at_midnight_where_somebody_lives() -> None:
    live = rule("profile.renews_on == today")
    night = at("2026-06-15T23:30:00")
    assert not offered(live, night, renews_on="2026-06-16")
    assert offered(live, night, renews_on="2026-06-16", zone="Europe/Berlin")
    assert offered(live, night, renews_on="2026-06-15", zone="America/Los_Angeles")


@pytest.mark.parametrize("sent", ["2026-06-15T00:00:00Z", 1_781_481_600_000, "15.06.2026", True])
def test_what_is_no_day_is_unknown(sent: Any) -> None:
    assert not offered(rule("profile.renews_on != date('1970-01-01')"), at("2026-06-15T12:00:00"), renews_on=sent)


@pytest.mark.parametrize("text", [
    "profile.renews_on < now", "profile.renews_on == '2026-06-15'", "profile.renews_on + duration('24h') > today",
    "profile.renews_on.getHours() == 0", "profile.renews_on == date('2026-02-30')", "daysSince('2026-06-15') > 1",
])
def test_a_day_is_no_moment_and_no_text(text: str) -> None:
    with pytest.raises(DefinitionError):
        rule(text)


def test_a_day_is_shown_in_the_words_of_a_language() -> None:
    item = {"variants": {"default": {"content": {"title": "Renews {{ profile.renews_on | date('long', 'de') }}"}}}}
    live = made(ATTRIBUTES, {"a": item})
    known = agreed(Person(profile_id=SUBJECT, traits={"renews_on": Trait("2026-06-15")}))
    (shown,) = decide(asked(), known, live, at("2026-01-01T00:00:00")).decisions
    assert shown.content["title"] == "Renews 15. Juni 2026"


def test_a_segment_that_reads_today_is_looked_at_as_the_day_begins() -> None:
    live = made({**ATTRIBUTES, "segments": {"due": {"rule": "profile.renews_on == today"}}}, {"a": {}})
    profile = Person(profile_id=SUBJECT, traits={"renews_on": Trait("2026-06-15"), "zone": Trait("Europe/Berlin")})
    evening = at("2026-06-14T21:00:00")
    profile, _ = segments.refresh(profile, live.policy, evening, None)
    assert not profile.segments
    while not profile.segments and profile.timers.get(SEGMENTS_TIMER, 0) < at("2026-06-15T22:00:00"):
        profile, _ = segments.refresh(profile, live.policy, profile.timers.get(SEGMENTS_TIMER, 0), None)
    assert at("2026-06-14T22:00:00") <= profile.segments["due"] < at("2026-06-14T22:00:00") + segments._SPREAD_MS

"""A place that a decision holds runs out only once all that was reported in time is known: it may say it was used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.agents import feedback, requests
from pipeline.core.decide import caps
from pipeline.core.decide.live import Live
from pipeline.core.decide.replay import decided_again, differences
from pipeline.core.model.records import AuditRecord, FeedbackEvent, FeedbackKind
from pipeline.core.sections.counters import Counter
from pipeline.core.subject import Person
from pipeline.flow import EVERYTHING_KNOWN, Accept
from topics.catalog import DECISION_AUDIT

from .build import SUBJECT, agreed, asked, made

NOW_MS = 1_790_000_000_000
TTL_MS = 60_000
LIVE = made({"caps": {"seen": {"count": "impression", "per": "item", "limit": 1, "window": "7d"}},
             "placements": {"hero": {"ttl": "1m"}}}, {"a": {}})


@dataclass
class Context:
    now_ms: int
    known_ms: int = EVERYTHING_KNOWN

    def live(self, tenant: str) -> Live | None:
        return LIVE

    def reported_ms(self) -> int:
        return self.known_ms

    def beside(self, name: str) -> bytes | None:
        return None


def decided(profile: Person, name: str, context: Context) -> tuple[Person, str, AuditRecord]:
    outcome = requests.handle(asked(name, digest="d"), profile, context)
    assert isinstance(outcome, Accept)
    [audit] = [emit.value for emit in outcome.emits if emit.topic is DECISION_AUDIT]
    assert isinstance(audit, AuditRecord)
    return outcome.state, audit.reason, audit


def viewed(profile: Person, audit: AuditRecord, context: Context) -> Person:
    event = FeedbackEvent("seen", SUBJECT, FeedbackKind.VIEW, NOW_MS + 1, "view", "a", audit.decision_id)
    outcome: Any = feedback.handle(event, profile, context)
    assert isinstance(outcome, Accept) and isinstance(outcome.state, Person)
    return outcome.state


def test_a_place_stays_held_while_the_report_of_its_use_waits_to_be_read() -> None:
    profile, reason, first = decided(agreed(), "r1", Context(NOW_MS))
    assert reason == "decided"
    # The view was reported at once, and its topic has not been read since.
    for number, later_ms in enumerate((TTL_MS, 10 * TTL_MS, 1_000 * TTL_MS)):
        profile, reason, audit = decided(profile, f"w{number}", Context(NOW_MS + later_ms, known_ms=NOW_MS))
        assert reason == "capped"
        again = decided_again(audit, LIVE)
        assert differences(audit, again) == [], "its audit alone says the same"
    profile = viewed(profile, first, Context(NOW_MS + 1_001 * TTL_MS))
    _, reason, _ = decided(profile, "r2", Context(NOW_MS + 1_002 * TTL_MS))
    assert reason == "capped"


def test_a_place_is_given_back_once_it_is_known_that_nothing_was_reported_in_time() -> None:
    profile, _, _ = decided(agreed(), "r1", Context(NOW_MS))
    held, reason, _ = decided(profile, "r2", Context(NOW_MS + TTL_MS, known_ms=NOW_MS + TTL_MS))
    assert reason == "capped", "a report of the very moment in which it ran out may wait"
    for own, known_ms in ((profile, NOW_MS + TTL_MS + 1), (profile, EVERYTHING_KNOWN), (held, EVERYTHING_KNOWN)):
        _, reason, _ = decided(own, "r3", Context(NOW_MS + 2 * TTL_MS, known_ms))
        assert reason == "decided"


def test_what_is_known_is_asked_only_where_a_place_ran_out() -> None:
    def never() -> int:
        raise AssertionError("asked")

    counters = {"seen|a": Counter(held={"d/a/hero/web/1": NOW_MS + 1}), "other": Counter((1,), 1)}
    assert caps.held_on(counters, NOW_MS, never) is counters


@given(st.lists(st.integers(0, 20), max_size=4), st.integers(0, 20), st.integers(0, 20))
def test_a_place_that_ran_out_is_held_exactly_where_a_report_in_time_may_wait(
    untils: list[int], now_ms: int, known_ms: int
) -> None:
    counters = {"c": Counter(held={f"d{number}/a/hero/web/0": until for number, until in enumerate(untils)})}
    after = caps.held_on(counters, now_ms, lambda: known_ms)["c"].held
    for name, until in counters["c"].held.items():
        waits = until <= now_ms and known_ms <= until
        assert (after[name] > now_ms) is (until > now_ms or (waits and known_ms <= now_ms))

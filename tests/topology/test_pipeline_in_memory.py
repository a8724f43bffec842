"""The whole pipeline on lists and dictionaries: what a producer, a caller and a marketer see."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.model.records import DecisionReply
from pipeline.runtime.memory import CrashError, MemoryPipeline
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import (
    BY_NAME,
    DECISION_AUDIT,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    DECISIONS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    SEGMENT_CHANGES,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple:  # type: ignore[type-arg]
    return shop.publication(tmp_path_factory.mktemp("policy"))


def new_pipeline(published) -> MemoryPipeline:  # type: ignore[no-untyped-def]
    pipeline = MemoryPipeline(FLOWS)
    for record in published:
        pipeline.send(BY_NAME[record.topic], record.key, record.value)
    pipeline.run()
    return pipeline


def ask(pipeline: MemoryPipeline, request_id: str, subject: str, **changes: object) -> DecisionReply:
    pipeline.send(DECISION_REQUESTS, subject, shop.request(request_id, subject, **changes))
    pipeline.run()
    replies: list[DecisionReply] = [r for r in pipeline.values(DECISION_REPLIES) if r.request_id == request_id]
    return replies[-1]


def test_from_consent_to_an_explained_decision(published) -> None:  # type: ignore[no-untyped-def]
    pipeline = new_pipeline(published)
    pipeline.send(IDENTITY_EVENTS, "shop/ann", shop.consent("shop/ann", pipeline.clock.at_ms))
    reply = ask(pipeline, "r1", "shop/ann")
    assert [(d.item_id, d.fallback) for d in reply.decisions] == [("upgrade", False)]
    [decision] = pipeline.values(DECISIONS)
    [audit] = pipeline.values(DECISION_AUDIT)
    assert decision.decision_id == audit.decision_id == reply.decision_id
    assert {c.item_id: c.outcome for c in audit.candidates} == {"upgrade": "chosen", "tips": "outranked"}
    assert "personalization" in audit.consent


def test_without_consent_the_declared_fallback_is_shown_and_nothing_is_counted(published) -> None:  # type: ignore[no-untyped-def]
    pipeline = new_pipeline(published)
    reply = ask(pipeline, "r1", "shop/ben")
    assert reply.fallback
    assert reply.reason == "no_consent"
    assert [d.item_id for d in reply.decisions] == ["welcome"]
    state = pipeline.state("shop/ben")
    assert state.counters == {}
    assert state.behaviour == {}


def test_a_cap_is_kept_and_then_the_next_item_is_chosen(published) -> None:  # type: ignore[no-untyped-def]
    pipeline = new_pipeline(published)
    pipeline.send(IDENTITY_EVENTS, "shop/ann", shop.consent("shop/ann", pipeline.clock.at_ms))
    chosen = [ask(pipeline, f"r{n}", "shop/ann").decisions[0].item_id for n in range(5)]
    assert chosen == ["upgrade", "upgrade", "tips", "tips", "welcome"]


def test_a_repeated_request_gets_the_same_answer_and_counts_once(published) -> None:  # type: ignore[no-untyped-def]
    pipeline = new_pipeline(published)
    pipeline.send(IDENTITY_EVENTS, "shop/ann", shop.consent("shop/ann", pipeline.clock.at_ms))
    first = ask(pipeline, "r1", "shop/ann")
    assert ask(pipeline, "r1", "shop/ann") == first
    assert len(pipeline.values(DECISIONS)) == 1
    assert ask(pipeline, "r1", "shop/ann", digest="other").error


def test_an_alias_carries_the_counts_along(published) -> None:  # type: ignore[no-untyped-def]
    pipeline = new_pipeline(published)
    now = pipeline.clock.at_ms
    for subject in ("shop/device", "shop/ann"):
        pipeline.send(IDENTITY_EVENTS, subject, shop.consent(subject, now))
        ask(pipeline, f"first-{subject}", subject)
    pipeline.send(IDENTITY_EVENTS, "shop/device", shop.alias("shop/device", "shop/ann", now + 1))
    pipeline.run()
    # One on each side before the merge: the cap of two is reached, whichever identifier asks.
    assert ask(pipeline, "r2", "shop/device").decisions[0].item_id == "tips"
    assert ask(pipeline, "r3", "shop/ann").decisions[0].item_id == "tips"
    assert pipeline.state("shop/device").to == "shop/ann"


def test_a_membership_that_runs_out_does_so_without_a_new_event(published) -> None:  # type: ignore[no-untyped-def]
    pipeline = new_pipeline(published)
    start = pipeline.clock.at_ms
    pipeline.send(IDENTITY_EVENTS, "shop/ann", shop.consent("shop/ann", start))
    pipeline.send(FEEDBACK_EVENTS, "shop/ann", shop.click("shop/ann", "tips", start, "e1"))
    pipeline.run()

    def memberships() -> list[tuple[str, bool, int]]:
        return [(c.segment, c.entered, c.at_ms - start) for c in pipeline.values(SEGMENT_CHANGES)]

    assert memberships() == [("keen", True, 0)]
    pipeline.advance(3_599_999)
    assert memberships() == [("keen", True, 0)]
    pipeline.advance(1)
    assert memberships() == [("keen", True, 0), ("keen", False, 3_600_000)]
    pipeline.advance(3_600_000)
    assert len(memberships()) == 2
    # From now on one look a day, so that a new release reaches the subject.
    assert 0 < pipeline.state("shop/ann").timers["segments"] - pipeline.clock.at_ms <= 86_400_000


def test_a_request_past_its_deadline_is_dropped(published) -> None:  # type: ignore[no-untyped-def]
    pipeline = new_pipeline(published)
    late = shop.request("late", "shop/ann", deadline_ms=pipeline.clock.at_ms - 1)
    pipeline.send(DECISION_REQUESTS, "shop/ann", late)
    pipeline.run()
    assert pipeline.values(DECISION_REPLIES) == []
    assert pipeline.metrics.counts[("requests", "drop", "past_deadline")] == 1


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "again", "consent", "withdraw", "click", "alias"]),
        st.sampled_from(["ann", "ben", "cat"]),
        st.sampled_from(["ann", "ben", "cat"]),
    ),
    min_size=1,
    max_size=10,
)


def submit(pipeline: MemoryPipeline, operations: list[tuple[str, str, str]]) -> None:
    for number, (what, who, whom) in enumerate([("consent", "ann", ""), ("consent", "ben", ""), *operations]):
        subject, at_ms = f"shop/{who}", pipeline.clock.at_ms + number
        match what:
            case "ask":
                pipeline.send(DECISION_REQUESTS, subject, shop.request(f"r{number}", subject))
            case "again":
                pipeline.send(DECISION_REQUESTS, subject, shop.request(f"again-{who}", subject))
            case "click":
                pipeline.send(FEEDBACK_EVENTS, subject, shop.click(subject, "upgrade", at_ms, f"e{number}"))
            case "alias" if who != whom:
                pipeline.send(IDENTITY_EVENTS, subject, shop.alias(subject, f"shop/{whom}", at_ms))
            case "consent" | "withdraw":
                pipeline.send(IDENTITY_EVENTS, subject, shop.consent(subject, at_ms, what == "consent"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, data=st.data())
def test_a_crash_anywhere_decides_nothing_twice_differently(published, operations, data) -> None:  # type: ignore[no-untyped-def]
    calm = new_pipeline(published)
    submit(calm, operations)
    calm.run()

    stormy = new_pipeline(published)
    submit(stormy, operations)
    for _ in range(data.draw(st.integers(1, 3))):
        stormy.crash_after = stormy.effects + data.draw(st.integers(0, max(1, calm.effects)))
        try:
            stormy.run()
        except CrashError:
            stormy.restart()
    stormy.crash_after = None
    stormy.run()

    answers: dict[str, set[str]] = {}
    for reply in stormy.values(DECISION_REPLIES):
        answers.setdefault(reply.request_id, set()).add(repr(reply))
    assert all(len(versions) == 1 for versions in answers.values())
    asked = {f"r{n + 2}" for n, (what, _, _) in enumerate(operations) if what == "ask"}
    assert asked <= set(answers)
    shown = Counter(
        (decision.profile_id, chosen.item_id)
        for decision in {d.decision_id: d for d in stormy.values(DECISIONS)}.values()
        for chosen in decision.decisions
        if not chosen.fallback
    )
    assert all(count <= 2 for count in shown.values())

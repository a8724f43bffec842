"""From a decision to its reward on lists and dictionaries: what a reader of the topic `outcomes` sees."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pipeline.core.model.records import (
    DecisionReply,
    ErasureAction,
    ErasureRequest,
    FeedbackEvent,
    FeedbackKind,
    Outcome,
)
from pipeline.runtime.memory import MemoryPipeline
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import (
    BY_NAME,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    ERASURE_REQUESTS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    OUTCOMES,
)

MINUTE, HOUR = 60_000, 3_600_000

DECLARED = """
outcomes:
  click: {event: {event: click}, window: 1h, wait: 1m}
  purchase:
    event: {event: conversion}
    window: 2h
    wait: 1m
    attribution: linear
    reward: event.value
    credit: [item, campaign]
"""
POLICY = shop.POLICY.replace("max_variants: 1", "max_variants: 2").replace(
    "    priority: 10\n", "    priority: 10\n    campaign: spring\n").replace("limit: 2\n", "limit: 500\n") + DECLARED


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple:  # type: ignore[type-arg]
    return shop.publication(tmp_path_factory.mktemp("policy"), POLICY)


@pytest.fixture
def pipeline(published) -> MemoryPipeline:  # type: ignore[no-untyped-def]
    one = MemoryPipeline(FLOWS)
    for record in published:
        one.send(BY_NAME[record.topic], record.key, record.value)
    for subject in ("shop/ann", "shop/device"):
        one.send(IDENTITY_EVENTS, subject, shop.consent(subject, one.clock.at_ms))
    one.run()
    return one


def ask(pipeline: MemoryPipeline, request_id: str, subject: str = "shop/ann", count: int = 1) -> DecisionReply:
    pipeline.send(DECISION_REQUESTS, subject, shop.request(request_id, subject, max_variants=count))
    pipeline.run()
    replies: list[DecisionReply] = pipeline.values(DECISION_REPLIES)
    return [one for one in replies if one.request_id == request_id][-1]


def tell(
    pipeline: MemoryPipeline, event_id: str, kind: FeedbackKind, item: str | None = "upgrade",
    decision_id: str | None = None, value: float | None = None, subject: str = "shop/ann",
) -> None:
    pipeline.send(FEEDBACK_EVENTS, subject, FeedbackEvent(
        event_id, subject, kind, pipeline.clock.at_ms, kind.value, item, decision_id, value=value, channel="web"))
    pipeline.run()


def told(pipeline: MemoryPipeline, where: Callable[[Outcome], bool] = lambda _: True) -> list[Outcome]:
    return sorted(filter(where, pipeline.values(OUTCOMES)), key=lambda one: (one.final, one.at_ms, one.outcome))


def final(one: Outcome) -> bool:
    return one.final


def settle(pipeline: MemoryPipeline) -> None:
    """Let every window close; a look that leaves something is due again at once."""
    pipeline.advance(3 * HOUR)
    for _ in range(20):
        pipeline.advance(1)


def test_a_click_and_a_purchase_reach_their_decision_and_its_windows_close(pipeline: MemoryPipeline) -> None:
    reply = ask(pipeline, "r1", count=2)
    pipeline.advance(MINUTE)
    tell(pipeline, "e1", FeedbackKind.CLICK, decision_id=reply.decision_id)
    tell(pipeline, "e2", FeedbackKind.CONVERSION, decision_id=reply.decision_id, value=40.0)
    click, purchase = told(pipeline)
    assert (click.outcome, click.reward, click.weight, click.final) == ("click", 1.0, 1.0, False)
    assert (purchase.outcome, purchase.reward, purchase.matched_by) == ("purchase", 40.0, "decision")
    assert (purchase.decision_id, purchase.action, purchase.pscore, purchase.position) == (
        reply.decision_id, "upgrade", 1.0, 0)
    assert json.loads(purchase.context) == {"profile.plan": "free"}
    settle(pipeline)
    assert [(one.outcome, one.action, one.position, one.reward) for one in told(pipeline, final)] == [
        ("click", "upgrade", 0, 1.0), ("click", "tips", 1, 0.0),
        ("purchase", "upgrade", 0, 40.0), ("purchase", "tips", 1, 0.0)]
    state = pipeline.state("shop/ann")
    assert state.exposures == {} and "outcomes" not in state.timers
    assert pipeline.metrics.outcomes == {("decision", ""): 2, ("final", ""): 4}


def test_an_event_told_twice_is_credited_once(pipeline: MemoryPipeline) -> None:
    reply = ask(pipeline, "r1")
    for _ in range(2):
        tell(pipeline, "e1", FeedbackKind.CONVERSION, decision_id=reply.decision_id, value=5.0)
    settle(pipeline)
    assert [one.reward for one in told(pipeline) if one.outcome == "purchase"] == [5.0, 5.0]


def test_an_event_without_a_decision_is_shared_among_those_of_its_item_or_else_its_campaign(
    pipeline: MemoryPipeline,
) -> None:
    for number in range(2):
        ask(pipeline, f"r{number}", count=2)
        pipeline.advance(MINUTE)
    tell(pipeline, "e1", FeedbackKind.CONVERSION, "tips", value=10.0)
    assert [(one.matched_by, one.weight, one.reward) for one in told(pipeline)] == [("item", 0.5, 5.0)] * 2


def test_an_outcome_from_before_its_decision_waits_for_it(pipeline: MemoryPipeline) -> None:
    later = ask(pipeline, "other", "shop/device").decision_id
    tell(pipeline, "e1", FeedbackKind.CLICK, decision_id=later)
    assert told(pipeline) == []
    pipeline.send(IDENTITY_EVENTS, "shop/device", shop.alias("shop/device", "shop/ann", pipeline.clock.at_ms))
    pipeline.run()
    pipeline.advance(1)
    assert [(one.outcome, one.decision_id) for one in told(pipeline)] == [("click", later)]


def test_an_outcome_whose_decision_does_not_come_is_told_with_the_reason(pipeline: MemoryPipeline) -> None:
    tell(pipeline, "e1", FeedbackKind.CLICK, decision_id="nobody's")
    pipeline.advance(MINUTE)
    assert [(one.matched_by, one.reason, one.pscore) for one in told(pipeline)] == [("none", "unknown_decision", None)]
    assert pipeline.state("shop/ann").awaiting == {}


def test_fallback_content_is_no_exposure(pipeline: MemoryPipeline) -> None:
    reply = ask(pipeline, "r1", "shop/ben")
    assert reply.fallback and pipeline.state("shop/ben").exposures == {}
    tell(pipeline, "e1", FeedbackKind.CLICK, "welcome", ask(pipeline, "r2").decision_id)
    assert [one.reason for one in told(pipeline)] == ["fallback"]


def test_without_permission_to_track_nothing_is_told_and_what_waited_is_forgotten(pipeline: MemoryPipeline) -> None:
    reply = ask(pipeline, "r1")
    pipeline.advance(MINUTE)
    pipeline.send(IDENTITY_EVENTS, "shop/ann", shop.consent("shop/ann", pipeline.clock.at_ms, granted=False))
    pipeline.run()
    tell(pipeline, "e1", FeedbackKind.CONVERSION, decision_id=reply.decision_id, value=5.0)
    settle(pipeline)
    assert told(pipeline) == [] and pipeline.state("shop/ann").exposures == {}


def test_a_merge_brings_exposures_along_and_they_are_closed_once(pipeline: MemoryPipeline) -> None:
    reply = ask(pipeline, "r1", "shop/device")
    pipeline.send(IDENTITY_EVENTS, "shop/device", shop.alias("shop/device", "shop/ann", pipeline.clock.at_ms))
    pipeline.run()
    tell(pipeline, "e1", FeedbackKind.CLICK, decision_id=reply.decision_id)
    settle(pipeline)
    assert [(one.profile_id, one.outcome, one.reward) for one in told(pipeline, final)] == [
        ("shop/ann", "click", 1.0), ("shop/ann", "purchase", 0.0)]


def test_a_subject_that_never_rests_is_closed_early_and_still_exactly_once(pipeline: MemoryPipeline) -> None:
    for number in range(80):
        ask(pipeline, f"r{number}")
        pipeline.advance(1)
    assert len(pipeline.state("shop/ann").exposures) <= 64
    settle(pipeline)
    closed = told(pipeline, final)
    shown = {one.decision_id for one in closed}
    assert len(closed) == 2 * len(shown) == len({one.outcome_id for one in closed})
    assert {one.reason for one in closed} == {"", "crowded"}


def test_an_erasure_leaves_nothing_of_it(pipeline: MemoryPipeline) -> None:
    ask(pipeline, "r1")
    pipeline.send(ERASURE_REQUESTS, "shop/ann", ErasureRequest(
        "job", "shop/ann", ErasureAction.ERASE, pipeline.clock.at_ms))
    pipeline.run()
    settle(pipeline)
    assert told(pipeline) == []

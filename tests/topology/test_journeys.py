"""From events to moves, to what is decided, to the funnel; and what becomes of moves in a merge and an erasure."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.journeys.funnel import funnel
from pipeline.core.model.records import ErasureAction, ErasureRequest, FeedbackEvent, FeedbackKind
from pipeline.runtime.memory import MemoryPipeline
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import (
    BY_NAME,
    DECISION_AUDIT,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    ERASURE_REQUESTS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    JOURNEY_CHANGES,
)

HOUR = 3_600_000
POLICY = shop.POLICY.replace('eligibility: profile.plan == "free"', "eligibility: journey.trial.stage == 'cold'") + """
journeys:
  trial:
    enter: {event: page}
    stages:
      new: {next: {keen: {event: click}, cold: {after: 2h}}}
      keen: {next: {bought: {event: conversion}}}
      cold: {next: {keen: {event: click}}}
      bought: {goal: true}
    timeout: 1d
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> MemoryPipeline:
    pipeline = MemoryPipeline(FLOWS)
    for record in shop.publication(tmp_path, POLICY):
        pipeline.send(BY_NAME[record.topic], record.key, record.value)
    pipeline.run()
    return pipeline


def agree(pipeline: MemoryPipeline, subject: str) -> None:
    pipeline.send(IDENTITY_EVENTS, subject, shop.consent(subject, pipeline.clock.at_ms))
    pipeline.run()


def happens(pipeline: MemoryPipeline, subject: str, kind: FeedbackKind, event_id: str) -> None:
    item = None if kind is FeedbackKind.PAGE else "tips"
    pipeline.send(FEEDBACK_EVENTS, subject, FeedbackEvent(
        event_id, subject, kind, pipeline.clock.at_ms, name=kind.value, item_id=item, channel="web"))
    pipeline.run()


def moves(pipeline: MemoryPipeline) -> list[tuple[str, str, str, int]]:
    return [(one.was, one.to, one.how, one.at_ms - one.since_ms if one.since_ms else 0)
            for one in pipeline.values(JOURNEY_CHANGES)]


def ask(pipeline: MemoryPipeline, request_id: str, subject: str) -> str:
    pipeline.send(DECISION_REQUESTS, subject, shop.request(request_id, subject))
    pipeline.run()
    shown: str = next(one.decisions[0].item_id for one in pipeline.values(DECISION_REPLIES)
                      if one.request_id == request_id)
    return shown


def test_from_events_and_time_to_a_decision_and_the_funnel(pipeline: MemoryPipeline) -> None:
    start = pipeline.clock.at_ms
    agree(pipeline, "shop/ann")
    happens(pipeline, "shop/ann", FeedbackKind.PAGE, "e1")
    happens(pipeline, "shop/ann", FeedbackKind.PAGE, "e1")
    assert ask(pipeline, "r1", "shop/ann") == "tips"
    pipeline.advance(2 * HOUR - 1)
    assert moves(pipeline) == [("", "new", "enter", 0)]
    pipeline.advance(1)
    assert ask(pipeline, "r2", "shop/ann") == "upgrade"
    assert pipeline.values(DECISION_AUDIT)[-1].profile_before.journeys["trial"].stage == "cold"
    happens(pipeline, "shop/ann", FeedbackKind.CLICK, "e2")
    assert ask(pipeline, "r3", "shop/ann") == "tips"
    happens(pipeline, "shop/ann", FeedbackKind.CONVERSION, "e3")
    assert moves(pipeline) == [("", "new", "enter", 0), ("new", "cold", "after", 2 * HOUR),
                               ("cold", "keen", "event", 0), ("keen", "bought", "event", 0)]
    told = [(b"ann", one) for one in pipeline.values(JOURNEY_CHANGES)]
    found = funnel([*told, *told], "trial", ("new", "keen", "cold", "bought"), start, pipeline.clock.at_ms + 1)
    assert (found.entries, found.goals) == (1, 1)
    assert [(one.stage, one.entered, dict(one.went_on), one.in_now, one.conversion, one.median_ms)
            for one in found.stages] == [
        ("new", 1, {"cold": 1}, 0, 1.0, 2 * HOUR), ("keen", 1, {"bought": 1}, 0, 1.0, 0),
        ("cold", 1, {"keen": 1}, 0, 1.0, 0), ("bought", 1, {}, 1, 1.0, None)]


def test_without_consent_nobody_moves_and_who_never_comes_back_drops_out(pipeline: MemoryPipeline) -> None:
    happens(pipeline, "shop/ben", FeedbackKind.PAGE, "e1")
    assert moves(pipeline) == []
    agree(pipeline, "shop/cleo")
    happens(pipeline, "shop/cleo", FeedbackKind.PAGE, "e2")
    pipeline.advance(2 * HOUR)
    pipeline.advance(22 * HOUR)
    assert moves(pipeline)[-1][:3] == ("cold", "", "timeout")
    found = funnel([(b"cleo", one) for one in pipeline.values(JOURNEY_CHANGES)], "trial", (), 0, 2**62)
    assert {one.stage: dict(one.dropped) for one in found.stages} == {"new": {}, "cold": {"timeout": 1}}
    assert all(one.in_now == 0 for one in found.stages)


def test_two_who_become_one_are_at_the_later_stage_and_an_erasure_forgets_it(pipeline: MemoryPipeline) -> None:
    for subject in ("shop/device", "shop/ann"):
        agree(pipeline, subject)
        happens(pipeline, subject, FeedbackKind.PAGE, f"page-{subject}")
    happens(pipeline, "shop/device", FeedbackKind.CLICK, "e2")
    pipeline.send(IDENTITY_EVENTS, "shop/device", shop.alias("shop/device", "shop/ann", pipeline.clock.at_ms + 1))
    pipeline.run()
    assert pipeline.state("shop/ann").journeys["trial"].stage == "keen"
    pipeline.send(ERASURE_REQUESTS, "shop/ann", ErasureRequest("j", "shop/ann", ErasureAction.ERASE, 1))
    pipeline.run()
    assert not hasattr(pipeline.state("shop/ann"), "journeys")

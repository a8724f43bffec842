"""From a decision by a model to what the model learnt of it, on lists and dictionaries: every showing exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from pipeline.core.model.records import ErasureAction, ErasureRequest, FeedbackEvent, FeedbackKind, ModelUpdate
from pipeline.ports import Outbound
from pipeline.runtime.memory import CrashError, MemoryPipeline
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import (
    BY_NAME,
    DEAD_LETTERS,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    ERASURE_REQUESTS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    MODEL_SNAPSHOTS,
    MODEL_UPDATES,
    OUTCOMES,
)

KEY = "shop/%hero"
MINUTE, HOUR = 60_000, 3_600_000
POLICY = shop.POLICY.replace("limit: 2\n", "limit: 500\n").replace("placements:\n  hero:", """models:
  hero:
    kind: gaussian
    outcome: purchase
    rewards: {from: -10, to: 100}
    snapshot: {every: 5m, after: 4}
rankings:
  learnt: {model: hero}
outcomes:
  click: {event: {event: click}, window: 1h, wait: 1m}
  purchase:
    event: {event: conversion}
    window: 2h
    wait: 1m
    reward: event.value
placements:
  hero:
    ranking: learnt""", 1)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outbound, ...]:
    return shop.publication(tmp_path_factory.mktemp("policy"), POLICY)


@pytest.fixture
def pipeline(published: tuple[Outbound, ...]) -> MemoryPipeline:
    one = MemoryPipeline(FLOWS)
    for record in published:
        one.send(BY_NAME[record.topic], record.key, record.value)
    for subject in ("shop/ann", "shop/device"):
        one.send(IDENTITY_EVENTS, subject, shop.consent(subject, one.clock.at_ms))
    one.run()
    return one


def ask(pipeline: MemoryPipeline, request_id: str, subject: str = "shop/ann") -> tuple[str, str]:
    """The decision, and the item that it showed."""
    pipeline.send(DECISION_REQUESTS, subject, shop.request(request_id, subject))
    pipeline.run()
    reply = next(one for one in pipeline.values(DECISION_REPLIES) if one.request_id == request_id)
    return reply.decision_id, reply.decisions[0].item_id


def buy(pipeline: MemoryPipeline, event_id: str, decision: tuple[str, str], value: float,
        subject: str = "shop/ann") -> None:
    pipeline.send(FEEDBACK_EVENTS, subject, FeedbackEvent(
        event_id, subject, FeedbackKind.CONVERSION, pipeline.clock.at_ms, "conversion", decision[1], decision[0],
        value=value, channel="web"))


def settle(pipeline: MemoryPipeline) -> None:
    pipeline.run()
    pipeline.advance(3 * HOUR)
    for _ in range(5):
        pipeline.advance(1)


def observed(pipeline: MemoryPipeline) -> list[tuple[str, float, bool, float]]:
    updates: list[ModelUpdate] = pipeline.values(MODEL_UPDATES)
    return [(one.item_id, one.reward, one.first, one.before) for update in updates for one in update.observations]


def learnt(pipeline: MemoryPipeline) -> Mapping[str, tuple[float, float]]:
    """Item → showings and rewards, as the model's writer has them."""
    state = pipeline.state(KEY)
    if state is None:
        return {}
    sums = {name: np.frombuffer(data) for name, data in state.items.items()}
    return {name: (float(one[0]), float(one[1])) for name, one in sums.items()}


def finals(pipeline: MemoryPipeline) -> Mapping[str, tuple[float, float]]:
    """Item → final records and their rewards, of the outcome that the model learns from."""
    found: dict[str, tuple[float, float]] = {}
    for one in {one.outcome_id: one for one in pipeline.values(OUTCOMES)}.values():
        if one.final and one.outcome == "purchase":
            count, total = found.get(one.action, (0.0, 0.0))
            found[one.action] = count + 1.0, total + one.reward
    return found


def test_rewards_are_told_as_they_come_and_nothing_at_the_close(pipeline: MemoryPipeline) -> None:
    decision = ask(pipeline, "r1")
    for name, value in (("e1", 40.0), ("e2", 2.5), ("e3", -5.0)):
        buy(pipeline, name, decision, value)
    pipeline.run()
    item = decision[1]
    assert observed(pipeline) == [(item, 40.0, True, 0.0), (item, 2.5, False, 40.0), (item, -5.0, False, 42.5)]
    settle(pipeline)
    assert len(observed(pipeline)) == 3
    assert learnt(pipeline) == {item: (1.0, 37.5)} == finals(pipeline)


def test_a_window_that_closes_without_a_reward_is_a_reward_of_0(pipeline: MemoryPipeline) -> None:
    item = ask(pipeline, "r1")[1]
    pipeline.advance(HOUR + MINUTE)
    assert observed(pipeline) == [], "the click's window, which the model does not learn from"
    settle(pipeline)
    assert observed(pipeline) == [(item, 0.0, True, 0.0)]
    [final] = [one for one in pipeline.values(OUTCOMES) if one.final and one.outcome == "purchase"]
    assert (final.model, final.snapshot) == ("hero", 0)


def test_a_click_teaches_a_model_of_purchases_nothing(pipeline: MemoryPipeline) -> None:
    item = ask(pipeline, "r1")[1]
    pipeline.send(FEEDBACK_EVENTS, "shop/ann", shop.click("shop/ann", item, pipeline.clock.at_ms, "k"))
    pipeline.run()
    assert observed(pipeline) == [] and len(pipeline.values(OUTCOMES)) == 1


def test_an_event_told_twice_is_learnt_once(pipeline: MemoryPipeline) -> None:
    decision = ask(pipeline, "r1")
    for _ in range(2):
        buy(pipeline, "e1", decision, 3.0)
    settle(pipeline)
    assert learnt(pipeline) == {decision[1]: (1.0, 3.0)}


def test_after_consent_is_withdrawn_nothing_is_learnt(pipeline: MemoryPipeline) -> None:
    decision = ask(pipeline, "r1")
    pipeline.send(IDENTITY_EVENTS, "shop/ann", shop.consent("shop/ann", pipeline.clock.at_ms, granted=False))
    pipeline.run()
    buy(pipeline, "e1", decision, 3.0)
    settle(pipeline)
    assert observed(pipeline) == []


def test_after_an_erasure_nothing_is_learnt(pipeline: MemoryPipeline) -> None:
    decision = ask(pipeline, "r1")
    pipeline.send(ERASURE_REQUESTS, "shop/ann", ErasureRequest(
        "job", "shop/ann", ErasureAction.ERASE, pipeline.clock.at_ms))
    pipeline.run()
    buy(pipeline, "e1", decision, 3.0)
    settle(pipeline)
    assert observed(pipeline) == []


def test_a_merge_in_the_midst_of_learning_loses_and_doubles_nothing(pipeline: MemoryPipeline) -> None:
    own, given = ask(pipeline, "r1"), ask(pipeline, "r2", "shop/device")
    buy(pipeline, "e1", given, 4.0, "shop/device")
    pipeline.send(IDENTITY_EVENTS, "shop/device", shop.alias("shop/device", "shop/ann", pipeline.clock.at_ms))
    pipeline.run()
    buy(pipeline, "e2", given, 1.0, "shop/device")
    buy(pipeline, "e3", own, 2.0)
    settle(pipeline)
    assert learnt(pipeline) == finals(pipeline)
    assert sum(total for _, total in learnt(pipeline).values()) == 7.0
    assert sum(first for _, _, first, _ in observed(pipeline)) == 2


def test_what_was_learnt_decides_next(pipeline: MemoryPipeline) -> None:
    """The whole way: decisions, rewards of one item alone, a snapshot, decisions that prefer it."""
    for number in range(40):
        decision = ask(pipeline, f"r{number}")
        buy(pipeline, f"e{number}", decision, 50.0 if decision[1] == "tips" else -10.0)
        pipeline.run()
        pipeline.advance(6 * MINUTE)
    assert pipeline.values(MODEL_SNAPSHOTS)
    shown = [ask(pipeline, f"after-{number}")[1] for number in range(30)]
    assert shown.count("tips") >= 27
    assert pipeline.values(DEAD_LETTERS) == []


def _story(pipeline: MemoryPipeline, decisions: Sequence[tuple[str, str]]) -> None:
    for number, decision in enumerate(decisions):
        if number % 3:
            buy(pipeline, f"e{number}", decision, float(number))
    pipeline.send(IDENTITY_EVENTS, "shop/device", shop.alias("shop/device", "shop/ann", pipeline.clock.at_ms))
    pipeline.run()
    buy(pipeline, "late", decisions[0], 0.5)
    settle(pipeline)


@pytest.mark.parametrize("effects", range(0, 130, 9))
def test_a_crash_between_any_two_effects_learns_every_showing_once(pipeline: MemoryPipeline, effects: int) -> None:
    decisions = [ask(pipeline, f"r{number}") for number in range(5)]
    pipeline.crash_after = pipeline.effects + effects
    try:
        _story(pipeline, decisions)
    except CrashError:
        pipeline.crash_after = None
        pipeline.restart()
        _story(pipeline, decisions)
    assert sum(count for count, _ in finals(pipeline).values()) == 5.0
    assert learnt(pipeline) == finals(pipeline)


def test_figures_of_a_model_are_those_of_its_writer_and_of_closed_windows(pipeline: MemoryPipeline) -> None:
    buy(pipeline, "e1", ask(pipeline, "r1"), 40.0)
    ask(pipeline, "r2")
    settle(pipeline)
    state = pipeline.state(KEY)
    assert pipeline.metrics.models == {("shop", "hero"): (state.number, 2)} and state.number > 0
    assert sorted(pipeline.metrics.rewards["shop", "hero"]) == [
        ("click", 0, 0.0), ("click", 0, 0.0), ("purchase", 0, 0.0), ("purchase", 0, 40.0)]

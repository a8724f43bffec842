"""A model in the whole pipeline in memory: rewards, its one writer, snapshots, decisions by them, replay, crashes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.agents import feedback
from pipeline.core.decide.replay import decided_again, differences
from pipeline.core.model.records import AuditRecord, FeedbackEvent, ModelSnapshot, ModelUpdate, ModelUse, Observation
from pipeline.core.model.values import replaced
from pipeline.core.models.updates import deltas
from pipeline.core.release.history import History, NotKept
from pipeline.core.subject import ModelState, Subject
from pipeline.flow import Accept, Context, Emit, Flow, Outcome
from pipeline.ports import Outbound
from pipeline.runtime.memory import CrashError, MemoryPipeline
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import (
    BY_NAME,
    CATALOG_ITEMS,
    DEAD_LETTERS,
    DECISION_AUDIT,
    DECISION_REQUESTS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    MODEL_SNAPSHOTS,
    MODEL_UPDATES,
    POLICY_RELEASES,
)

KEY = "shop/%hero"
FORM = "beta;click;0.0..1.0;"
POLICY = shop.POLICY.replace("placements:\n  hero:", """models:
  hero: {kind: beta, outcome: click, snapshot: {every: 10m, after: 1000}}
rankings:
  learnt: {model: hero}
outcomes:
  # No event of these tests is one: `rewarding` tells the model itself.
  click: {event: {name: nothing}, window: 90d}
placements:
  hero:
    ranking: learnt""", 1)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outbound, ...]:
    return shop.publication(tmp_path_factory.mktemp("policy"), POLICY)


def rewarding(event: FeedbackEvent, state: Subject | None, ctx: Context) -> Outcome:
    """As outcomes do: a click rewards the item that it is on."""
    outcome = feedback.handle(event, state, ctx)
    item = event.item_id or ""
    update = deltas("shop", ModelUse("hero", 1, {item: ()}, FORM), item, 1.0, True)
    if not isinstance(outcome, Accept) or update is None:
        return outcome
    return replaced(outcome, emits=(*outcome.emits, Emit(MODEL_UPDATES, update.model_key, update)))


#: The pipeline, whose feedback rewards.
REWARDING: tuple[Flow, ...] = tuple(
    with_fields(flow, handle=rewarding) if flow.name == "feedback" else flow for flow in FLOWS)


def started(published: tuple[Outbound, ...], flows: tuple[Flow, ...] = REWARDING) -> MemoryPipeline:
    pipeline = MemoryPipeline(flows)
    for record in published:
        pipeline.send(BY_NAME[record.topic], record.key, record.value)
    for subject in ("shop/ann", "shop/bob"):
        pipeline.send(IDENTITY_EVENTS, subject, shop.consent(subject, pipeline.clock.at_ms))
    pipeline.run()
    return pipeline


def shown(pipeline: MemoryPipeline) -> Mapping[str, float]:
    state = pipeline.state(KEY)
    return {} if state is None else {name: float(np.frombuffer(data)[0]) for name, data in state.items.items()}


def clicks(pipeline: MemoryPipeline, count: int = 6) -> None:
    for number in range(count):
        subject = ("shop/ann", "shop/bob")[number % 2]
        pipeline.send(FEEDBACK_EVENTS, subject, shop.click(subject, ("upgrade", "tips")[number % 3 == 0],
                                                           pipeline.clock.at_ms, f"click-{number}"))


def ask(pipeline: MemoryPipeline, request_id: str) -> AuditRecord:
    pipeline.send(DECISION_REQUESTS, "shop/ann", shop.request(request_id, "shop/ann"))
    pipeline.run()
    found: AuditRecord = pipeline.values(DECISION_AUDIT)[-1]
    return found


def test_rewards_come_to_the_models_key_and_name_no_subject(published: tuple[Outbound, ...]) -> None:
    pipeline = started(published)
    clicks(pipeline)
    pipeline.run()
    assert shown(pipeline) == {"upgrade": 4.0, "tips": 2.0}
    updates: list[ModelUpdate] = pipeline.values(MODEL_UPDATES)
    assert len({(one.source, one.offset) for one in updates}) == 6
    assert not any("ann" in repr(one) or "bob" in repr(one) for one in updates)
    assert pipeline.values(DEAD_LETTERS) == []


def test_a_snapshot_is_cut_when_its_time_comes_and_decides_everywhere(published: tuple[Outbound, ...]) -> None:
    pipeline = started(published)
    assert ask(pipeline, "r1").models["hero"].snapshot == 0
    clicks(pipeline)
    pipeline.run()
    assert pipeline.values(MODEL_SNAPSHOTS) == []
    pipeline.advance(600_000)
    first, latest = pipeline.values(MODEL_SNAPSHOTS)
    assert first == latest and (first.number, first.learnt, first.form) == (1, 6, FORM)
    audit = ask(pipeline, "r2")
    assert (audit.models["hero"].model, audit.models["hero"].snapshot) == ("hero", 1)
    pipeline.advance(86_400_000)
    assert len(pipeline.values(MODEL_SNAPSHOTS)) == 2


def test_an_audit_suffices_to_decide_again_with_the_snapshot_that_it_names(published: tuple[Outbound, ...]) -> None:
    pipeline, audits = started(published), []
    for number in range(3):
        clicks(pipeline, 2 + number)
        pipeline.run()
        pipeline.advance(600_000)
        audits.append(ask(pipeline, f"r{number}"))
    history = History()
    for topic, take in ((POLICY_RELEASES, history.take_release), (CATALOG_ITEMS, history.take_item)):
        for log in pipeline.logs[topic.name]:
            for record in log:
                take((record.key or b"").decode(), pipeline._decoded(topic, record.value))
    assert [audit.models["hero"].snapshot for audit in audits] == [1, 2, 3]
    with pytest.raises(NotKept, match="snapshot 1 of model hero"):
        history.live(audits[0])
    for snapshot in pipeline.values(MODEL_SNAPSHOTS):
        history.take_snapshot(snapshot)
    for audit in audits:
        assert history.lacks_snapshots(audit) == []
        assert differences(audit, decided_again(audit, history.live(audit))) == []


@pytest.mark.parametrize("effects", range(0, 120, 7))
def test_a_crash_between_any_two_effects_counts_every_reward_once(
    published: tuple[Outbound, ...], effects: int
) -> None:
    pipeline = started(published)
    clicks(pipeline)
    pipeline.crash_after = pipeline.effects + effects
    try:
        pipeline.run()
        pipeline.advance(600_000)
    except CrashError:
        pipeline.crash_after = None
        pipeline.restart()
        pipeline.run()
        pipeline.advance(600_000)
    assert shown(pipeline) == {"upgrade": 4.0, "tips": 2.0}
    assert {(one.number, one.learnt) for one in pipeline.values(MODEL_SNAPSHOTS)} == {(1, 6)}


def test_a_repeated_update_is_dropped(published: tuple[Outbound, ...]) -> None:
    pipeline = started(published)
    update = ModelUpdate(KEY, FORM, [Observation("tips", (), 1.0)], "feedback.events@memory/0", 5)
    for _ in range(3):
        pipeline.send(MODEL_UPDATES, KEY, update)
    pipeline.run()
    assert shown(pipeline) == {"tips": 1.0}


@pytest.mark.parametrize(("changes", "said"), [
    ({"source": ""}, "source or offset"), ({"observations": []}, "observations has 0"),
    ({"observations": [Observation("tips", (float("inf"),), 1.0)]}, "finite"),
    ({"model_key": "shop/ann"}, "tenant/%model"),
])
def test_an_update_that_is_none_is_a_dead_letter(
    published: tuple[Outbound, ...], changes: Mapping[str, Any], said: str
) -> None:
    pipeline = started(published)
    update = ModelUpdate(KEY, FORM, [Observation("tips", (), 1.0)], "feedback.events@memory/0", 5)
    wrong = replaced(update, **changes)
    pipeline.send(MODEL_UPDATES, wrong.model_key, wrong)
    pipeline.run()
    [letter] = pipeline.values(DEAD_LETTERS)
    assert said in letter.detail and pipeline.state(KEY) is None


def test_an_event_that_takes_a_model_for_a_person_is_a_dead_letter(published: tuple[Outbound, ...]) -> None:
    pipeline = started(published)
    pipeline.send(IDENTITY_EVENTS, KEY, shop.consent(KEY, pipeline.clock.at_ms))
    pipeline.run()
    assert len(pipeline.values(DEAD_LETTERS)) == 1 and pipeline.state(KEY) is None


def test_a_frozen_model_learns_nothing(tmp_path: Path) -> None:
    frozen = shop.publication(tmp_path, POLICY.replace("outcome: click,", "outcome: click, frozen: true,"))
    pipeline = started(frozen)
    clicks(pipeline)
    pipeline.run()
    assert pipeline.state(KEY) is None


def test_a_pinned_snapshot_decides_until_it_is_let_go(tmp_path: Path, published: tuple[Outbound, ...]) -> None:
    pipeline = started(published)
    for _ in range(2):
        clicks(pipeline)
        pipeline.send(FEEDBACK_EVENTS, "shop/ann", shop.click("shop/ann", "tips", pipeline.clock.at_ms,
                                                              f"more-{pipeline.clock.at_ms}"))
        pipeline.run()
        pipeline.advance(600_000)
    assert ask(pipeline, "r1").models["hero"].snapshot == 2
    for record in shop.publication(tmp_path, POLICY.replace("outcome: click,", "outcome: click, pin: 1,"), at_ms=2):
        pipeline.send(BY_NAME[record.topic], record.key, record.value)
    assert ask(pipeline, "r2").models["hero"].snapshot == 1
    state = pipeline.state(KEY)
    assert isinstance(state, ModelState) and state.number == 2


def test_numbers_that_no_audit_can_name_are_removed(published: tuple[Outbound, ...]) -> None:
    from pipeline.agents._learning import published as said
    from pipeline.core.models.writer import NUMBERS_KEPT
    snapshot = ModelSnapshot("shop", "hero", NUMBERS_KEPT + 5, 1, FORM, 1)
    emits = said(ModelState(profile_id=KEY), snapshot)
    assert [(emit.key, emit.value is None) for emit in emits] == [
        (f"{KEY}/{NUMBERS_KEPT + 5}", False), (f"{KEY}/@latest", False), (f"{KEY}/5", True)]

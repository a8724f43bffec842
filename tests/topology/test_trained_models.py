"""A model trained elsewhere in the whole pipeline in memory: published, decided by, audited, decided again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.codecs import avro
from pipeline.core.decide.replay import decided_again, differences
from pipeline.core.model.records import AuditRecord, DecisionRequest, IdentityEvent, IdentityKind
from pipeline.core.release.history import History
from pipeline.onnx_models.sessions import opened
from pipeline.ports import Outbound
from pipeline.runtime.memory import MemoryPipeline
from pipeline.topology import FLOWS
from tests.support import shop
from tests.support.trained_models import pipeline_of_scikit_learn, some_rows
from topics.catalog import (
    BY_NAME,
    CATALOG_ITEMS,
    DEAD_LETTERS,
    DECISION_AUDIT,
    DECISION_REQUESTS,
    IDENTITY_EVENTS,
    POLICY_RELEASES,
)

VALUES = {"upgrade": 1.0, "tips": 8.0}
POLICY = shop.POLICY.replace("    plan: {type: string, default: free}\n", """\
    plan: {type: string, default: free}
    spent: double
    orders: int
""").replace("placements:\n  hero:\n", """\
models:
  buys:
    onnx: buys.onnx
    inputs: {spent: profile.spent, orders: profile.orders, plan: profile.plan, value: candidate.value}
    output: probabilities
rankings:
  by_model: {model: buys, formula: candidate.value}
placements:
  hero:
    ranking: by_model
""", 1).replace("    kind: content\n", "    kind: content\n    attributes: {value: 8.0}\n").replace(
    'plan == "free"', 'plan != "none"')


@pytest.fixture
def published(tmp_path: Path) -> tuple[Outbound, ...]:
    (tmp_path / "buys.onnx").write_bytes(pipeline_of_scikit_learn().content)
    return shop.publication(tmp_path, POLICY)


def decided(published: tuple[Outbound, ...], *rows: Any) -> tuple[MemoryPipeline, list[AuditRecord]]:
    pipeline = MemoryPipeline(FLOWS)
    for record in published:
        pipeline.send(BY_NAME[record.topic], record.key, record.value)
    for number, (spent, orders, plan, _) in enumerate(rows):
        subject = f"shop/person{number}"
        pipeline.send(IDENTITY_EVENTS, subject, shop.consent(subject, pipeline.clock.at_ms))
        traits = {"spent": spent, "orders": orders, "plan": plan}
        pipeline.send(IDENTITY_EVENTS, subject, IdentityEvent(
            f"traits{number}", subject, IdentityKind.TRAITS, pipeline.clock.at_ms, traits=traits))
    pipeline.run()
    for number in range(len(rows)):
        subject = f"shop/person{number}"
        pipeline.send(DECISION_REQUESTS, subject, DecisionRequest(f"r{number}", subject, "web", ["hero"]))
    pipeline.run()
    assert pipeline.values(DEAD_LETTERS) == []
    audits = sorted(pipeline.values(DECISION_AUDIT), key=lambda one: int(one.request.request_id[1:]))
    return pipeline, audits


def test_everybody_is_shown_what_the_library_says_is_worth_most(published: tuple[Outbound, ...]) -> None:
    rows = some_rows(12, seed=5)
    _, audits = decided(published, *rows)
    shown = set()
    for row, audit in zip(rows, audits, strict=True):
        predicted = pipeline_of_scikit_learn().predicted([(*row[:3], value) for value in VALUES.values()])
        worth = {name: value * p for (name, value), p in zip(VALUES.items(), predicted, strict=True)}
        best = max(worth, key=lambda name: worth[name])
        assert audit.decisions[0].item_id == best
        assert {one.item_id: one.score for one in audit.candidates} == pytest.approx(worth, rel=1e-4)
        shown.add(best)
    assert shown == set(VALUES), "not one item for everybody"


def test_its_audits_are_decided_again_from_the_topics_alone(published: tuple[Outbound, ...]) -> None:
    _, audits = decided(published, *some_rows(4, seed=6))
    history = History(opened)
    for record in published:
        value = None if record.value is None else avro.decode(BY_NAME[record.topic], record.value)
        if record.topic == POLICY_RELEASES.name:
            history.take_release(record.key.decode(), value)
        elif record.topic == CATALOG_ITEMS.name:
            history.take_item(record.key.decode(), value)
    for audit in audits:
        assert differences(audit, decided_again(audit, history.live(audit))) == []

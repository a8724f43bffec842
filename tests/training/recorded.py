"""A recorded run through the in-memory pipeline, its topics in a log store, and what was seen while it ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from log_store.batches import Place
from log_store.columns import LOGGED
from log_store.read import Store
from log_store.sink import Sink
from pipeline.core.decide import decision as deciding
from pipeline.core.decide.gates import DecisionContext
from pipeline.core.model.definitions import Placement
from pipeline.core.model.records import AuditRecord, Chosen, DecisionReply, FeedbackEvent, FeedbackKind
from pipeline.core.release.history import History
from pipeline.runtime.memory import MemoryPipeline, counting_chance
from pipeline.topology import FLOWS
from tests.log_store.shelf import Memory
from tests.support import shop
from topics.catalog import (
    BY_NAME,
    CATALOG_ITEMS,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    POLICY_RELEASES,
)

MINUTE, HOUR = 60_000, 3_600_000

POLICY = shop.POLICY.replace("max_variants: 1", "max_variants: 2\n    ranking: mixed").replace(
    "limit: 2\n", "limit: 500\n").replace("signals:", """outcomes:
  click: {event: {event: click}, window: 1h, wait: 1m}
  purchase: {event: {event: conversion}, window: 2h, wait: 1m, reward: event.value}
features:
  clicked: {count: {event: click}, window: 1d}
  liked: {count: {event: click}, window: 1d, per: item}
rankings:
  mixed:
    formula: candidate.value + 0.1 * double(features.clicked) + double(candidate.features.liked)
    lottery: true
signals:""")


@dataclass(slots=True)
class Run:
    """A pipeline, and by (decision, placement) the facts of the moment, and of each item, as they were decided by."""

    pipeline: MemoryPipeline
    seen: dict[tuple[str, str], tuple[dict[str, Any], dict[str, dict[str, Any]]]] = field(default_factory=dict)

    def publish(self, folder: Path, text: str) -> None:
        for record in shop.publication(folder, text):
            self.pipeline.send(BY_NAME[record.topic], record.key, record.value)
        self.pipeline.run()

    def ask(self, request_id: str, subject: str) -> DecisionReply:
        self.pipeline.send(DECISION_REQUESTS, subject, shop.request(request_id, subject, max_variants=2))
        self.pipeline.run()
        replies: list[DecisionReply] = self.pipeline.values(DECISION_REPLIES)
        return next(one for one in reversed(replies) if one.request_id == request_id)

    def tell(self, reply: DecisionReply, subject: str, kind: FeedbackKind, item: str, value: float | None) -> None:
        event = FeedbackEvent(
            f"{kind.value}-{reply.decision_id}", subject, kind, self.pipeline.clock.at_ms, kind.value, item,
            reply.decision_id, value=value, channel="web")
        self.pipeline.send(FEEDBACK_EVENTS, subject, event)
        self.pipeline.run()

    def settle(self) -> None:
        self.pipeline.advance(3 * HOUR)
        for _ in range(20):
            self.pipeline.advance(1)

    def store(self) -> Store:
        """A log store of all that was said so far."""
        objects = Memory()
        sink = Sink(Place(objects, self.pipeline.key_encryption, counting_chance()), 1 << 30, 60.0)
        for topic in LOGGED.values():
            for number, log in enumerate(self.pipeline.logs.get(topic.name, [])):
                sink.assigned(topic.name, number)
                for record in log:
                    sink.take(record, 0, 0.0)
                sink.flush(topic.name, number)
        return Store(objects, self.pipeline.key_encryption, self.pipeline.keyring())

    def history(self) -> History:
        """Every release; the catalog is taken as far as an audit asks, see `live`."""
        history = History()
        for record in self.pipeline.logs[POLICY_RELEASES.name][0]:
            history.take_release((record.key or b"").decode(), self.pipeline._decoded(POLICY_RELEASES, record.value))
        return history

    def live(self, history: History, audit: AuditRecord) -> Any:
        history.start_over()
        for record in self.pipeline.logs[CATALOG_ITEMS.name][0][: audit.catalog_version + 1]:
            value = None if record.value is None else self.pipeline._decoded(CATALOG_ITEMS, record.value)
            history.take_item((record.key or b"").decode(), value)
        return history.live(audit)


def watched(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose decisions are watched: what they decide by is copied at the moment."""
    run, fill = Run(MemoryPipeline(FLOWS)), deciding._fill

    def watch(ctx: DecisionContext, placement: Placement) -> tuple[list[Chosen], str]:
        made = fill(ctx, placement)
        items = {one.item_id: dict(ctx.of(ctx.live.items[one.item_id])) for one in made[0]}
        run.seen.setdefault((ctx.decision_id, placement.id), (dict(ctx.facts), items))
        return made

    monkeypatch.setattr(deciding, "_fill", watch)
    return run


def begun(run: Run, tmp_path: Path, *subjects: str) -> None:
    run.publish(tmp_path / "policy", POLICY)
    for subject in subjects:
        run.pipeline.send(IDENTITY_EVENTS, subject, shop.consent(subject, run.pipeline.clock.at_ms))
    run.pipeline.run()

"""`nextbest journeys` against a worker on a real broker: from events to the funnel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.adapters.system_clock import SystemClock
from pipeline.adapters.topic_admin import ensure_topics
from pipeline.cli.main import app
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.core.model.values import replaced
from pipeline.settings import Settings
from tests.support import shop
from tests.support.stack import Client, WorkerProcess, ready, wait_until
from topics.catalog import (
    BY_NAME,
    DECISION_REPLIES,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    JOURNEY_CHANGES,
    REPLY_PARTITIONS,
    SUBJECT_PARTITIONS,
)

pytestmark = pytest.mark.broker

APP_ID = "journeys"
ANN, BEN = "journeys/ann", "journeys/ben"
POLICY = shop.POLICY + """
journeys:
  trial:
    enter: {event: page}
    stages:
      new: {next: {keen: {event: click}}}
      keen: {next: {bought: {event: conversion}}}
      bought: {goal: true}
"""


def test_events_become_a_funnel(bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_topics(Settings(bootstrap=bootstrap, app_id=APP_ID))
    client = Client(bootstrap, APP_ID)
    for record in shop.publication(tmp_path / "policy", POLICY, "journeys"):
        client.send(BY_NAME[record.topic], record.key, record.value)
    for name, value in (("BOOTSTRAP", bootstrap), ("APP_ID", APP_ID), ("TENANT", "journeys")):
        monkeypatch.setenv(f"NEXTBEST_{name}", value)
    worker = WorkerProcess(bootstrap, tmp_path / "worker", APP_ID, tenant="journeys")
    ready([worker])
    at_ms = SystemClock().now_ms()
    agreed = {subject: replaced(shop.consent(subject, 1), reply_partition=0) for subject in (ANN, BEN)}
    for subject, said in agreed.items():
        client.send(IDENTITY_EVENTS, subject, said)
    client.flush()
    # Topics are read side by side: what comes before the consent is not learnt.
    wait_until(lambda: {said.event_id for said in agreed.values()} <= {
        one.request_id for one in client.values(DECISION_REPLIES, [0] * REPLY_PARTITIONS)}, what="two confirmations")
    for subject, kinds in ((ANN, ("page", "click", "conversion")), (BEN, ("page",))):
        for kind in kinds:
            item = None if kind == "page" else "tips"
            client.send(FEEDBACK_EVENTS, subject, FeedbackEvent(
                f"{subject}-{kind}", subject, FeedbackKind(kind), at_ms, name=kind, item_id=item, channel="web"))
    client.flush()
    try:
        wait_until(lambda: sum(one.tenant == "journeys" for one in client.values(
            JOURNEY_CHANGES, [0] * SUBJECT_PARTITIONS)) >= 4, what="four moves")
        done = CliRunner().invoke(app, ["journeys", "funnel", "trial", "--json"])
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert (found["entries"], found["goals"]) == (2, 1)
        assert [(one["stage"], one["entered"], one["in_now"]) for one in found["stages"]] == [
            ("new", 2, 1), ("keen", 1, 0), ("bought", 1, 1)]
        shown = CliRunner().invoke(app, ["journeys", "show", BEN, "--json"])
        assert json.loads(shown.stdout)["journeys"]["trial"]["stage"] == "new"
    finally:
        worker.stop()

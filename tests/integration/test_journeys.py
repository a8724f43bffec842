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
from pipeline.settings import Settings
from tests.support import shop
from tests.support.stack import Client, WorkerProcess, ready, wait_until
from topics.catalog import BY_NAME, FEEDBACK_EVENTS, IDENTITY_EVENTS, JOURNEY_CHANGES, SUBJECT_PARTITIONS

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
    for subject, kinds in ((ANN, ("page", "click", "conversion")), (BEN, ("page",))):
        client.send(IDENTITY_EVENTS, subject, shop.consent(subject, 1))
        client.flush()
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

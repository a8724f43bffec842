"""From decisions on a real broker to training data and reports, by the commands alone."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.main import app
from pipeline.core.model.records import AuditRecord, FeedbackEvent, FeedbackKind
from pipeline.settings import Settings
from tests.support import shop
from tests.support.broker import fresh_topics
from tests.support.stack import Client, WorkerProcess, ready, wait_until
from topics.catalog import (
    BY_NAME,
    DECISION_AUDIT,
    DECISION_REQUESTS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    OUTCOMES,
)

pytestmark = pytest.mark.broker

APP_ID, TENANT, SUBJECTS = "training", "train", 40
POLICY = shop.POLICY.replace("max_variants: 1", "max_variants: 1\n    ranking: drawn").replace(
    "limit: 2\n", "limit: 500\n").replace("signals:", """outcomes:
  click: {event: {event: click}, window: 2s, wait: 1s}
rankings:
  drawn: {formula: 'profile.plan == "pro" ? 2.0 : candidate.value', lottery: true}
signals:""").replace('    eligibility: profile.plan == "free"\n', "")


def test_rows_are_what_was_seen_and_reports_read_the_store(bootstrap: str, tmp_path: Path) -> None:
    settings = Settings(bootstrap=bootstrap, app_id=APP_ID, logs=str(tmp_path / "logs"))
    fresh_topics(settings)
    client, worker = Client(bootstrap, APP_ID), WorkerProcess(bootstrap, tmp_path / "worker", APP_ID)
    subjects = [f"{TENANT}/s{number}" for number in range(SUBJECTS)]
    try:
        ready([worker])
        first = {topic: client.ends(topic) for topic in (DECISION_AUDIT, OUTCOMES)}
        for record in shop.publication(tmp_path / "policy", POLICY, TENANT):
            client.send(BY_NAME[record.topic], record.key, record.value)
        for number, subject in enumerate(subjects):
            client.send(IDENTITY_EVENTS, subject, shop.consent(subject, 1))
            client.send(IDENTITY_EVENTS, subject, shop.traits(subject, 2, plan="pro" if number % 2 else "free"))
        client.flush()
        wait_until(lambda: worker.counts().get("identity/accept/applied", 0) >= 2 * SUBJECTS, what="who they are")
        for turn in range(2):
            for subject in subjects:
                client.send(DECISION_REQUESTS, subject, shop.request(f"r{turn}-{subject}", subject))
        client.flush()

        def audits() -> list[AuditRecord]:
            return [one for one in client.values(DECISION_AUDIT, first[DECISION_AUDIT])
                    if one.encrypted is None and not one.fallback]

        wait_until(lambda: len(audits()) >= 2 * SUBJECTS, what="every decision")
        for audit in audits():
            if audit.decisions[0].item_id == "tips":
                client.send(FEEDBACK_EVENTS, audit.profile_id, FeedbackEvent(
                    f"c-{audit.decision_id}", audit.profile_id, FeedbackKind.CLICK, audit.at_ms + 1, "click", "tips",
                    audit.decision_id, channel="web"))
        client.flush()
        wait_until(lambda: sum(one.final for one in client.values(OUTCOMES, first[OUTCOMES])) >= 2 * SUBJECTS,
                   what="every final outcome")
        # Today everybody is somebody else.
        for subject in subjects:
            client.send(IDENTITY_EVENTS, subject, shop.traits(subject, 3, plan="gone"))
        client.flush()
        seen = {one.decision_id: one for one in audits()}
    finally:
        worker.stop()

    def run(*arguments: str) -> Result:
        environment = {"NEXTBEST_BOOTSTRAP": bootstrap, "NEXTBEST_APP_ID": APP_ID, "NEXTBEST_LOGS": settings.logs}
        return CliRunner().invoke(app, [*arguments], env=environment)

    told = run("logs", "sink", "--once")
    assert told.exit_code == 0, told.output
    file = tmp_path / "rows.parquet"
    told = run("training-data", "write", "--out", str(file), "--tenant", TENANT, "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["rows"] == 2 * SUBJECTS and file.stat().st_mode & 0o077 == 0
    rows = pq.read_table(file).to_pylist()
    assert {row["decision_id"] for row in rows} == set(seen)
    for row in rows:
        audit = seen[row["decision_id"]]
        assert audit.profile_before is not None
        plan = audit.profile_before.traits.get("plan")
        assert row["feature.profile.plan"] == ("free" if plan is None else plan.value) != "gone"
        assert (row["action"], row["pscore"]) == (audit.decisions[0].item_id, audit.decisions[0].propensity)
        assert row["reward.click"] == float(row["action"] == "tips")
        assert row["candidates"] == ["tips", "upgrade"]
    assert {row["feature.profile.plan"] for row in rows} == {"free", "pro"}

    told = run("off-policy", "estimate", "--policy", "item:tips", "--tenant", TENANT, "--json", "--method", "snips")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["estimates"][0]["value"] == 1.0
    told = run("experiments", "report", "none", "--tenant", TENANT)
    assert told.exit_code == 1 and "Error" in told.output

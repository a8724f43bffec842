"""`nextbest privacy` against a worker on a real broker: told, forgotten, looked for in every topic and on the disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.adapters.topic_admin import ensure_topics
from pipeline.cli.main import app
from pipeline.settings import Settings
from tests.support import shop
from tests.support.stack import Client, WorkerProcess, ready, wait_until
from topics.catalog import (
    BY_NAME,
    DECISION_AUDIT,
    DECISION_REQUESTS,
    DECISIONS,
    IDENTITY_EVENTS,
    PROFILES_BY_ID,
    SUBJECT_PARTITIONS,
)

pytestmark = pytest.mark.broker

APP_ID = "privacy"
ANN = "shop/ann-of-privacy"


@pytest.fixture
def client(bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A running worker that knows Ann and has decided for her, and commands that look at its cluster and data."""
    ensure_topics(Settings(bootstrap=bootstrap, app_id=APP_ID))
    client = Client(bootstrap, APP_ID)
    for record in shop.publication(tmp_path / "policy"):
        client.send(BY_NAME[record.topic], record.key, record.value)
    for event in (shop.consent(ANN, 1), shop.traits(ANN, 2, plan="Zanzibar")):
        client.send(IDENTITY_EVENTS, ANN, event)
    client.flush()
    for name, value in (("BOOTSTRAP", bootstrap), ("APP_ID", APP_ID), ("DATA_DIR", str(tmp_path / "worker"))):
        monkeypatch.setenv(f"NEXTBEST_{name}", value)
    worker = WorkerProcess(bootstrap, tmp_path / "worker", APP_ID)
    ready([worker])
    yield client
    worker.stop()


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["privacy", *arguments])
    return result.exit_code, result.stdout


def test_somebody_is_told_forgotten_and_looked_for(client: Client) -> None:
    since, audited = client.ends(DECISIONS), client.ends(DECISION_AUDIT)
    client.send(DECISION_REQUESTS, ANN, shop.request("privacy-1", ANN))
    client.flush()
    # The new group answers what other tests have asked, too.
    (mine,) = wait_until(
        lambda: [d for d in client.values(DECISIONS, since) if d.request_id == "privacy-1"], what="a decision"
    )
    wait_until(
        lambda: [a for a in client.values(DECISION_AUDIT, audited) if a.request.request_id == "privacy-1"],
        what="its audit",
    )
    code, told = run("export", ANN)
    document = json.loads(told)
    assert code == 0 and document["profiles"][ANN]["traits"]["plan"]["value"] == "Zanzibar"
    assert document["records"][DECISION_AUDIT.name][0]["value"]["profile_id"] == ANN
    code, told = run("verify", ANN, "--until-retention", "--json")
    traces = {place["topic"] for place in json.loads(told)["places"] if place["kind"] == "trace"}
    assert code == 1 and PROFILES_BY_ID.changelog(APP_ID) in traces and len(traces) == 2, "the log, and the copy"
    before = [message.value() or b"" for message in client.read(DECISION_AUDIT, [0] * SUBJECT_PARTITIONS)]
    assert before and not any(b"Zanzibar" in value or ANN.encode() in value for value in before)

    assert run("erase", ANN, "--by", "ticket 17")[0] == 0
    wait_until(lambda: run("verify", ANN, "--until-retention")[0] == 0, what="nothing that stays")
    (left,) = [d for d in client.values(DECISIONS, since) if d.decision_id == mine.decision_id]
    assert left.encrypted is not None and left.request_id != "privacy-1"
    assert run("verify", ANN)[0] == 1, "the broker has what it replaced until it compacts"

"""A small log through a real broker and worker: every row asked, answered, followed up; its figures add up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.adapters.topic_admin import ensure_topics
from pipeline.cli.main import app
from pipeline.core.model.records import AuditRecord, FeedbackEvent
from pipeline.settings import Settings
from tests.support import shop
from tests.support.stack import Client, WorkerProcess, ready
from topics.catalog import BY_NAME, DECISION_AUDIT, DECISION_REQUESTS, FEEDBACK_EVENTS

pytestmark = pytest.mark.broker

APP_ID = "replay-log-test"
TENANT = "replayed"
ROWS = 60
MAPPING = f"""\
tenant: {TENANT}
subject: {{columns: visitor}}
item: shown
placement: {{constant: hero}}
click: clicked
propensity: chance
timestamp: at
consent: {{purpose: personalization, column: agreed}}
"""


@pytest.fixture(scope="module")
def client(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A running worker with the shop's policy; the client to look at what it was sent."""
    ensure_topics(Settings(bootstrap=bootstrap, app_id=APP_ID))
    client = Client(bootstrap, APP_ID)
    for record in shop.publication(tmp_path_factory.mktemp("policy"), tenant=TENANT):
        client.send(BY_NAME[record.topic], record.key, record.value)
    client.flush()
    worker = WorkerProcess(bootstrap, tmp_path_factory.mktemp("worker"), APP_ID)
    ready([worker])
    yield client
    worker.stop()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments that replay 60 rows of 20 visitors, five of whom never agreed; one row is broken."""
    monkeypatch.setenv("NEXTBEST_APP_ID", APP_ID)
    lines = ["visitor,shown,clicked,chance,at,agreed"]
    for row in range(ROWS):
        visitor = row % 20
        item, clicked = ("upgrade", "tips")[row % 2], int(row % 6 == 0)
        agreed = "" if visitor < 5 else "yes"
        lines.append(f"{tmp_path.name}-v{visitor},{item},{clicked},0.5,2024-01-01T00:{row:02}:00Z,{agreed}")
    lines.append("last,upgrade,perhaps,0.5,2024-01-01T02:00:00Z,yes")
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "map.yaml").write_text(MAPPING)
    return ["replay-log", str(tmp_path / "log.csv"), "--mapping", str(tmp_path / "map.yaml"), "--json"]


def test_a_log_goes_through_the_pipeline_and_its_figures_add_up(client: Client, log: list[str]) -> None:
    since = {topic.name: client.ends(topic) for topic in (DECISION_AUDIT, DECISION_REQUESTS, FEEDBACK_EVENTS)}
    result = CliRunner().invoke(app, [*log, "--bootstrap", client.settings.bootstrap])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)

    assert summary["requests"] == {"sent": ROWS, "answered": ROWS, "unanswered": 0, "resent": 0, "held_back": 0}
    (bad,) = summary["rows"]["bad_told"]
    assert bad == "row 61: clicked: `perhaps` is neither true nor false (1/0, true/false, yes/no)"
    assert summary["events_sent"] == {"consent": 15, "view": ROWS, "click": 10}
    # Everybody is asked for three times; who agreed gets `upgrade` twice, the cap's limit, and then `tips`.
    assert summary["decisions"]["by_reason"] == {"decided": 45, "no_consent": 15}
    caps = summary["decisions"]["cap_refusals"]
    assert (caps["audited_decisions"], caps["decisions_with_a_capped_candidate"], caps["candidates"]) == (60, 15, 15)
    chosen = {item["item"]: item["chosen_by_us"] for item in summary["items"]["top"]}
    assert chosen == {"upgrade": 30, "tips": 15}

    audits: list[AuditRecord] = client.values(DECISION_AUDIT, since[DECISION_AUDIT.name])
    feedback: list[FeedbackEvent] = client.values(FEEDBACK_EVENTS, since[FEEDBACK_EVENTS.name])
    assert len(client.read(DECISION_REQUESTS, since[DECISION_REQUESTS.name])) == ROWS
    assert Counter(event.kind.value for event in feedback) == {"view": ROWS, "click": 10}
    decided = {audit.decision_id: audit.decisions[0].item_id for audit in audits if not audit.fallback}
    named = [event for event in feedback if event.decision_id is not None]
    assert named and all(decided[event.decision_id or ""] == event.item_id for event in named)
    views = [event for event in named if event.kind.value == "view"]
    assert summary["estimates"]["click"]["matches"] == len(views)
    assert summary["estimates"]["click"]["rows"] == 45


def test_the_same_run_again_decides_nothing_anew(client: Client, log: list[str]) -> None:
    arguments = [*log, "--bootstrap", client.settings.bootstrap, "--run", "again"]
    first = json.loads(CliRunner().invoke(app, arguments).stdout)
    since = client.ends(DECISION_AUDIT)
    again = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert again["decisions"]["by_reason"] == first["decisions"]["by_reason"]
    assert again["items"] == first["items"]
    assert again["requests"]["answered"] == ROWS
    assert client.read(DECISION_AUDIT, since) == []

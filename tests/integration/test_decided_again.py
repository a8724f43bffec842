"""Audits replayed from the topics alone, after policy, catalog and profiles were replaced by others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.adapters.history import PublishedHistory
from pipeline.cli.main import app
from pipeline.core.decide.replay import decided_again, differences
from pipeline.core.model.records import AuditRecord
from pipeline.core.model.values import replaced
from pipeline.core.release.history import NotKept
from pipeline.settings import Settings
from tests.support import shop
from tests.support.broker import fresh_topics
from tests.support.stack import Client, WorkerProcess, ready, wait_until
from topics.catalog import (
    BY_NAME,
    CATALOG_ITEMS,
    DECISION_AUDIT,
    DECISION_REQUESTS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
)

pytestmark = pytest.mark.broker

APP_ID = "again"
SUBJECTS = [f"again/{name}" for name in ("ann", "bob", "cem")]

#: The same release with other items; then another release with others again.
OTHER_ITEMS = shop.POLICY.replace("Upgrade now", "Upgrade today").replace("priority: 10", "priority: 60")
OTHER = (OTHER_ITEMS.replace("limit: 2", "limit: 1").replace('plan == "free"', 'plan == "pro"')
         .replace("  tips:", "  hints:"))


class Installation:
    """A worker, and what is asked of it."""

    def __init__(self, bootstrap: str, folder: Path, worker: WorkerProcess) -> None:
        self.worker = worker
        self.settings = Settings(bootstrap=bootstrap, app_id=APP_ID)
        self.client = Client(bootstrap, APP_ID)
        self.first = self.client.ends(DECISION_AUDIT)
        self.folder = folder
        self.asked = 0

    def publish(self, text: str, *removed: str) -> None:
        """Publish, and wait until it is what the worker decides by."""
        for record in shop.publication(self.folder / "policy", text, "again"):
            self.client.send(BY_NAME[record.topic], record.key, record.value)
        for item in removed:
            self.client.send(CATALOG_ITEMS, f"again/{item}", None)
        self.client.flush()
        (end,) = self.client.ends(CATALOG_ITEMS)

        def followed() -> bool:
            self.ask("again/probe")
            return any(audit.catalog_version == end - 1 for audit in self.audits())

        wait_until(followed, what="a decision by what was published")

    def applied(self, **records: int) -> None:
        """Wait until so many records of these flows are applied: requests do not wait for what was sent before."""
        self.client.flush()
        wait_until(lambda: all(self.worker.counts().get(f"{flow}/accept/applied", 0) >= count
                               for flow, count in records.items()), what="what was sent before")

    def ask(self, subject: str) -> None:
        self.asked += 1
        self.client.send(DECISION_REQUESTS, subject, shop.request(f"again-{self.asked}", subject))
        self.client.flush()

    def ask_everybody(self) -> None:
        for _ in range(2):
            for subject in SUBJECTS:
                self.ask(subject)

    def audits(self) -> list[AuditRecord]:
        """All so far, each once."""
        found = (audit for audit in self.client.values(DECISION_AUDIT, self.first) if audit.encrypted is None)
        return list({audit.decision_id: audit for audit in found if audit.profile_id.startswith("again/")}.values())


@pytest.fixture
def there(bootstrap: str, tmp_path: Path) -> Iterator[Installation]:
    fresh_topics(Settings(bootstrap=bootstrap, app_id=APP_ID))
    worker = WorkerProcess(bootstrap, tmp_path / "worker", APP_ID)
    ready([worker])
    yield Installation(bootstrap, tmp_path, worker)
    worker.stop()


@pytest.fixture
def history(there: Installation) -> Iterator[PublishedHistory]:
    history = PublishedHistory(there.settings)
    yield history
    history.close()


def test_a_run_is_decided_the_same_again_from_the_topics_alone(there: Installation, history: PublishedHistory) -> None:
    for subject in SUBJECTS:
        there.client.send(IDENTITY_EVENTS, subject, shop.consent(subject, 1))
    there.applied(identity=len(SUBJECTS))
    there.publish(shop.POLICY)
    there.ask_everybody()
    there.publish(OTHER_ITEMS)
    there.ask_everybody()
    for subject in SUBJECTS:
        there.client.send(IDENTITY_EVENTS, subject, shop.traits(subject, 2, plan="pro"))
        there.client.send(FEEDBACK_EVENTS, subject, shop.click(subject, "tips", 3, f"click-{subject}"))
    there.applied(identity=2 * len(SUBJECTS), feedback=len(SUBJECTS))
    there.publish(OTHER, "tips")
    there.ask_everybody()
    wait_until(lambda: len(there.audits()) == there.asked, what="every audit")

    audits = sorted(there.audits(), key=lambda one: one.catalog_version)
    assert len({one.policy_digest for one in audits}) == 2
    assert len({one.catalog_digest for one in audits}) >= 3
    assert {one.decisions[0].item_id for one in audits if not one.fallback} == {"upgrade", "tips", "hints"}
    for audit in audits:
        assert differences(audit, decided_again(audit, history.live(audit))) == []
    for audit in reversed(audits[:: len(SUBJECTS)]):
        assert differences(audit, decided_again(audit, history.live(audit))) == [], "read from the beginning again"

    newest = history.live(audits[-1])
    others = [one for one in audits if one.catalog_digest != audits[-1].catalog_digest]
    asked = [one for one in others if one.profile_id in SUBJECTS]
    assert len(asked) == 4 * len(SUBJECTS)
    assert all("candidates" in differences(one, decided_again(one, newest)) for one in asked), "by what is live now"

    told = CliRunner().invoke(app, ["audit", "check", "--since", "1h", "--json"], env={
        "NEXTBEST_BOOTSTRAP": there.settings.bootstrap, "NEXTBEST_APP_ID": APP_ID})
    counts = json.loads(told.stdout)["counts"]
    assert told.exit_code == 0 and counts["same"] >= len(audits) and counts.keys() <= {"same", "encrypted"}, told.output

    for wrong, said in (
        ({"catalog_version": 10**12}, "which ends at"),
        ({"catalog_digest": "0" * 32}, "compacted too early"),
        ({"release": "none", "policy_digest": "0" * 32}, "is not in policy"),
    ):
        with pytest.raises(NotKept, match=said):
            history.live(replaced(audits[0], **wrong))

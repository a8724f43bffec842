"""A model on a real broker: from a decision to its reward, the snapshot and the next decisions; and with `kill -9`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.adapters import profile_reader
from pipeline.adapters.keys import Keys
from pipeline.core.model.records import AuditRecord, FeedbackEvent, FeedbackKind
from pipeline.core.subject import ModelState
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
    MODEL_SNAPSHOTS,
    OUTCOMES,
    Topic,
)

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]

APP_ID, TENANT = "learning", "learning"
SUBJECTS = 24
POLICY = shop.POLICY.replace("limit: 2\n", "limit: 1000\n").replace("placements:\n  hero:", f"""models:
  hero: {{kind: beta, outcome: click, snapshot: {{every: 10m, after: {SUBJECTS}}}}}
rankings:
  learnt: {{model: hero}}
outcomes:
  click: {{event: {{event: click}}, window: 1s, wait: 8s}}
placements:
  hero:
    ranking: learnt""", 1)


class Shop:
    """Two workers, subjects who agreed, and what is asked of them."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        published = shop.publication(folder / "policy", POLICY, TENANT)
        self.settings = Settings(bootstrap=bootstrap, app_id=APP_ID)
        fresh_topics(self.settings)
        self.client = Client(bootstrap, APP_ID)
        self.since: dict[Topic, list[int]] = {
            topic: [0] * topic.partitions for topic in (DECISION_AUDIT, OUTCOMES, MODEL_SNAPSHOTS)}
        self.subjects = [f"{TENANT}/s{number}" for number in range(SUBJECTS)]
        for record in published:
            self.client.send(BY_NAME[record.topic], record.key, record.value)
        for subject in self.subjects:
            self.client.send(IDENTITY_EVENTS, subject, shop.consent(subject, 1))
        self.client.flush()
        self.asked = 0
        self.workers = [WorkerProcess(bootstrap, folder / name, APP_ID) for name in ("one", "two")]

    def open(self) -> None:
        """Wait until the workers decide by the policy."""
        ready(self.workers)
        wait_until(self._followed, what="a decision by the policy")

    def _followed(self) -> bool:
        """Whether everybody gets something that is no fallback; what is shown to try it is shown, and learnt."""
        self.ask(self.subjects[:1])
        return bool(self.audits())

    def ask(self, subjects: list[str]) -> list[str]:
        """The ids of the requests."""
        asked = []
        for subject in subjects:
            self.asked += 1
            asked.append(f"r{self.asked}")
            self.client.send(DECISION_REQUESTS, subject, shop.request(asked[-1], subject))
        self.client.flush()
        return asked

    def decided(self, requests: list[str]) -> None:
        """Wait until each is decided."""
        wait_until(lambda: set(requests) <= {one.request.request_id for one in self.audits()}, what="every decision")

    def audits(self) -> list[AuditRecord]:
        """Of what is no fallback, each once."""
        found = self.client.values(DECISION_AUDIT, self.since[DECISION_AUDIT])
        return list({one.decision_id: one for one in found
                     if one.profile_id.startswith(f"{TENANT}/") and not one.fallback}.values())

    def click(self, audit: AuditRecord) -> None:
        """A click a millisecond after the decision, whenever it is sent."""
        self.client.send(FEEDBACK_EVENTS, audit.profile_id, FeedbackEvent(
            f"k-{audit.decision_id}", audit.profile_id, FeedbackKind.CLICK, audit.at_ms + 1, "click",
            audit.decisions[0].item_id, audit.decision_id, channel="web"))

    def finals(self) -> dict[str, tuple[float, float]]:
        """Item → final records and their rewards, each once."""
        records = {one.outcome_id: one for one in self.client.values(OUTCOMES, self.since[OUTCOMES]) if one.final}
        found: dict[str, tuple[float, float]] = {}
        for one in records.values():
            count, total = found.get(one.action, (0.0, 0.0))
            found[one.action] = count + 1.0, total + one.reward
        return found

    def learnt(self) -> dict[str, tuple[float, float]]:
        """Item → showings and rewards, as the model's key has them."""
        key = f"{TENANT}/%hero"
        state = profile_reader.read(self.settings, [key]).get(key)
        if not isinstance(state, ModelState):
            return {}
        sums = {name: np.frombuffer(data) for name, data in state.items.items()}
        return {name: (float(one[0]), float(one[1])) for name, one in sums.items()}


@pytest.fixture
def there(bootstrap: str, tmp_path: Path) -> Iterator[Shop]:
    one = Shop(bootstrap, tmp_path)
    try:
        one.open()
        yield one
    finally:
        for worker in one.workers:
            worker.stop()


def test_what_is_clicked_is_shown_next_and_a_snapshot_is_everywhere_at_once(
    there: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    there.decided(there.ask(there.subjects))
    for audit in there.audits():
        if audit.decisions[0].item_id == "tips":
            there.click(audit)
    there.client.flush()
    # Windows close by themselves; the last of so many observations cuts the snapshot.
    end = time.monotonic() + 60
    while not (cut := there.client.read(MODEL_SNAPSHOTS, there.since[MODEL_SNAPSHOTS])):
        assert time.monotonic() < end, f"no snapshot: {there.learnt()} of {there.finals()}"
    cut_ms = cut[0].timestamp()[1]
    owners = {partition: place for place, worker in enumerate(there.workers) for partition in worker.partitions()}
    first: dict[int, int] = {}
    while len(first) < 2:
        assert time.monotonic() < end + 30, f"the snapshot decides only at {first}"
        there.ask(there.subjects)
        with Keys(there.settings) as keys:
            for message in there.client.read(DECISION_AUDIT, there.since[DECISION_AUDIT]):
                audit = keys.value(DECISION_AUDIT, message.key(), message.value())
                if isinstance(audit, AuditRecord) and audit.models and audit.models["hero"].snapshot == 1:
                    place = owners[message.partition() or 0]
                    first[place] = min(first.get(place, 2**63), audit.at_ms)
    with capsys.disabled():
        print(f"\nthe snapshot decided {sorted(at_ms - cut_ms for at_ms in first.values())} ms after the broker had it")
    assert max(first.values()) - cut_ms < 5_000
    shown: Counter[str] = Counter()
    there.decided([request for _ in range(3) for request in there.ask(there.subjects)])
    for audit in there.audits():
        if audit.models["hero"].snapshot == 1:
            shown[audit.decisions[0].item_id] += 1
    assert shown["tips"] > 4 * shown["upgrade"], shown


def test_a_killed_worker_loses_no_reward_and_none_is_learnt_twice(there: Shop) -> None:
    clicked: set[str] = set()
    asked: list[str] = []
    for turn in range(6):
        asked += there.ask(there.subjects)
        for audit in there.audits():
            if audit.decision_id not in clicked and audit.decisions[0].item_id == "tips":
                clicked.add(audit.decision_id)
                there.click(audit)
        there.client.flush()
        if turn == 3:
            there.workers[0].kill()
    ready(there.workers[1:])
    there.decided(asked)
    decided = len(there.audits())
    wait_until(lambda: sum(count for count, _ in there.finals().values()) >= decided, what="the close of every window")
    wait_until(lambda: there.learnt() == there.finals(),
               what="what the model learnt being the total of what was closed")
    assert sum(count for count, _ in there.learnt().values()) == decided
    assert len(clicked) > SUBJECTS / 4 and there.learnt()["tips"][1] > 0.0

"""A broker that goes away and comes back under a bridge: the bridge lives on, answers everybody, and is ready again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from pipeline.adapters.topic_admin import ensure_topics
from pipeline.local.broker import EmbeddedBroker
from pipeline.settings import Settings
from tests.bridge.pipeline_double import decide_body
from tests.support import shop
from tests.support.stack import Client, WorkerProcess, free_port, wait_until
from topics.catalog import BY_NAME

pytestmark = pytest.mark.broker

RESTARTS = 3
READY_AGAIN_S = 15.0
UNANSWERED = {"deadline", "circuit_open", "pipeline_unavailable"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A broker of these tests' own: the session's is everybody's."""
    broker = EmbeddedBroker(tmp_path_factory.mktemp("broker"), free_port())
    broker.start()
    ensure_topics(Settings(bootstrap=broker.bootstrap))
    client = Client(broker.bootstrap)
    for record in shop.publication(tmp_path_factory.mktemp("policy")):
        client.send(BY_NAME[record.topic], record.key, record.value)
    client.flush()
    yield broker
    broker.stop()


@pytest.fixture
def worker(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[WorkerProcess]:
    # By default a worker ends itself where no broker was there for six seconds, and is started again by its supervisor.
    worker = WorkerProcess(broker.bootstrap, tmp_path / "worker", "nextbest", session_timeout_ms=60_000)
    yield worker
    worker.stop()


@dataclass
class Bridge:
    process: subprocess.Popen[bytes]
    log: Path
    client: httpx.Client

    def readyz(self) -> int:
        """0: nothing listens."""
        try:
            return self.client.get("/readyz").status_code
        except httpx.TransportError:
            return 0

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-2_000:]
        return self.readyz() == 200


@pytest.fixture
def bridge(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Bridge]:
    port, log = free_port(), tmp_path / "bridge.log"
    environment = os.environ | {
        "NEXTBEST_BOOTSTRAP": broker.bootstrap, "NEXTBEST_HTTP_PORT": str(port), "NEXTBEST_TENANT": "shop",
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli.main", "bridge"], env=environment, stdout=file, stderr=file
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        yield Bridge(process, log, client)
    process.terminate()
    process.wait(30)


@dataclass
class Callers:
    """Somebody who asks for decisions, and a health check, each in a thread, until told to stop."""

    bridge: Bridge
    answers: list[tuple[int, str, float]] = field(default_factory=list)
    health: list[int] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Callers:
        self.threads = [threading.Thread(target=work) for work in (self._decide, self._check)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def see_a_decision(self) -> None:
        """Wait until somebody who asks from now on is answered by the pipeline."""
        since = len(self.answers)
        wait_until(lambda: {reason for _, reason, _ in self.answers[since:]} - UNANSWERED, 10, "a decision")

    def _decide(self) -> None:
        while not self.stopping.wait(0.05):
            began_s = time.monotonic()
            try:
                body = decide_body(f"user-{len(self.answers)}")
                answer = self.bridge.client.post("/personalization/decide", json=body)
                reason = answer.json()["reason"] if answer.status_code == 200 else answer.text
                self.answers.append((answer.status_code, reason, time.monotonic() - began_s))
            except httpx.TransportError as error:
                self.answers.append((0, repr(error), time.monotonic() - began_s))

    def _check(self) -> None:
        while not self.stopping.wait(0.02):
            self.health.append(self.bridge.readyz())


def test_the_bridge_outlives_its_broker_and_answers_everybody(
    broker: EmbeddedBroker, worker: WorkerProcess, bridge: Bridge
) -> None:
    wait_until(bridge.is_ready, what="readiness")
    with Callers(bridge) as callers:
        for _ in range(RESTARTS):
            broker.stop()
            wait_until(lambda: not bridge.is_ready(), 10, "the end of readiness")
            broker.start()
            wait_until(bridge.is_ready, READY_AGAIN_S, "readiness after a restart")
            callers.see_a_decision()
    assert bridge.process.poll() is None
    assert set(callers.health) == {200, 503}
    assert {status for status, _, _ in callers.answers} == {200}, callers.answers
    assert max(waited_s for _, _, waited_s in callers.answers) < 2.0
    assert "Assertion" not in bridge.log.read_text()


def test_it_is_not_ready_within_seconds_of_the_last_workers_end(worker: WorkerProcess, bridge: Bridge) -> None:
    wait_until(bridge.is_ready, what="readiness")
    worker.kill()
    wait_until(lambda: not bridge.is_ready(), 9, "the end of readiness")
    missing = bridge.client.get("/readyz").json()["missing"]
    assert [one.partition(":")[0] for one in missing] == ["no worker takes requests"]

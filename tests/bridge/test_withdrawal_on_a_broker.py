"""On a real broker: the decision after a 202 obeys the withdrawal, also where the worker has a backlog to read."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipeline.bridge.server import Bridge
from pipeline.codecs import avro
from pipeline.core.identity import identifiers
from pipeline.settings import Settings
from tests.support import shop
from tests.support.broker import fresh_topics
from tests.support.stack import Client, WorkerProcess, ready
from topics.catalog import BY_NAME, IDENTITY_EVENTS
from topics.partitions import subject_partition

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]

ROUNDS = 2
#: Events of strangers on the same partition, between the worker and what the bridge sends.
BACKLOG = 8_000
FROZEN_S = 0.6

#: Nobody decided anything: the bridge gave the fallback.
UNANSWERED = ("deadline", "circuit_open", "pipeline_unavailable")


@pytest.fixture
def settings(bootstrap: str) -> Settings:
    return Settings(bootstrap=bootstrap, app_id="withdrawals", tenant="shop", deadline_ms=2_000)


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[int]:
    """The process id of a worker that decides by the shop's policy."""
    fresh_topics(settings)
    client = Client(settings.bootstrap)
    for record in shop.publication(tmp_path / "policy"):
        client.send(BY_NAME[record.topic], record.key, record.value)
    client.flush()
    process = WorkerProcess(settings.bootstrap, tmp_path / "worker", settings.app_id)
    try:
        ready([process])
        yield process.process.pid
    finally:
        process.stop()


class Ann:
    """Somebody who changes their mind, and asks."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.refused_to_promise = 0
        self._said = 0

    async def says(self, granted: bool) -> None:
        """Returns once the bridge has accepted it, as a producer would: by sending it again."""
        self._said += 1
        event = {"type": "identify", "messageId": f"ann-{self._said}", "userId": "ann",
                 "context": {"consent": {"categoryPreferences": {"personalization": granted}}}}
        while (answer := await self._client.post("/v1/events", json=event)).status_code == 503:
            assert answer.json()["type"] == "/problems/consent-not-in-force", answer.text
            self.refused_to_promise += 1
        assert answer.status_code == 202, answer.text

    async def asks(self) -> str:
        body = {"subject": {"id": "ann"}, "context": {"channel": "web", "placement": "hero"}}
        while True:
            answer = await self._client.post("/personalization/decide", json=body)
            if answer.json()["reason"] not in UNANSWERED:
                return str(answer.json()["reason"])


def test_the_next_decision_obeys_whatever_stands_in_the_queue(
    settings: Settings, worker: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.bridge.events_endpoint.CONFIRMED_WITHIN_S", 0.2)
    broker = Client(settings.bootstrap)
    key = identifiers.subject_key(settings.tenant_keys, "shop", "user_id", "ann").encode()
    names = [f"shop/s{n}" for n in range(2_000)]
    strangers = [name for name in names if subject_partition(name.encode()) == subject_partition(key)]
    queue = [(name, avro.encode(IDENTITY_EVENTS, shop.traits(name, n, f"e{n}", plan="plus")))
             for n in range(BACKLOG) for name in [strangers[n % len(strangers)]]]

    async def story() -> tuple[list[str], list[str], int]:
        bridge = Bridge(settings)
        transport = httpx.ASGITransport(app=bridge.app)
        agreed, withdrawn = [], []
        called = httpx.AsyncClient(transport=transport, base_url="http://bridge")
        async with bridge._lifespan(bridge.app), called as client:
            ann, end = Ann(client), time.monotonic() + 30
            while (await client.get("/readyz")).status_code != 200:
                assert time.monotonic() < end, "the bridge is not ready"
                await asyncio.sleep(0.1)
            for _ in range(ROUNDS):
                await ann.says(True)
                agreed.append(await ann.asks())
                os.kill(worker, signal.SIGSTOP)
                asyncio.get_running_loop().call_later(FROZEN_S, os.kill, worker, signal.SIGCONT)
                for name, value in queue:
                    broker.send(IDENTITY_EVENTS, name, value)
                broker.flush()
                await ann.says(False)
                withdrawn.append(await ann.asks())
        return agreed, withdrawn, ann.refused_to_promise

    agreed, withdrawn, refused = asyncio.run(story())
    assert "no_consent" not in agreed
    assert withdrawn == ["no_consent"] * ROUNDS
    assert refused > 0, "the backlog was felt"

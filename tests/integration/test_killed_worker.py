"""kill -9 of one of two workers under load through HTTP: everybody is answered, nothing accepted is lost, caps hold."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import shop
from tests.support.processes import wait_for
from tests.support.stack import Client
from tests.support.up import Up, is_ready
from topics.catalog import DECISIONS, FEEDBACK_EVENTS, SUBJECT_PARTITIONS

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

SECONDS = 14.0
KILL_AT_S = 3.0
REQUESTS_PER_S = 100
#: So many ask at a time, each ten times over five seconds, while the cap lets both items through twice a day each.
USERS_AT_A_TIME = 50
ASKED_EACH = 10
CAP = 2
EVENTS_PER_S = 20

UNANSWERED = {"deadline", "circuit_open", "pipeline_unavailable"}


@dataclass
class Callers:
    """An open-loop load: who asks is asked on time, whether the ones before were answered or not."""

    client: httpx.AsyncClient
    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    #: What each was shown, in answers that are no fallback.
    shown: Counter[tuple[str, str]] = field(default_factory=Counter)
    accepted: set[str] = field(default_factory=set)
    metrics: str = ""

    async def decide(self, number: int) -> None:
        batch, place = divmod(number, USERS_AT_A_TIME * ASKED_EACH)
        user = f"user-{batch}-{place % USERS_AT_A_TIME}"
        body = {"subject": {"id": user}, "context": {"channel": "web", "placement": "hero"}}
        answer = await self.client.post("/personalization/decide", json=body)
        self.statuses[answer.status_code] += 1
        said = answer.json()
        self.reasons[said.get("reason", answer.text)] += 1
        for one in said.get("decisions", ()):
            assert one["fallback"] == said["fallback"] and (one.get("offer_id") or one.get("content_id"))
            if not one["fallback"]:
                self.shown[user, one.get("offer_id") or one.get("content_id")] += 1

    async def click(self, number: int) -> None:
        event = {"type": "track", "messageId": f"click-{number}", "userId": f"user-0-{number % USERS_AT_A_TIME}",
                 "event": "click", "properties": {"item_id": "tips", "channel": "web"}}
        answer = await self.client.post("/v1/events", json=event)
        self.accepted.update(e["message_id"] for e in answer.json().get("events", ()) if e["status"] == "accepted")

    async def consent(self, users: list[str]) -> None:
        batch = [
            {"type": "identify", "userId": user,
             "context": {"consent": {"categoryPreferences": {"personalization": True}}}} for user in users
        ]
        answer = await self.client.post("/v1/events", json={"batch": batch})
        assert answer.json()["accepted"] == len(users), answer.text


async def at_rate(per_s: float, seconds: float, call: Any) -> None:
    """Begin call(0), call(1), … on time; returns when all have ended. Raises what one of them raised."""
    async with asyncio.TaskGroup() as group:
        began_s = time.monotonic()
        for number in range(int(per_s * seconds)):
            await asyncio.sleep(began_s + number / per_s - time.monotonic())
            calling: Coroutine[Any, Any, None] = call(number)
            group.create_task(calling)


async def under_load(url: str, worker: int) -> Callers:
    # Where the machine is busy it is this client that is slow; how long an answer took, the bridge says itself.
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=200)) as client:
        callers = Callers(client)
        batches = int(REQUESTS_PER_S * SECONDS) // (USERS_AT_A_TIME * ASKED_EACH) + 1
        for batch in range(batches):
            await callers.consent([f"user-{batch}-{number}" for number in range(USERS_AT_A_TIME)])
        asyncio.get_running_loop().call_later(KILL_AT_S, os.kill, worker, signal.SIGKILL)
        await asyncio.gather(
            at_rate(REQUESTS_PER_S, SECONDS, callers.decide), at_rate(EVENTS_PER_S, SECONDS, callers.click)
        )
        callers.metrics = (await client.get("/metrics")).text
    return callers


def test_a_killed_worker_costs_no_answer_no_event_and_no_cap(tmp_path: Path) -> None:
    shop.publication(tmp_path / "policy")
    with Up(tmp_path / "data", "--workers", "2", "--policy", str(tmp_path / "policy")) as up:
        url, killed = up.wait_until_ready(), up.parts()["worker-2"]
        callers = asyncio.run(under_load(url, killed))
        wait_for(lambda: up.parts()["worker-2"] != killed, 20)
        wait_for(lambda: is_ready(url), 30)

        asked = int(REQUESTS_PER_S * SECONDS)
        assert callers.statuses == {200: asked}
        decided = callers.reasons.total() - sum(callers.reasons[reason] for reason in UNANSWERED)
        assert decided > asked / 3, callers.reasons
        assert sum(callers.reasons[reason] for reason in UNANSWERED) > 0, "the kill was felt"
        assert f'nextbest_bridge_decide_seconds_bucket{{le="1.0"}} {asked:.1f}\n' in callers.metrics
        assert max(callers.shown.values()) <= CAP

        client = Client(up.bootstrap)
        since = [0] * SUBJECT_PARTITIONS
        made = {decision.request_id: decision for decision in client.values(DECISIONS, since)}.values()
        spent = Counter((made.profile_id, one.item_id) for made in made for one in made.decisions if not one.fallback)
        assert max(spent.values()) == CAP, "used up, and never exceeded"
        kept = Counter(event.event_id for event in client.values(FEEDBACK_EVENTS, since))
        assert callers.accepted <= kept.keys()
        assert len(callers.accepted) == int(EVENTS_PER_S * SECONDS), "the broker was there all the time"

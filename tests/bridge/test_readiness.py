"""`/readyz`: ready only when a decision could be served, and otherwise what is missing."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from confluent_kafka import KafkaException

from pipeline.bridge.breaker import FAILURES_MAX
from tests.bridge.pipeline_double import BridgeDouble, decide_body

pytestmark = pytest.mark.anyio

NOBODY = frozenset[int]()
NO_WORKER = ["no worker takes requests: is one running? One that has just started may still be recovering"]


async def missing(bridge: BridgeDouble, client: httpx.AsyncClient, after_s: float = 1.0) -> list[str]:
    bridge.clock.at_ms += int(after_s * 1_000)
    reply = await client.get("/readyz")
    if reply.status_code == 200:
        return []
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["type"] == "/problems/not-ready"
    found: list[str] = reply.json()["missing"]
    return found


async def test_it_is_ready_once_every_partition_was_read_past_its_probe(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    assert await missing(bridge, client) == NO_WORKER
    bridge.workers.stuck = frozenset({3, 7})
    assert await missing(bridge, client) == [
        "requests in partition 3, 7 are not taken in time: a worker is missing, recovering or far behind"
    ]
    assert bridge.workers.probes == 1
    bridge.workers.stuck = NOBODY
    assert await missing(bridge, client) == []


async def test_a_probe_passed_at_an_unknown_time_is_followed_by_another(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    await missing(bridge, client)
    passed_late = [NOBODY, frozenset({2})]
    bridge.workers.behind = lambda probe: passed_late.pop(0)  # type: ignore[method-assign]
    assert "partition 2 are not taken" in (await missing(bridge, client))[0]
    assert bridge.workers.probes == 2


async def test_a_probe_that_nobody_passes_is_replaced_after_a_while(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    for _ in range(25):
        assert await missing(bridge, client) == NO_WORKER
    assert (bridge.workers.looks, bridge.workers.probes) == (25, 3)


async def test_a_proof_is_good_for_five_seconds(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.workers.stuck = NOBODY
    for _ in range(20):
        assert await missing(bridge, client, 0.5) == []
    assert bridge.workers.probes == 2
    bridge.workers.stuck = frozenset(range(8))
    assert await missing(bridge, client, 0.4) == []
    assert await missing(bridge, client, 0.2) == NO_WORKER


async def test_a_request_without_an_answer_renews_the_proof(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.workers.stuck = NOBODY
    assert await missing(bridge, client) == []
    bridge.wire.mode = "is silent"
    reply = await client.post("/personalization/decide", json=decide_body())
    assert reply.json()["reason"] == "deadline"
    bridge.workers.stuck = frozenset(range(8))
    assert await missing(bridge, client) == NO_WORKER


async def test_unanswered_requests_in_a_row_cost_one_probe_a_second(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.workers.stuck = NOBODY
    bridge.wire.mode = "refuses"
    for _ in range(FAILURES_MAX * 4):
        await client.post("/personalization/decide", json=decide_body())
        assert await missing(bridge, client, 0.2) == []
    assert bridge.workers.probes == 4


async def test_a_broker_that_goes_away_renews_the_proof_though_nobody_asks_for_decisions(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.workers.stuck = NOBODY
    assert await missing(bridge, client) == []
    bridge.asker.broker_went_away()
    bridge.workers.stuck = frozenset(range(8))
    assert await missing(bridge, client) == NO_WORKER


async def test_policy_and_replies_are_asked_for_too(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.workers.stuck = NOBODY
    bridge.policy_missing = "no policy"
    bridge.wire.listening = False
    policy, replies = await missing(bridge, client)
    assert policy == "no policy"
    assert replies.startswith("decision.replies is not read yet")


async def test_a_broker_that_does_not_answer_is_told_as_such(
    bridge: BridgeDouble, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise KafkaException("down")

    monkeypatch.setattr(bridge.workers, "probe", fail)
    assert await missing(bridge, client) == ["the broker does not answer"]


async def test_a_look_that_takes_long_does_not_hold_up_the_answer(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    bridge.workers.stuck = NOBODY
    assert await missing(bridge, client) == []
    answered, bridge.workers.pass_s = threading.Event(), -0.9

    def wait(probe: object) -> frozenset[int]:
        answered.wait(20)
        return NOBODY

    bridge.workers.behind = wait  # type: ignore[method-assign]
    assert await missing(bridge, client, 6) == ["the broker does not answer"]
    answered.set()
    assert await missing(bridge, client) == []


async def test_many_questions_at_once_are_one_look(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.workers.stuck = NOBODY
    replies = await asyncio.gather(*(client.get("/readyz") for _ in range(5)))
    assert {reply.status_code for reply in replies} == {200}
    assert bridge.workers.looks == 1

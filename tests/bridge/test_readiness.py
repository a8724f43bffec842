"""`/readyz`: ready only when a decision could be served, and otherwise what is missing."""

from __future__ import annotations

import httpx
import pytest
from confluent_kafka import KafkaException

from tests.bridge.pipeline_double import ALL_OWNED, BridgeDouble
from topics.catalog import SUBJECT_PARTITIONS

pytestmark = pytest.mark.anyio

READ_PAST = {number: 11 for number in range(SUBJECT_PARTITIONS)}


async def missing(bridge: BridgeDouble, client: httpx.AsyncClient) -> list[str]:
    bridge.clock.at_ms += 1_000
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
    assert await missing(bridge, client) == ["the workers have not got to 8 of 8 partitions yet"]
    bridge.workers.reached = READ_PAST | {7: 10}
    assert await missing(bridge, client) == ["the workers have not got to 1 of 8 partitions yet"]
    bridge.workers.reached = READ_PAST
    assert await missing(bridge, client) == []
    assert bridge.workers.probes == 1


async def test_a_change_of_owners_must_prove_itself_anew(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.workers.reached = READ_PAST
    assert await missing(bridge, client) == []
    bridge.workers.owned = frozenset(ALL_OWNED - {("worker-1", 0)})
    assert await missing(bridge, client) == ["no worker decides for 1 of 8 partitions: is one running?"]
    bridge.workers.owned = frozenset({*bridge.workers.owned, ("worker-2", 0)})
    bridge.workers.reached = {}
    assert await missing(bridge, client) == ["the workers have not got to 8 of 8 partitions yet"]
    assert bridge.workers.probes == 2


async def test_policy_and_replies_are_asked_for_too(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    bridge.workers.reached = READ_PAST
    bridge.policy_missing = "no policy"
    bridge.wire.listening = False
    policy, replies = await missing(bridge, client)
    assert policy == "no policy"
    assert replies.startswith("decision.replies is not read yet")


@pytest.mark.parametrize("error", [KafkaException("down"), TimeoutError()])
async def test_a_broker_that_does_not_answer_is_told_as_such(
    bridge: BridgeDouble, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(bridge.workers, "owners", fail)
    assert await missing(bridge, client) == ["the broker does not answer"]


async def test_many_questions_at_once_are_one_look(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    looks = 0
    owners = bridge.workers.owners

    def counted() -> object:
        nonlocal looks
        looks += 1
        return owners()

    bridge.workers.reached = READ_PAST
    bridge.workers.owners = counted  # type: ignore[method-assign, assignment]
    for _ in range(5):
        assert (await client.get("/readyz")).status_code == 200
    assert looks == 1

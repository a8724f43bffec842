"""Who asks for the same decision at once: nobody waits for an answer that came already."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.system_clock import SystemClock
from pipeline.bridge.asking import DEADLINE, PIPELINE_UNAVAILABLE, Answer, Asker, Unanswered
from pipeline.bridge.metrics import BridgeMetrics
from pipeline.core.hashing import decision_id_of
from pipeline.core.model.records import DecisionReply, DecisionRequest
from pipeline.ports import Outbound
from tests.bridge.pipeline_double import BridgeDouble, decide_body

SUBJECT = "shop/a"
WAIT_MS = 30_000.0


@pytest.mark.anyio
async def test_repeats_of_one_request_never_meet_the_deadline(bridge: BridgeDouble) -> None:
    bridge.consents("ann")
    body = decide_body() | {"request_id": "hot"}
    reasons: Counter[str] = Counter()

    async def repeat() -> None:
        for _ in range(25):
            reply = await client.post("/personalization/decide", json=body, headers={"X-Deadline-Ms": "2000"})
            reasons[reply.json()["reason"]] += 1

    async with bridge.client() as client:
        await asyncio.gather(*(repeat() for _ in range(8)))
    assert reasons == {"decided": 200}
    assert bridge.asker.in_flight == 0 and not bridge.asker._waiting


class Held:
    """A Wire that keeps what is sent until it is told to answer."""

    reply_partition = 0
    listening = True
    away = False

    def __init__(self) -> None:
        self.sent: list[tuple[str, Callable[[], None]]] = []
        #: What a broker does that refuses at once.
        self.refuses = False

    def send(self, record: Outbound, undelivered: Callable[[], None]) -> None:
        self.sent.append((record.key.decode(), undelivered))
        if self.refuses:
            undelivered()

    async def publish(self, records: Any) -> list[Any]:
        raise AssertionError


def _asker(wire: Held) -> Asker:
    return Asker(wire, SystemClock(), BridgeMetrics(), in_flight_max=1_000, patience_ms=150)


def _reply(request_id: str) -> DecisionReply:
    return DecisionReply(request_id, decision_id_of(SUBJECT, request_id), [], False, "decided", "r1")


STEPS = st.lists(st.tuples(
    st.sampled_from(["ask", "ask", "answer", "refuse", "broker away", "turn", "leave"]), st.sampled_from(["r1", "r2"])),
    min_size=1, max_size=25)


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_in_every_interleaving_an_answer_reaches_who_asked_before_it_and_nobody_is_left(
    steps: list[tuple[str, str]]
) -> None:
    asyncio.run(_interleaved(steps))


async def _interleaved(steps: list[tuple[str, str]]) -> None:
    wire = Held()
    asker = _asker(wire)
    asked: list[asyncio.Task[Answer]] = []
    for step, request_id in steps:
        if step == "ask":
            # It runs in the turn after this one, as do those that were just answered: in any order.
            asked.append(asyncio.create_task(asker.ask(DecisionRequest(request_id, SUBJECT, "web", ["hero"]), WAIT_MS)))
        elif step == "answer":
            asker.replied([_reply(request_id)])
        elif step == "refuse" and wire.sent:
            wire.sent.pop()[1]()
        elif step == "broker away":
            asker.broker_went_away()
        elif step == "leave" and asked:
            asked.pop(0).cancel()
        else:
            await asyncio.sleep(0)
        # Whoever comes now starts anew: what is still there waits for what has not come.
        assert all(one.answer is None for same in asker._waiting.values() for one in same)
    await asyncio.sleep(0)
    # Everything that was sent and is still waited for gets its answer; then nobody waits.
    asker.replied([_reply("r1"), _reply("r2")])
    for _ in range(3):
        await asyncio.sleep(0)
    assert all(task.done() for task in asked)
    assert DEADLINE not in [answer.reason for task in asked if isinstance(answer := task.result(), Unanswered)]
    assert asker.in_flight == 0 and not asker._waiting


@pytest.mark.anyio
async def test_a_record_that_is_refused_while_it_is_sent_is_answered_at_once() -> None:
    wire = Held()
    wire.refuses = True
    async with asyncio.timeout(5):
        answer = await _asker(wire).ask(DecisionRequest("r1", SUBJECT, "web", ["hero"]), WAIT_MS)
    assert answer == Unanswered(PIPELINE_UNAVAILABLE)

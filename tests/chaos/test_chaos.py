"""The parts of `make chaos` that need no broker: its plan, its reading of Kafka's own formats, its verdicts."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest

from tests.chaos import load
from tests.chaos.batches import Batch, batches
from tests.chaos.callers_judged import judge_callers
from tests.chaos.calls import Asked, Told
from tests.chaos.logs import INPUTS, OUTPUTS, Logs, commit_of
from tests.chaos.plan import BROKER, FREEZE, JOIN, KILL, LEAVE, Options, faults
from tests.chaos.report import PROMISES, promise_of
from tests.support.stack import Client
from topics.catalog import Topic

#: What is wrong, in the judges' words, and the place of the promise it breaks.
SAID = {
    "no reply to ['r1']": 0,
    "no dead letter for ('identity.events', 1, 2)": 1,
    "plan of ['shop/a'] is None, not pro": 1,
    "r1 shows tips to shop/a though ['r2', 'r3'] had": 2,
    "['shop/a'] counted 6 for clicked|upgrade, not 4": 2,
    "2 different replies to r18": 3,
    "decisions without audit or the reverse: ['38']": 3,
    "the reply to r1 says something else than its decision": 3,
    "r1 was decided for shop/a after consent was withdrawn": 4,
    "['shop/a', 'shop/b'] have the profiles ['shop/a', 'shop/b']": 5,
    "recovered state of b'shop/a' differs from its owner's": 6,
    "vm-1 came back and produced 3 records for partitions it had lost": 7,
}


@pytest.mark.parametrize("seed", range(20))
def test_the_plan_has_every_fault_within_the_load_and_nobody_leaves_before_somebody_joined(seed: int) -> None:
    options = Options(seed=seed)
    plan = faults(options)
    kinds = [fault.kind for fault in plan]
    assert {kind: kinds.count(kind) for kind in kinds} == {KILL: 20, BROKER: 1, FREEZE: 1, JOIN: 2, LEAVE: 2}
    assert all(kinds[:place].count(JOIN) >= kinds[:place].count(LEAVE) for place in range(len(kinds) + 1))
    assert all(0 < fault.at_s < options.load_s for fault in plan)
    assert plan == faults(options)


@pytest.mark.parametrize("said", SAID)
def test_what_is_wrong_is_told_under_the_promise_it_breaks(said: str) -> None:
    assert promise_of(f"family f1: {said}") == PROMISES[SAID[said]][0]


@pytest.mark.parametrize(("version", "rest"), [
    (1, b"\x00\x02ab"), (3, b"\x00\x00\x00\x07\x00\x02ab"), (4, b"\x00\x00\x00\x07\x03ab"),
])  # fmt: skip
def test_a_commit_is_read_in_every_version(version: int, rest: bytes) -> None:
    value = struct.pack(">hq", version, 4711) + rest + struct.pack(">q", 1_800_000_000_123) + b"\x00"
    assert commit_of(value) == (4711, 1_800_000_000_123)


def test_the_writers_of_batches_are_read_up_to_what_is_not_written_yet(tmp_path: Path) -> None:
    def batch(first: int, count: int, producer: int) -> bytes:
        body = struct.pack(">ibIhiqqqhii", 0, 2, 0, 4, count - 1, 100, 200, producer, 0, 0, count) + b"compressed"
        return struct.pack(">qi", first, len(body)) + body

    folder = tmp_path / "t-0"
    folder.mkdir()
    (folder / "00000000000000000000.log").write_bytes(batch(0, 3, 7) + batch(3, 1, 8) + bytes(200))
    assert list(batches(tmp_path, "t", 1)) == [Batch("t", 0, 0, 2, 100, 200, 7), Batch("t", 0, 3, 3, 100, 200, 8)]


def test_answers_that_nobody_gave_and_events_that_are_nowhere_are_noticed() -> None:
    decided = {"reason": "decided", "fallback": False, "decisions": [], "decision_id": "d", "release": "r"}
    declared = {"reason": "deadline", "fallback": True, "decisions": [{"content_id": "welcome", "fallback": True}]}
    told = Told(
        [Asked("r1", 0, 0.0, 1.0, 200, decided), Asked("r2", 0, 0.0, 1.0, 200, declared),
         Asked("r3", 0, 0.0, 1.0, 200, declared | {"decisions": []}), Asked("r4", 0, 0.0, 1.0, 503, {})],
        accepted={"e1"}, refused=["e2: 503"],
    )
    wrong = list(judge_callers(told, Logs({topic.name: [] for topic in (*INPUTS, *OUTPUTS)})))
    assert [promise_of(one) for one in wrong] == [PROMISES[0][0]] * 3 + [PROMISES[1][0]] * 2


class _Nobody(Client):
    """Takes records and sends none."""

    def __init__(self) -> None:
        pass

    def send(self, topic: Topic, key: str | bytes | None, value: object) -> None:
        pass

    def flush(self) -> None:
        pass


def test_the_load_waits_where_too_many_calls_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that carries less gets less, instead of callers who give up."""
    waiting = most = 0

    async def slow(*_: object) -> None:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0.005)
        waiting -= 1

    monkeypatch.setattr(load, "WAITING_MAX", 8)
    monkeypatch.setattr(load, "decide", slow)
    monkeypatch.setattr(load, "report", slow)
    sent = load.Load(Options(requests=60, rate=1e6, over_topics=0.0), [0], _Nobody(), lambda _: None)
    sent.run()
    assert most == 8
    assert 0 < sent.per_s <= 60 / (60 / 8 * 0.005)

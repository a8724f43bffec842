"""A request that names events is decided after them, and nothing else about it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.codecs import positions
from pipeline.core.model.records import DecisionReply
from pipeline.runtime import waiting
from pipeline.runtime.memory import CrashError, MemoryPipeline
from pipeline.runtime.waiting import WAIT_MS_MAX
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import BY_NAME, DEAD_LETTERS, DECISION_REPLIES, DECISION_REQUESTS, DECISIONS, IDENTITY_EVENTS
from topics.partitions import subject_partition

ANN = "shop/ann"


@pytest.fixture
def pipeline(tmp_path: Path) -> MemoryPipeline:
    return begun(tmp_path)


def begun(folder: Path) -> MemoryPipeline:
    found: MemoryPipeline = MemoryPipeline(FLOWS)
    for record in shop.publication(folder):
        found.send(BY_NAME[record.topic], record.key, record.value)
    found.run()
    return found


def next_consent(pipeline: MemoryPipeline, subject: str) -> str:
    """The token of an event of the subject that comes next."""
    partition = subject_partition(subject.encode())
    log = pipeline.logs.get(IDENTITY_EVENTS.name, [[] for _ in range(99)])[partition]
    return positions.write([(IDENTITY_EVENTS.name, partition, len(log))])


def ask(
    pipeline: MemoryPipeline, name: str, subject: str = ANN, after: str = "", deadline_ms: int | None = None
) -> None:
    headers = ((positions.HEADER, after.encode()),) if after else ()
    request = shop.request(name, subject, deadline_ms=deadline_ms, reply_partition=0)
    pipeline.send(DECISION_REQUESTS, subject, request, headers=headers)
    pipeline.run()


def agree(pipeline: MemoryPipeline, subject: str = ANN) -> None:
    pipeline.send(IDENTITY_EVENTS, subject, shop.consent(subject, pipeline.clock.at_ms))
    pipeline.run()


def answers(pipeline: MemoryPipeline) -> dict[str, str]:
    return {reply.request_id: reply.reason for reply in pipeline.values(DECISION_REPLIES)
            if isinstance(reply, DecisionReply)}


def committed(pipeline: MemoryPipeline, subject: str = ANN) -> int:
    return pipeline.committed.get((DECISION_REQUESTS.name, subject_partition(subject.encode())), 0)


def test_a_request_is_decided_after_the_events_that_it_names(pipeline: MemoryPipeline) -> None:
    ask(pipeline, "before")
    assert answers(pipeline) == {"before": "no_consent"}
    ask(pipeline, "r1", after=next_consent(pipeline, ANN))
    assert answers(pipeline).keys() == {"before"}
    agree(pipeline)
    assert answers(pipeline)["r1"] == "decided"
    ask(pipeline, "r2", after=positions.write([(IDENTITY_EVENTS.name, subject_partition(ANN.encode()), 0)]))
    assert answers(pipeline)["r2"] == "decided", "what is there already is not waited for"


def test_what_waits_is_not_committed_and_what_comes_after_it_is_handled_once(pipeline: MemoryPipeline) -> None:
    ask(pipeline, "waits", after=next_consent(pipeline, ANN))
    mine = subject_partition(ANN.encode())
    ask(pipeline, "behind", next(f"shop/{n}" for n in range(99) if subject_partition(f"shop/{n}".encode()) == mine))
    assert answers(pipeline) == {"behind": "no_consent"}, "another's request does not wait"
    assert committed(pipeline) == 0
    pipeline.restart()
    pipeline.run()
    agree(pipeline)
    assert answers(pipeline) == {"behind": "no_consent", "waits": "decided"}
    assert committed(pipeline) == 2
    assert sorted({repr(one): one.request_id for one in pipeline.values(DECISIONS)}.values()) == ["behind", "waits"]


def test_requests_of_one_subject_keep_their_order(pipeline: MemoryPipeline) -> None:
    ask(pipeline, "first", after=next_consent(pipeline, ANN))
    ask(pipeline, "second")
    assert answers(pipeline) == {}
    agree(pipeline)
    assert [decision.request_id for decision in pipeline.values(DECISIONS)] == ["first", "second"]


def test_a_crash_anywhere_loses_and_repeats_nothing(tmp_path: Path) -> None:
    def whole(crash_after: int | None) -> tuple[dict[str, str], list[str], int, int]:
        pipeline = begun(tmp_path)
        pipeline.effects, pipeline.crash_after = 0, crash_after
        script: list[Callable[[], None]] = [
            lambda: ask(pipeline, "waits", after=next_consent(pipeline, ANN)),
            lambda: ask(pipeline, "second"),
            lambda: agree(pipeline),
            lambda: ask(pipeline, "third"),
        ]
        for act in script:
            try:
                act()
            except CrashError:
                pipeline.crash_after = None
                pipeline.restart()
                pipeline.run()
        decided = {(d.request_id, d.decision_id) for d in pipeline.values(DECISIONS)}
        return answers(pipeline), sorted(name for name, _ in decided), committed(pipeline), pipeline.effects

    answered, decided, done, effects = whole(None)
    assert answered == {"waits": "decided", "second": "decided", "third": "decided"}
    for crash_after in range(effects):
        assert whole(crash_after)[:3] == (answered, decided, done), crash_after


def test_what_does_not_come_in_time(pipeline: MemoryPipeline) -> None:
    after, now_ms = next_consent(pipeline, ANN), pipeline.clock.at_ms
    ask(pipeline, "somebody waits", after=after, deadline_ms=now_ms + 100)
    ask(pipeline, "nobody waits", after=after)
    pipeline.advance(101)
    assert pipeline.values(DEAD_LETTERS) == [] and committed(pipeline) == 1
    pipeline.advance(WAIT_MS_MAX)
    [letter] = pipeline.values(DEAD_LETTERS)
    assert letter.reason == "not_caught_up" and after in letter.detail and "within 10 s" in letter.detail
    assert committed(pipeline) == 2
    agree(pipeline)
    ask(pipeline, "r3")
    assert answers(pipeline) == {"r3": "decided"}


def test_the_deadline_of_a_request_that_waits_behind_another_holds(pipeline: MemoryPipeline) -> None:
    ask(pipeline, "nobody waits", after=next_consent(pipeline, ANN))
    ask(pipeline, "somebody waits", deadline_ms=pipeline.clock.at_ms + 100)
    pipeline.clock.at_ms += 200
    agree(pipeline)
    assert answers(pipeline) == {"nobody waits": "decided"}


@pytest.mark.parametrize("header", [
    "", "x", "identity.events:1", "identity.events:1:-3", "identity.events:99:1", "dead.letters:1:1",
    "identity.events:0:1,", "identity.events:0:\u0663", "i" * 9_999,
])
def test_what_is_no_token_is_a_dead_letter(pipeline: MemoryPipeline, header: str) -> None:
    request = shop.request("r", ANN, reply_partition=0)
    pipeline.send(DECISION_REQUESTS, ANN, request, headers=((positions.HEADER, header.encode()),))
    pipeline.run()
    [letter] = pipeline.values(DEAD_LETTERS)
    assert letter.reason == "invalid" and letter.detail.startswith("the header after ")
    assert committed(pipeline) == 1


def test_events_of_other_partitions_are_not_waited_for(pipeline: MemoryPipeline) -> None:
    other = (subject_partition(ANN.encode()) + 1) % 8
    ask(pipeline, "r", after=positions.write([(IDENTITY_EVENTS.name, other, 10**9)]))
    assert answers(pipeline) == {"r": "no_consent"}


def test_only_so_many_wait(pipeline: MemoryPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "WAITING_KEYS_MAX", 0)
    now_ms = pipeline.clock.at_ms
    ask(pipeline, "r1", after=next_consent(pipeline, ANN), deadline_ms=now_ms + 5_000)
    agree(pipeline)
    assert answers(pipeline) == {} and committed(pipeline) == 1

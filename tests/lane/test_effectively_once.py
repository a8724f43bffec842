"""A crash between any two effects changes nothing that can be seen: no record lost, none applied twice."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.model.records import (
    FeedbackEvent,
    FeedbackKind,
    Identifier,
    IdentityEvent,
    IdentityKind,
    InboxRecord,
    SegmentChange,
)
from pipeline.core.sections.section import changed
from pipeline.core.subject import Person
from pipeline.flow import Accept, Context, DeadLetter, Drop, Flow, Lane, Outcome, Reason
from pipeline.runtime.memory import CrashError, MemoryPipeline
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import (
    DEAD_LETTERS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    PROFILE_INBOX,
    PROFILES_BY_ID,
    SEGMENT_CHANGES,
    SUBJECT_PARTITIONS,
)
from topics.partitions import subject_partition


def count(event: FeedbackEvent, profile: Person | None, context: Context) -> Outcome:
    """Deliberately not idempotent: a record applied twice shows in the count."""
    if event.name == "reject":
        return DeadLetter(Reason.INVALID, "as asked")
    if event.name == "drop":
        return Drop(Reason.TOO_OLD)
    profile = profile or Person(profile_id=event.subject)
    times = (*profile.behaviour.get("n", ()), event.at_ms)
    # Text that UTF-8 cannot carry, as a careless template may make it.
    segment = "\ud800" if event.name == "unwritable" else f"n={len(times)}"
    change = SegmentChange(event.subject, segment, True, event.at_ms, event.event_id, "r1")
    return Accept(
        Reason.APPLIED, changed(profile, behaviour={"n": times}), () if event.name == "quiet" else (emit(change),)
    )


def emit(change: SegmentChange):  # type: ignore[no-untyped-def]
    from pipeline.flow import Emit

    return Emit(SEGMENT_CHANGES, change.profile_id, change)


COUNTING = (
    Flow(
        "counting",
        reads=FEEDBACK_EVENTS,
        writes=(SEGMENT_CHANGES, DEAD_LETTERS),
        table=PROFILES_BY_ID,
        handle=count,
        lane=Lane.BATCH,
        key=lambda event: event.subject,
    ),
)

EVENTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["", "", "", "quiet", "drop", "reject"])), min_size=1, max_size=12
)


def load(pipeline: MemoryPipeline, events: list[tuple[str, str]], start: int = 0) -> None:
    for number, (who, name) in enumerate(events, start):
        subject = f"shop/{who}"
        event = FeedbackEvent(f"e{number}", subject, FeedbackKind.TRACK, number, name=name)
        pipeline.send(FEEDBACK_EVENTS, subject, event)


def observed(pipeline: MemoryPipeline) -> tuple[set[tuple[str, str]], dict[str, tuple[int, ...]], set[int]]:
    changes = {(c.profile_id, c.segment, c.cause) for c in pipeline.values(SEGMENT_CHANGES)}
    states = {}
    for who in "abc":
        state = pipeline.state(f"shop/{who}")
        states[who] = state.behaviour["n"] if state else ()
    letters = {letter.offset for letter in pipeline.values(DEAD_LETTERS)}
    return changes, states, letters  # type: ignore[return-value]


@given(events=EVENTS, data=st.data())
def test_a_crash_anywhere_changes_nothing(events: list[tuple[str, str]], data: st.DataObject) -> None:
    calm = MemoryPipeline(COUNTING)
    load(calm, events)
    calm.run()

    stormy = MemoryPipeline(COUNTING)
    load(stormy, events)
    for _ in range(data.draw(st.integers(1, 3))):
        stormy.crash_after = stormy.effects + data.draw(st.integers(0, calm.effects))
        try:
            stormy.run()
        except CrashError:
            stormy.restart()
    stormy.crash_after = None
    stormy.run()

    assert observed(stormy) == observed(calm)


def test_outputs_of_a_crash_after_the_changelog_are_sent_byte_for_byte() -> None:
    pipeline = MemoryPipeline(COUNTING)
    load(pipeline, [("a", ""), ("a", "")])
    pipeline.crash_after = 1
    with pytest.raises(CrashError):
        pipeline.run()
    assert pipeline.values(SEGMENT_CHANGES) == []
    pipeline.crash_after = None
    pipeline.restart()
    pipeline.run()
    assert [c.segment for c in pipeline.values(SEGMENT_CHANGES)] == ["n=1", "n=2"]
    assert pipeline.metrics.counts[("counting", "drop", "redelivered")] == 2


def test_outputs_that_were_acknowledged_are_not_kept() -> None:
    pipeline = MemoryPipeline(COUNTING)
    load(pipeline, [("a", "")])
    pipeline.run()
    load(pipeline, [("a", "")], start=1)
    pipeline.run()
    pipeline.committed.clear()
    pipeline.restart()
    pipeline.run()
    # The whole log again: the first record's output is known to be out, only the last write's may be missing.
    assert Counter(c.segment for c in pipeline.values(SEGMENT_CHANGES)) == {"n=1": 1, "n=2": 2}


def test_a_bad_record_is_a_dead_letter_with_its_bytes_and_the_next_one_is_applied() -> None:
    pipeline = MemoryPipeline(COUNTING)
    pipeline.send(FEEDBACK_EVENTS, "shop/a", b"not avro")
    pipeline.send(FEEDBACK_EVENTS, "shop/a", None)
    pipeline.send(FEEDBACK_EVENTS, None, b"x")
    pipeline.send(FEEDBACK_EVENTS, "shop/b", FeedbackEvent("e", "shop/a", FeedbackKind.CLICK, 1))
    load(pipeline, [("a", "")])
    pipeline.run()
    letters = {(letter.reason, letter.value) for letter in pipeline.values(DEAD_LETTERS)}
    assert {reason for reason, _ in letters} == {"not_avro", "null_value", "empty_key", "wrong_key"}
    assert (Reason.NOT_AVRO, b"not avro") in letters
    assert len(pipeline.values(SEGMENT_CHANGES)) == 1


def test_what_a_crash_left_unsaid_goes_out_before_anything_new_of_its_key() -> None:
    pipeline = MemoryPipeline(FLOWS)
    joins = IdentityEvent("e1", "shop/a", IdentityKind.IDENTIFY, 1, identifiers=[Identifier("email", "b")])
    pipeline.send(IDENTITY_EVENTS, "shop/a", joins)
    pipeline.crash_after = 1
    with pytest.raises(CrashError):
        pipeline.run()
    pipeline.crash_after = None
    # A topic that is read before the one whose output is missing.
    pipeline.send(PROFILE_INBOX, "shop/a",
                  InboxRecord("e2", "shop/a", "shop/b", identity=shop.alias("shop/b", "shop/a", 2)))
    pipeline.restart()
    pipeline.run()
    arrived = [record for record in pipeline.values(PROFILE_INBOX) if record.profile_id == "shop/b"]
    assert [record.link.explicit for record in arrived if record.link is not None] == [False, True]


def test_a_record_beside_its_keys_partition_is_a_dead_letter_and_makes_no_second_state() -> None:
    pipeline = MemoryPipeline(COUNTING)
    subject = "shop/a"
    astray = (subject_partition(subject.encode()) + 1) % SUBJECT_PARTITIONS
    event = FeedbackEvent("e", subject, FeedbackKind.CLICK, 1)
    pipeline.send(FEEDBACK_EVENTS, subject, event, partition=astray)
    load(pipeline, [("a", "")])
    pipeline.run()
    [letter] = pipeline.values(DEAD_LETTERS)
    assert (letter.reason, letter.partition) == (Reason.WRONG_PARTITION, astray)
    assert [c.segment for c in pipeline.values(SEGMENT_CHANGES)] == ["n=1"]


def test_a_record_whose_outputs_cannot_be_written_is_a_dead_letter_and_changes_nothing() -> None:
    pipeline = MemoryPipeline(COUNTING)
    load(pipeline, [("a", "unwritable"), ("a", "")])
    pipeline.run()
    [letter] = pipeline.values(DEAD_LETTERS)
    assert letter.detail.startswith("what follows from it cannot be written")
    assert [c.segment for c in pipeline.values(SEGMENT_CHANGES)] == ["n=1"]

"""What the lanes promise around the batch: order of effects, ownership, gaps, limits. No broker needed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.rocksdb_store import RocksStore
from pipeline.codecs import avro
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.encryption import KeyEncryption
from pipeline.codecs.envelope import EPOCH_KEY, Envelope
from pipeline.codecs.state import StateError, SubjectStates
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.core.model.values import replaced
from pipeline.core.sections import section as sections
from pipeline.core.sections.section import UndecodableError
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person
from pipeline.flow import EVERYTHING_KNOWN, Accept, Context, Drop, Emit, Flow, Lane, Outcome, Reason, Record
from pipeline.metrics import WorkerMetrics
from pipeline.runtime.lane_driver import Lease, LeaseLostError
from pipeline.runtime.lanes import Lanes, LaneSetup
from pipeline.runtime.memory import ManualClock, MemoryPipeline, counting_chance
from tests.lane.fakes import FakeGroup, FakeReader, HeldPublisher
from topics.catalog import DEAD_LETTERS, FEEDBACK_EVENTS, PROFILE_BYTES_MAX, PROFILES_BY_ID, SEGMENT_CHANGES

CHANGELOG = "changelog"
SEGMENTS = "segment.changes"


def apply(event: FeedbackEvent, profile: Person | None, _context: object) -> Outcome:
    """Writes and says something for every event but `quiet` ones, which only repeat something."""
    from pipeline.core.model.records import SegmentChange

    change = SegmentChange(event.subject, "s", True, 1, event.event_id, "r")
    if event.name.startswith("grow "):
        grown = {"t": Trait("x" * int(event.name.removeprefix("grow ")))}
        return Accept(Reason.APPLIED, Person(profile_id=event.subject, traits=grown),
                      (Emit(SEGMENT_CHANGES, event.subject, change),))
    if event.name == "boom":
        error = ZeroDivisionError("a bug in the core")
        error.add_note("note of the clause")
        raise error
    return Accept(Reason.APPLIED, Person(profile_id=event.subject), (Emit(SEGMENT_CHANGES, event.subject, change),))


FLOW = Flow(
    "test",
    FEEDBACK_EVENTS,
    (SEGMENT_CHANGES, DEAD_LETTERS),
    apply,
    Lane.BATCH,
    key=lambda event: event.subject,
    table=PROFILES_BY_ID,
)


def fetched(offset: int, name: str = "", partition: int = 0) -> Record:
    event = FeedbackEvent(f"e{offset}", "t/a", FeedbackKind.TRACK, 1, name=name)
    return Record(FEEDBACK_EVENTS.name, partition, offset, 1, b"t/a", avro.encode(FEEDBACK_EVENTS, event))


class World:
    """Lanes with everything around them faked but RocksDB."""

    def __init__(self, path: Path, at_once: bool = True, dead_letter_limit: int = 5, flow: Flow = FLOW) -> None:
        self.clock = ManualClock()
        self.publisher = HeldPublisher(at_once=True)
        self.group = FakeGroup()
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.lease = Lease(self.clock, duration_s=6.0)
        self.caught_up = True
        setup = LaneSetup(
            flows=(flow,),
            states=SubjectStates(),
            changelog=CHANGELOG,
            state_dir=path,
            new_reader=lambda: FakeReader(self.changelog),  # type: ignore[arg-type, return-value]
            new_standby_reader=lambda: FakeReader(self.changelog),  # type: ignore[arg-type, return-value]
            input_ids={FEEDBACK_EVENTS.name: "id"},
            live=lambda _tenant: None,
            clock=self.clock,
            metrics=WorkerMetrics(),
            worker="w",
            key_encryption=KeyEncryption("test", counting_chance()),
            caught_up=lambda topic, partition: self.caught_up,
            dead_letter_limit=dead_letter_limit,
        )
        self.lanes = Lanes(setup, self.publisher, self.lease)

    async def take_over(self, at_once: bool = True) -> None:
        await self.lanes.take_over([(FEEDBACK_EVENTS.name, 0)], self.group)
        self.publisher.sent.clear()
        self.publisher.at_once = at_once

    async def feed(self, *records: Record) -> None:
        await self.lanes.feed(FEEDBACK_EVENTS.name, 0, records, self.group)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.lanes.close()


def test_outputs_are_sent_only_when_the_changelog_is_acknowledged(world: World) -> None:
    async def run() -> None:
        await world.take_over(at_once=False)
        await world.feed(fetched(0))
        assert world.publisher.topics() == [CHANGELOG]
        world.publisher.acknowledge()
        assert world.publisher.topics() == [CHANGELOG, SEGMENTS]
        await world.lanes.commit(world.group)
        assert world.group.committed_offsets == {}
        world.publisher.acknowledge()
        await world.lanes.commit(world.group)
        assert world.group.committed_offsets == {(FEEDBACK_EVENTS.name, 0): 1}

    asyncio.run(run())


def test_what_was_reported_is_known_up_to_the_last_record_read_or_to_when_nothing_waited(tmp_path: Path) -> None:
    known: list[int] = []

    def noting(event: FeedbackEvent, state: Person | None, ctx: Context) -> Outcome:
        known.append(ctx.reported_ms())
        return Drop(Reason.NOTHING_DUE)

    async def run(world: World) -> None:
        await world.take_over()
        for offset, caught_up in enumerate((False, False, True, False, False)):
            world.caught_up = caught_up
            await world.feed(replaced(fetched(offset), at_ms=100 + offset))

    world = World(tmp_path, flow=replace(FLOW, handle=noting, reports=True))
    asyncio.run(run(world))
    world.lanes.close()
    assert known == [0, 100, EVERYTHING_KNOWN, 102, 103], "of the record at hand, those before it are known"


def test_a_step_that_writes_nothing_waits_for_the_writes_before_it(world: World) -> None:
    async def run() -> None:
        await world.take_over(at_once=False)
        await world.feed(fetched(0))
        await world.feed(replaced(fetched(1), value=b"broken"))
        assert world.publisher.topics() == [CHANGELOG]
        world.publisher.acknowledge()
        assert world.publisher.topics() == [CHANGELOG, SEGMENTS, DEAD_LETTERS.name]

    asyncio.run(run())


def test_a_worker_without_its_lease_takes_nothing_on(world: World) -> None:
    async def run() -> None:
        await world.take_over()
        world.clock.at_ms += 6_000
        with pytest.raises(LeaseLostError):
            await world.feed(fetched(0))
        assert world.publisher.sent == []

    asyncio.run(run())


def test_a_worker_that_lost_its_lease_meanwhile_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    monkeypatch.setattr("pipeline.runtime.crash.stop", lambda reason, error=None: stopped.append(repr(error)))

    async def run() -> None:
        await world.take_over(at_once=False)
        await world.feed(fetched(0))
        world.clock.at_ms += 6_000
        world.publisher.acknowledge()
        assert world.publisher.topics() == [CHANGELOG]

    asyncio.run(run())
    assert len(stopped) == 1
    assert "LeaseLostError" in stopped[0]


def test_a_renewed_lease_goes_on(world: World) -> None:
    async def run() -> None:
        await world.take_over()
        world.clock.at_ms += 5_999
        world.lease.renew(world.lease.now_s())
        world.clock.at_ms += 5_999
        await world.feed(fetched(0))
        assert SEGMENTS in world.publisher.topics()

    asyncio.run(run())


def test_a_jump_of_the_fetch_position_is_read_again_before_it_is_believed(world: World) -> None:
    async def run() -> None:
        await world.take_over()
        await world.feed(fetched(3))
        assert world.publisher.sent == []
        assert world.group.reading == {(FEEDBACK_EVENTS.name, 0): 0}
        await world.feed(fetched(0), fetched(1), fetched(2), fetched(3))
        assert world.publisher.topics().count(SEGMENTS) == 4
        # A gap that is still there when read again is the log's own: retention, or a transaction's marker.
        await world.feed(fetched(7))
        await world.feed(fetched(7))
        assert world.publisher.topics().count(SEGMENTS) == 5

    asyncio.run(run())


def test_records_seen_before_are_passed_over(world: World) -> None:
    async def run() -> None:
        await world.take_over()
        await world.feed(fetched(0), fetched(1))
        await world.feed(fetched(0), fetched(1), fetched(2))
        assert world.publisher.topics().count(SEGMENTS) == 3

    asyncio.run(run())


def test_a_handler_that_raises_makes_a_dead_letter_and_leaves_the_state(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        await world.take_over()
        await world.feed(fetched(0), fetched(1, name="boom"), fetched(2))
        await world.lanes.commit(world.group)
        assert world.group.committed_offsets == {(FEEDBACK_EVENTS.name, 0): 3}

    asyncio.run(run())
    assert world.publisher.topics().count(SEGMENTS) == 2
    assert world.publisher.topics().count(DEAD_LETTERS.name) == 1
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert "ZeroDivisionError at " in line and "release none" in line and "note of the clause" in line


@pytest.mark.parametrize(("small", "error", "place"), [
    (0, UndecodableError, r"Person\.traits"), (16_384, StateError, r"\$\.traits")])
def test_a_section_that_is_something_else_is_no_records_fault(
    small: int, error: type[Exception], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a state that cannot be read at all: what the table holds is not written over, nobody's record is blamed."""
    monkeypatch.setattr(sections, "SMALL_BYTES_MAX", small)

    def looks(event: FeedbackEvent, person: Person | None, _context: object) -> Outcome:
        known: Any = {"t": 5} if person is None else {**person.traits}
        return Accept(Reason.APPLIED, Person(profile_id=event.subject, traits=known))

    pipeline = MemoryPipeline((replace(FLOW, handle=looks),))
    pipeline.send(FEEDBACK_EVENTS, "t/a", FeedbackEvent("e1", "t/a", FeedbackKind.TRACK, 1))
    pipeline.run()
    pipeline.restart()
    pipeline.send(FEEDBACK_EVENTS, "t/a", FeedbackEvent("e2", "t/a", FeedbackKind.TRACK, 1))
    with pytest.raises(error, match=place):
        pipeline.run()
    assert pipeline.values(DEAD_LETTERS) == []


def test_a_state_past_its_limit_is_a_dead_letter_and_the_state_stays(world: World) -> None:
    async def run() -> None:
        await world.take_over()
        await world.feed(fetched(0, name=f"grow {PROFILE_BYTES_MAX - 1_000}"))
        await world.feed(fetched(1, name=f"grow {PROFILE_BYTES_MAX}"))
        await world.feed(fetched(2))

    asyncio.run(run())
    assert world.publisher.topics().count(DEAD_LETTERS.name) == 1
    assert world.publisher.topics().count(SEGMENTS) == 2


def test_a_record_that_could_not_be_read_whole_is_a_dead_letter(world: World) -> None:
    async def run() -> None:
        await world.take_over()
        await world.feed(replaced(fetched(0), unreadable="a header's name is not UTF-8"), fetched(1))

    asyncio.run(run())
    assert sorted(set(world.publisher.topics()) - {CHANGELOG}) == sorted([DEAD_LETTERS.name, SEGMENTS])


def test_too_many_dead_letters_rest_their_topic_and_nothing_else(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    place = (FEEDBACK_EVENTS.name, 0)

    async def run() -> None:
        await world.take_over()
        await world.feed(*[replaced(fetched(n), value=b"broken") for n in range(5)])
        assert world.group.reading == {place: 0}
        await world.feed(replaced(fetched(5), value=b"broken"))
        assert world.group.reading == {}
        # What was fetched before is not taken, and read again later.
        await world.feed(fetched(6))
        assert SEGMENTS not in world.publisher.topics()
        await world.lanes.commit(world.group)
        assert (world.group.reading, world.group.committed_offsets) == ({}, {place: 6})
        world.clock.at_ms += 60_000
        world.lease.renew(world.lease.now_s())
        await world.lanes.commit(world.group)
        assert world.group.reading == {place: 6}
        await world.feed(fetched(6))
        assert world.publisher.topics().count(SEGMENTS) == 1

    asyncio.run(run())
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "CRITICAL"]
    assert FEEDBACK_EVENTS.name in line and "NEXTBEST_DEAD_LETTER_LIMIT" in line and "dead-letters list" in line


def test_a_revoked_partition_takes_nothing_and_commits_what_is_done(world: World) -> None:
    async def run() -> None:
        await world.take_over()
        await world.feed(fetched(0))
        await world.lanes.revoke(world.group)
        assert world.group.committed_offsets == {(FEEDBACK_EVENTS.name, 0): 1}
        await world.feed(fetched(1))
        assert world.publisher.topics().count(SEGMENTS) == 1
        assert world.lanes.partitions() == []

    asyncio.run(run())


def test_a_new_owner_raises_the_epoch_and_ignores_what_an_earlier_one_writes_late(tmp_path: Path) -> None:
    def value(epoch: int, state: bytes) -> bytes:
        return envelopes.encode(Envelope(epoch=epoch, state=state))

    store = RocksStore(tmp_path / "0")
    log = [
        (EPOCH_KEY, envelopes.encode(Envelope(epoch=1))),
        (b"t/a", value(1, b"first")),
        (EPOCH_KEY, envelopes.encode(Envelope(epoch=2))),
        (b"t/a", value(2, b"owner")),
        (b"t/a", value(1, b"zombie")),
        (EPOCH_KEY, envelopes.encode(Envelope(epoch=1))),
    ]
    stale = store.load((key, data, offset) for offset, (key, data) in enumerate(log))
    kept = store.get(b"t/a")
    assert kept is not None
    assert (stale, envelopes.decode(kept).state, store.epoch, store.offset) == (2, b"owner", 2, 5)
    store.close()
    reopened = RocksStore(tmp_path / "0")
    assert (reopened.epoch, reopened.offset) == (2, 5)
    reopened.close()


def test_taking_over_reads_the_changelog_and_announces_the_next_epoch(world: World) -> None:
    owner = envelopes.encode(Envelope(epoch=4, applied={f"{FEEDBACK_EVENTS.name}@id": 0}))
    world.changelog = [(EPOCH_KEY, envelopes.encode(Envelope(epoch=4))), (b"t/a", owner)]
    world.publisher.ends[CHANGELOG] = 2

    async def run() -> None:
        await world.lanes.take_over([(FEEDBACK_EVENTS.name, 0)], world.group)
        [marker] = world.publisher.sent
        assert marker.key == EPOCH_KEY
        assert marker.value is not None
        assert envelopes.epoch_of(marker.value) == 5
        world.publisher.sent.clear()
        # Offset 0 was applied by the owner before: read again, it changes nothing.
        await world.feed(fetched(0), fetched(1))
        assert world.publisher.topics().count(SEGMENTS) == 1

    asyncio.run(run())


def test_a_store_ahead_of_its_changelog_is_read_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    foreign = RocksStore(tmp_path / "0")
    foreign.apply({b"t/a": envelopes.encode(Envelope(epoch=1, state=b"of another cluster"))}, 99)
    foreign.close()

    async def run() -> None:
        await world.take_over()
        assert world.lanes.store(0).get(b"t/a") is None

    asyncio.run(run())
    world.lanes.close()

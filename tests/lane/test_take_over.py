"""Who owns a partition is read off its changelog: what a lost owner writes late changes nothing, even compacted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.adapters.rocksdb_store import RocksStore
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.envelope import EPOCH_KEY, Envelope
from pipeline.ports import Outbound
from pipeline.runtime.lane_driver import ANNOUNCE_S
from pipeline.runtime.lanes import StaleAssignmentError
from tests.lane.fakes import HeldPublisher
from tests.lane.test_lanes import CHANGELOG, SEGMENTS, World, fetched
from topics.catalog import FEEDBACK_EVENTS


def value(epoch: int, state: bytes | None = None) -> bytes:
    return envelopes.encode(Envelope(epoch=epoch, state=state))


class LoggingPublisher(HeldPublisher):
    """What is sent to the changelog can be read there; before an announcement, `intruders` get in first."""

    def __init__(self, world: World) -> None:
        super().__init__(at_once=True)
        self.world = world
        self.intruders: list[tuple[bytes, bytes | None]] = []

    def _take(self, records: list[Outbound]) -> int:  # type: ignore[override]
        if records[0].topic == CHANGELOG:
            self.world.changelog += self.intruders
            self.intruders = []
            self.world.changelog += [(record.key, record.value) for record in records]
            return len(self.world.changelog) - 1
        return super()._take(records)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.lanes.close()


@pytest.fixture
def publisher(world: World) -> LoggingPublisher:
    world.publisher = world.lanes._publisher = LoggingPublisher(world)
    return world.publisher


def take_over(world: World) -> None:
    asyncio.run(world.lanes.take_over([(FEEDBACK_EVENTS.name, 0)], world.group))


def test_what_the_last_owner_wrote_while_the_log_was_read_is_not_missed(
    world: World, publisher: LoggingPublisher
) -> None:
    world.changelog = [(EPOCH_KEY, value(1)), (b"t/a", value(1, b"early"))]
    publisher.intruders = [(b"t/a", value(1, b"in between"))]
    take_over(world)
    kept = world.lanes.store(0).get(b"t/a")
    assert kept is not None
    assert envelopes.decode(kept).state == b"in between"


def test_of_two_that_announce_the_same_epoch_the_later_goes_one_higher(
    world: World, publisher: LoggingPublisher
) -> None:
    publisher.intruders = [(EPOCH_KEY, value(1, b"another worker"))]
    take_over(world)
    epochs = [envelopes.epoch_of(data) for key, data in world.changelog if key == EPOCH_KEY and data is not None]
    assert epochs == [1, 1, 2]
    assert world.lanes.store(0).epoch == 2


def test_a_value_hidden_by_a_late_one_is_written_again(world: World, publisher: LoggingPublisher) -> None:
    world.changelog = [
        (EPOCH_KEY, value(1)),
        (EPOCH_KEY, value(2)),
        (b"t/a", value(2, b"owner")),
        (b"t/a", value(1, b"late")),
        (b"t/new", value(1, b"late")),
    ]
    take_over(world)
    compacted = {key: (offset, key, data) for offset, (key, data) in enumerate(world.changelog)}
    fresh = RocksStore(world.lanes.store(0).path.parent / "fresh")
    fresh.load((key, data, offset) for offset, key, data in sorted(compacted.values()))
    kept = fresh.get(b"t/a")
    assert kept is not None
    assert envelopes.decode(kept).state == b"owner"
    assert fresh.get(b"t/new") is None
    assert world.lanes.store(0).stale == fresh.stale == set()
    fresh.close()


def test_a_copy_remembers_what_is_hidden_until_its_key_is_written(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "0")
    store.load([(EPOCH_KEY, value(2), 0), (b"t/a", value(2), 1), (b"t/a", value(1), 2)])
    store.close()
    store = RocksStore(tmp_path / "0")
    assert store.stale == {b"t/a"}
    store.apply({b"t/a": value(3)}, 3)
    store.close()
    store = RocksStore(tmp_path / "0")
    assert store.stale == set()
    assert [key for key, _ in store.items()] == [b"t/a"]
    store.close()


def test_without_its_announcement_a_value_still_tells_its_epoch(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "0")
    store.load([(b"t/a", value(6), 0), (EPOCH_KEY, value(5), 1), (b"t/a", value(5), 2)])
    assert (store.epoch, store.stale) == (6, {b"t/a"})
    store.close()
    assert RocksStore(tmp_path / "0").epoch == 6


def test_a_foreign_record_in_the_changelog_stops_the_worker_before_it_answers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []
    monkeypatch.setattr("pipeline.runtime.crash.stop", lambda reason, error=None: stopped.append(repr(error)))

    async def run() -> None:
        await world.take_over()
        await world.feed(fetched(0))
        world.publisher.sent.clear()
        world.publisher.ends[CHANGELOG] += 1
        await world.feed(fetched(1))

    asyncio.run(run())
    assert world.publisher.topics() == [CHANGELOG]
    assert "ForeignWriteError" in stopped[0]


def test_an_idle_owner_announces_itself_again(world: World) -> None:
    async def run() -> None:
        await world.take_over()
        await world.lanes.commit(world.group)
        assert world.publisher.sent == []
        world.clock.at_ms += int(ANNOUNCE_S * 1000)
        world.lease.renew(world.lease.now_s())
        await world.lanes.commit(world.group)
        assert [record.key for record in world.publisher.sent] == [EPOCH_KEY]
        await world.feed(fetched(0))
        assert SEGMENTS in world.publisher.topics()

    asyncio.run(run())


def test_nothing_is_taken_over_between_giving_up_and_the_next_assignment(
    world: World, publisher: LoggingPublisher
) -> None:
    async def run() -> None:
        await world.take_over()
        await world.lanes.revoke(world.group)
        with pytest.raises(StaleAssignmentError):
            await world.take_over()
        world.lanes.assigned()
        await world.take_over()
        assert world.lanes.partitions() == [0]

    asyncio.run(run())

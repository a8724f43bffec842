"""All lanes of one worker: which partitions it decides for, and the way of records into them and of offsets out.

Knows nothing of Faust: whoever owns the group membership tells it what was assigned and revoked, hands it records,
and does the seeks and commits it asks for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from confluent_kafka import Consumer

from pipeline.adapters.rocksdb_store import RocksStore
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.encryption import KeyEncryption
from pipeline.core.decide.live import Live
from pipeline.flow import Flow, Record
from pipeline.metrics import WorkerMetrics
from pipeline.ports import Clock, Outbound, Publisher, States
from pipeline.runtime import crash
from pipeline.runtime.copies import Copies
from pipeline.runtime.due import DueProfiles
from pipeline.runtime.lane import PartitionLane
from pipeline.runtime.lane_driver import Fence, LaneDriver, Lease
from pipeline.runtime.letter_limit import LetterLimit
from pipeline.runtime.reports import Reports
from pipeline.runtime.standby import Standby
from pipeline.runtime.takeover import TableStore, bring_up_to_date
from topics.partitions import subject_partition

log = logging.getLogger(__name__)

#: Records with incomplete effects, over all lanes, past which nothing more is taken in.
IN_FLIGHT_MAX = 4_000

#: Records of one topic run in one step: bounds how long the loop is busy and how much one acknowledgement holds up.
STEP_RECORDS_MAX = 500

DRAIN_S = 3.0

#: How often a take-over announces a higher epoch because another owner came in between.
TAKE_OVER_ATTEMPTS = 20

TopicPartition = tuple[str, int]


class Group(Protocol):
    """What the lanes need of the consumer that owns the membership."""

    async def committed(self, inputs: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The offsets to start from: committed, or the beginning of the log."""

    async def read_from(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these inputs and no others, from these offsets; what was fetched of them before is forgotten."""

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit; a rebalance meanwhile makes it void, which is harmless."""


class StaleAssignmentError(Exception):
    """Another rebalance came while the partitions were being taken over."""


class TakeOverError(RuntimeError):
    """A partition could not be taken over."""


@dataclass(frozen=True, slots=True)
class _Tenure:
    """This worker's term over a partition: its epoch, how it was announced, and the last changelog offset it knows."""

    epoch: int
    at: int
    marker: bytes
    #: Keys whose values it wrote again, as a lost owner's late ones hid them.
    healed: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class LaneSetup:
    """What every lane of a worker shares."""

    flows: Sequence[Flow]
    states: States
    changelog: str
    state_dir: Path
    #: A plain consumer for take-overs, reporting the end of a partition.
    new_reader: Callable[[], Consumer]
    #: One for the copies of others' partitions.
    new_standby_reader: Callable[[], Consumer]
    input_ids: Mapping[str, str]
    live: Callable[[str], Live | None]
    clock: Clock
    metrics: WorkerMetrics
    worker: str
    key_encryption: KeyEncryption
    dead_letter_limit: int
    #: Whether every record of an input was handed over, as far as its reader knows.
    caught_up: Callable[[str, int], bool]
    #: Opens one partition's local store by its path.
    open_store: Callable[[Path], TableStore] = RocksStore
    #: The partition on which a key belongs.
    home: Callable[[bytes], int] = subject_partition
    #: Ends this worker; never returns. None: `crash.stop`.
    stop: Callable[[str, BaseException], None] | None = None


class Lanes:
    """The lanes of one worker. All on one event loop."""

    def __init__(self, setup: LaneSetup, publisher: Publisher, lease: Lease) -> None:
        self._setup = setup
        self._publisher = publisher
        self.lease = lease
        self.topics = frozenset(flow.reads.name for flow in setup.flows)
        self._drivers: dict[int, LaneDriver] = {}
        standby = Standby(setup.new_standby_reader, setup.changelog, setup.metrics.standby.inc)
        self.copies = Copies(setup.state_dir, setup.open_store, standby)
        self._committed: dict[TopicPartition, int] = {}
        self._gaps: dict[TopicPartition, int] = {}
        self._due = DueProfiles(setup.clock)
        self._room = asyncio.Event()
        self._term = 0
        #: Between `revoke` and `assigned` nothing may be taken over: what the group says is ours is not, any more.
        self._given_up = False
        self._reports = Reports(setup.flows, setup.caught_up)
        never_pause = [flow.reads.name for flow in setup.flows if not flow.may_pause]
        self._limit = LetterLimit(setup.dead_letter_limit, setup.clock, never_pause)
        #: Whether every assigned partition is taken over.
        self.active = False
        #: Called after every completed step, besides.
        self.on_progress: Callable[[], None] = lambda: None

    # -- ownership ------------------------------------------------------------------------------------------------

    def store(self, partition: int) -> TableStore:
        """The partition's store, opened where needed."""
        return self.copies.store(partition)

    def keep_copies(self, mine: Iterable[int], others: Iterable[int]) -> None:
        """The group's new assignment: copies of these partitions are kept here, those of others' partitions by the
        standby. What is neither is closed."""
        self.copies.keep(self._drivers.keys() | mine, set(others) - self._drivers.keys())

    async def take_over(self, inputs: Iterable[TopicPartition], group: Group) -> None:
        """Become the single writer of these inputs' partitions: recover, raise the epoch, start where committed.

        Raises StaleAssignmentError where they were given up before or meanwhile.
        """
        if self._given_up:
            raise StaleAssignmentError
        self._term += 1
        term = self._term
        self.active = False
        started = time.monotonic()
        by_partition: dict[int, list[str]] = {}
        for topic, partition in inputs:
            by_partition.setdefault(partition, []).append(topic)
        tenures = {partition: await self._recover(partition, term) for partition in sorted(by_partition)}
        wanted = [(topic, p) for p, names in by_partition.items() for topic in names]
        starts = await group.committed(wanted)
        self._check(term)
        for partition, tenure in tenures.items():
            positions = {topic: starts[(topic, partition)] for topic in by_partition[partition]}
            self._drivers[partition] = self._new_driver(partition, tenure, positions)
        await group.read_from(self._positions())
        self._check(term)
        self._committed = dict(starts)
        self._gaps.clear()
        self.active = True
        self._setup.metrics.partitions.set(len(self._drivers))
        self._setup.metrics.recovery_seconds.set(time.monotonic() - started)
        log.info("deciding for partitions %s after %.2f s", sorted(self._drivers), time.monotonic() - started)

    def _check(self, term: int) -> None:
        if term != self._term:
            raise StaleAssignmentError

    async def _recover(self, partition: int, term: int) -> _Tenure:
        """Bring the partition's store up to date and announce this owner; see docs/adr/0003-zombies.md."""
        store = await self._read(partition, term)
        for _ in range(TAKE_OVER_ATTEMPTS):
            epoch = store.epoch + 1
            # With the worker's name in it, so that two that announce the same epoch can tell whose came first.
            marker = envelopes.encode(envelopes.Envelope(epoch=epoch, state=self._setup.worker.encode()))
            at = await self._append(partition, {envelopes.EPOCH_KEY: marker}, term)
            if at == store.offset + 1:
                store.load([(envelopes.EPOCH_KEY, marker, at)])
            else:
                # Somebody wrote after the end that was read and before the announcement.
                store = await self._read(partition, term)
            if store.get(envelopes.EPOCH_KEY) != marker:
                continue
            if not store.stale:
                return _Tenure(epoch, at, marker)
            # What a lost owner wrote late is the newest record of its key, and all that compaction would leave.
            values = {key: _under(store.get(key), epoch) for key in sorted(store.stale)}
            at = await self._append(partition, values, term)
            first = at - len(values) + 1
            if first != store.offset + 1:
                store = await self._read(partition, term)
                continue
            store.load([(key, value, first + n) for n, (key, value) in enumerate(values.items())])
            return _Tenure(epoch, at, marker, tuple(values))
        raise TakeOverError(f"{self._setup.changelog}[{partition}]: others keep writing to it; who else uses it?")

    async def _read(self, partition: int, term: int) -> TableStore:
        """The partition's store, with everything that the changelog had a moment ago."""
        setup, copy = self._setup, self.store(partition)
        store, read, stale = await asyncio.to_thread(
            bring_up_to_date, copy, setup.open_store, setup.new_reader, setup.changelog, partition
        )
        self.copies.reopened(partition, store)
        setup.metrics.recovered.inc(read)
        setup.metrics.stale.inc(stale)
        self._check(term)
        return store

    async def _append(self, partition: int, values: Mapping[bytes, bytes | None], term: int) -> int:
        """Write to the changelog; returns the offset of the last record."""
        changelog = self._setup.changelog
        self.lease.require()
        written: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._publisher.send(
            [Outbound(changelog, key, value, partition) for key, value in values.items()],
            lambda offset: _resolve(written, offset),
        )
        offset = await written
        self._check(term)
        if offset is None or offset < 0:
            raise TakeOverError(f"{changelog}[{partition}]: the broker did not say where it put a record")
        return offset

    def _new_driver(self, partition: int, tenure: _Tenure, positions: Mapping[str, int]) -> LaneDriver:
        setup = self._setup
        lane = PartitionLane(
            partition,
            [flow for flow in setup.flows if flow.reads.name in positions],
            self.store(partition),
            setup.states,
            epoch=tenure.epoch,
            input_ids=setup.input_ids,
            positions=positions,
            live=setup.live,
            clock=setup.clock,
            metrics=setup.metrics,
            worker=setup.worker,
            key_encryption=setup.key_encryption,
            # Of all partitions here: a report may come under an earlier identifier of the subject.
            reported=partial(self._reports.known_ms, self._drivers),
            healed=tenure.healed,
            home=setup.home,
        )
        fence = Fence(self.lease, tenure.at, tenure.marker)
        driver = LaneDriver(lane, self._publisher, setup.changelog, fence, setup.stop or crash.stop)
        driver.on_progress = self._progressed
        return driver

    def assigned(self) -> None:
        """The group has a new assignment: it may be taken over."""
        self._given_up = False

    async def revoke(self, group: Group) -> None:
        """Give everything up: finish what is in flight where that is quick, commit it, forget the rest."""
        self._term += 1
        self.active = False
        self._given_up = True
        if self.lease.held():
            # All at once: whoever takes longer than the group waits is put out of it, with its effects under way.
            await asyncio.gather(*(driver.drained(DRAIN_S) for driver in self._drivers.values()))
            await self.commit(group)
        for driver in self._drivers.values():
            driver.close()
        self._drivers.clear()
        self._progressed()
        self._setup.metrics.partitions.set(0)

    def close(self) -> None:
        """Close the stores; nothing may be fed afterwards."""
        self.copies.close()

    # -- records in, offsets out ----------------------------------------------------------------------------------

    async def feed(self, topic: str, partition: int, records: Sequence[Record], group: Group) -> None:
        """Run fetched records of one input through its lane, in steps, waiting for room where too much is in flight.

        Records beyond the expected offset are not trusted at first sight: around a rebalance a fetch position can
        jump. The lane's own position is the truth; only a gap that is still there when it is read again from there
        (removed by retention, or a producer's transaction marker) is accepted.
        """
        driver = self._drivers.get(partition)
        if driver is None or not self.active:
            return
        expected = driver.lane.position(topic)
        first = records[0].offset
        if first > expected and self._gaps.get((topic, partition)) != expected:
            self._gaps[(topic, partition)] = expected
            log.warning("%s[%d]: expected offset %d, was given %d; reading again", topic, partition, expected, first)
            await group.read_from(self._positions())
            return
        term = self._term
        queue = list(records)
        while queue:
            await self._wait_for_room()
            if term != self._term or self._limit.paused(topic):
                return
            started = time.perf_counter()
            letters = driver.lane.dead_letters
            step, left = driver.lane.process(topic, queue[:STEP_RECORDS_MAX])
            queue = left + queue[STEP_RECORDS_MAX:]
            driver.submit(step)
            self._resume(driver)
            await self._count_letters(topic, driver.lane.dead_letters - letters, group)
            self._setup.metrics.batch_seconds.observe(time.perf_counter() - started)
            if left:
                # A hot key's outbox is full: its outputs must be acknowledged before it can take more.
                await driver.drained(DRAIN_S)
            if queue:
                await asyncio.sleep(0)
        self._reports.taken(topic, partition, records[-1].at_ms)

    def _resume(self, driver: LaneDriver) -> None:
        """Handle what waited for records that are handled now."""
        step = driver.lane.resume()
        if step is not None:
            driver.submit(step)

    def _positions(self) -> dict[TopicPartition, int]:
        """Where to go on reading: every input but those that are paused."""
        return {
            (topic, partition): driver.lane.position(topic)
            for partition, driver in self._drivers.items() for topic in driver.lane.done()
            if not self._limit.paused(topic)
        }

    def partitions(self) -> list[int]:
        """The partitions this worker decides for."""
        return sorted(self._drivers)

    def _progressed(self) -> None:
        self._room.set()
        self.on_progress()

    async def _wait_for_room(self) -> None:
        while self.in_flight() >= IN_FLIGHT_MAX:
            self._room.clear()
            await self._room.wait()

    def in_flight(self) -> int:
        """Records whose effects are not complete."""
        total = sum(driver.lane.in_flight for driver in self._drivers.values())
        self._setup.metrics.in_flight.set(total)
        return total

    def ask_for_due(self) -> None:
        """Ask for another look at the profiles that time alone changes by now; called by the app's timer."""
        if self.active and self.lease.held():
            for driver in self._drivers.values():
                self._resume(driver)
            stores = {partition: self.store(partition) for partition in self._drivers}
            self._publisher.send(self._due.questions(stores), lambda _offset: None)

    async def commit(self, group: Group) -> None:
        """Commit what is complete and was not committed before; say again who owns what has long been idle."""
        for driver in self._drivers.values():
            driver.announce_again()
        offsets = {
            (topic, partition): offset
            for partition, driver in self._drivers.items()
            for topic, offset in driver.lane.done().items()
            if offset > self._committed.get((topic, partition), -1)
        }
        if offsets:
            await group.commit(offsets)
            self._committed.update(offsets)
        if self._limit.resumed():
            await group.read_from(self._positions())
        for flow in self._setup.flows:
            self._setup.metrics.alarm(flow.name, self._limit.alarmed(flow.reads.name))

    async def _count_letters(self, topic: str, letters: int, group: Group) -> None:
        """Stop reading a topic of which too many records are dead letters."""
        self._limit.add(topic, letters)
        if letters and self._limit.paused(topic):
            await group.read_from(self._positions())


def _under(value: bytes | None, epoch: int) -> bytes | None:
    """A key's value as a new owner writes it again."""
    if value is None:
        return None
    envelope = envelopes.decode(value)
    envelope.epoch = epoch
    return envelopes.encode(envelope)


def _resolve(future: asyncio.Future[int | None], offset: int | None) -> None:
    if not future.done():
        future.set_result(offset)

"""One simulated worker process: the real lanes, lease and take-over on a simulated client, clock and disk."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.codecs.state import SubjectStates
from pipeline.flow import Record
from pipeline.ports import Outbound
from pipeline.runtime.lane_driver import Lease
from pipeline.runtime.lanes import Lanes, LaneSetup, StaleAssignmentError
from pipeline.runtime.memory import CountingMetrics, MemoryStore
from pipeline.topology import BATCH_FLOWS
from tests.sim.cluster import CHANGELOG, SESSION_MS, TopicPartition
from tests.sim.loop import SimLoop
from tests.sim.reader import SimReader

if TYPE_CHECKING:
    from tests.sim.world import World

ORDER = tuple(flow.reads.name for flow in BATCH_FLOWS)
HEARTBEAT_MS = SESSION_MS // 4
#: How long a client keeps trying to deliver a record before it gives the worker up.
DELIVERY_MS = int(SESSION_MS * 0.8)


class DiedError(BaseException):
    """The process has ended: raised where `crash.stop` would not return."""


class SimMetrics(CountingMetrics):
    """The worker's metrics, where only fates are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.partitions = self.recovery_seconds = self.recovered = self.stale = self.standby = _Nothing()
        self.batch_seconds = self.in_flight = _Nothing()

    def alarm(self, flow: str, on: bool) -> None:
        """Not looked at."""


class _Nothing:
    def set(self, _value: float) -> None:
        """Not looked at."""

    inc = observe = set


@dataclass(slots=True)
class _Group:
    """One `send`: its records still unacknowledged."""

    waiting: int
    done: Callable[[int | None], None]
    offset: int = -1


@dataclass(slots=True)
class Queued:
    """One record on its way."""

    out: Outbound
    group: _Group
    since_ms: int


@dataclass(slots=True)
class Machine:
    """What outlives a process: its disk, and how far its clock is off."""

    name: str
    skew_ms: int = 0
    stores: dict[str, MemoryStore] = field(default_factory=dict)

    def open_store(self, path: Path) -> MemoryStore:
        store = self.stores.get(str(path))
        if store is None or store.destroyed:
            store = self.stores[str(path)] = MemoryStore(path)
        return store


class SimWorker:
    """One process on a machine. It is the lanes' publisher, group and clock at once."""

    def __init__(self, sim: World, name: str, machine: Machine) -> None:
        self.sim = sim
        self.name = name
        self.machine = machine
        self.loop = SimLoop(self.monotonic_s)  # type: ignore[abstract]
        self.queues: dict[TopicPartition, deque[Queued]] = {}
        self.acks: dict[TopicPartition, deque[tuple[Queued, int]]] = {}
        self.dead = self.frozen = False
        #: While frozen: whether what it had queued was on the wire already.
        self.on_wire = True
        self.died_of = ""
        self.generation = -1
        self.assigned: list[int] | None = None
        self.rejoining = False
        self.offered: tuple[int, list[int]] | None = None
        self.offered_s = 0.0
        #: Until when, less a session, the coordinator counted this process among its members at least.
        self.granted_s = self.monotonic_s()
        self.positions: dict[TopicPartition, int] = {}
        self.live = sim.live
        self.metrics = SimMetrics()
        self.heartbeat_ms = sim.cluster.now_ms
        #: Heartbeats' answers under way: arrives at, sent at (monotonic s), what it says.
        self.answers: deque[tuple[int, float, str]] = deque()
        setup = LaneSetup(
            flows=BATCH_FLOWS,
            states=SubjectStates(),
            changelog=CHANGELOG,
            state_dir=Path(machine.name),
            new_reader=lambda: SimReader(sim.cluster),  # type: ignore[arg-type, return-value]
            new_standby_reader=lambda: SimReader(sim.cluster),  # type: ignore[arg-type, return-value]
            input_ids=dict.fromkeys(ORDER, "id"),
            live=lambda _tenant: self.live,
            clock=self,
            metrics=self.metrics,  # type: ignore[arg-type]
            worker=machine.name,
            key_encryption=sim.key_encryption,
            dead_letter_limit=1_000_000,
            caught_up=self._caught_up,
            open_store=machine.open_store,
            home=sim.cluster.partition_of,
            stop=self.stop,
        )
        self.lease = Lease(self, SESSION_MS / 1000)
        self.lanes = Lanes(setup, self, self.lease)
        self._polled = asyncio.Event()
        self.loop.create_task(self._drain())
        self._join()

    def _caught_up(self, topic: str, partition: int) -> bool:
        log = self.sim.cluster.logs.get(topic)
        return log is None or self.positions.get((topic, partition), 0) >= len(log[partition])

    # -- clock ----------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return self.sim.cluster.now_ms + self.machine.skew_ms

    def monotonic_s(self) -> float:
        return self.sim.cluster.now_ms / 1000

    # -- publisher ------------------------------------------------------------------------------------------------

    def send(self, records: Sequence[Outbound], done: Callable[[int | None], None]) -> None:
        if not records:
            done(None)
            return
        group = _Group(len(records), done)
        cluster = self.sim.cluster
        for out in records:
            partition = cluster.partition_of(out.key) if out.partition is None else out.partition % cluster.partitions
            queue = self.queues.get((out.topic, partition))
            if queue is None:
                queue = self.queues[out.topic, partition] = deque()
            queue.append(Queued(out, group, cluster.now_ms))
        self.sim.on_send(self, records)

    def deliver(self, where: TopicPartition) -> None:
        """The broker takes the oldest record queued for a partition."""
        queue = self.queues[where]
        queued = queue.popleft()
        if not queue:
            del self.queues[where]
        _, offset = self.sim.cluster.append(queued.out, self.name)
        if self.sim.trace:
            self.sim.note(f"{self.name} → {where[0]}[{where[1]}]@{offset} {self.sim.describe(queued.out)}")
        self.acks.setdefault(where, deque()).append((queued, offset))

    def acknowledge(self, where: TopicPartition) -> None:
        """The client hears of the oldest record that the broker took."""
        acks = self.acks[where]
        queued, offset = acks.popleft()
        if not acks:
            del self.acks[where]
        group = queued.group
        group.waiting -= 1
        group.offset = max(group.offset, offset)
        if group.waiting == 0:
            self.loop.call_soon(group.done, group.offset)

    def overdue(self) -> bool:
        """Whether a record has waited longer for its acknowledgement than the client tries."""
        now_ms = self.sim.cluster.now_ms
        return any(queue[0].since_ms + DELIVERY_MS < now_ms for queue in self.queues.values()) or any(
            acks[0][0].since_ms + DELIVERY_MS < now_ms for acks in self.acks.values()
        )

    # -- group ----------------------------------------------------------------------------------------------------

    async def committed(self, inputs: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        wanted = list(inputs)
        found: dict[TopicPartition, int] = await self.loop.run_in_executor(
            None, lambda: {one: self.sim.cluster.committed[one] for one in wanted}
        )
        return found

    async def read_from(self, positions: Mapping[TopicPartition, int]) -> None:
        wanted = dict(positions)
        await self.loop.run_in_executor(None, self.positions.update, wanted)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        wanted, generation = dict(offsets), self.generation
        await self.loop.run_in_executor(None, self._commit, generation, wanted)

    def _commit(self, generation: int, offsets: dict[TopicPartition, int]) -> None:
        taken = self.sim.cluster.commit(self.name, generation, offsets)
        if self.sim.trace:
            text = ", ".join(f"{t}[{p}]={o}" for (t, p), o in offsets.items())
            self.sim.note(f"{self.name} commits {text}: {'taken' if taken else 'refused'}")

    def beat(self) -> None:
        """Heartbeats on their own thread: hear what has arrived, ask again when it is time."""
        now_ms = self.sim.cluster.now_ms
        while self.answers and self.answers[0][0] <= now_ms:
            _, sent_s, said = self.answers.popleft()
            if said != "unknown":
                self.granted_s = max(self.granted_s, sent_s)
                self.lease.renew(sent_s)
            if said != "ok" and not self.rejoining:
                self.rejoining = True
                self.loop.create_task(self._rejoin())
        if self.generation >= 0 and now_ms - self.heartbeat_ms >= HEARTBEAT_MS:
            self.heartbeat_ms = now_ms
            said = self.sim.cluster.heartbeat(self.name, self.generation)
            self.answers.append((now_ms + self.sim.delay_ms(), self.monotonic_s(), said))

    async def _rejoin(self) -> None:
        try:
            await self.lanes.revoke(self)
        except Exception as error:
            self.stop("revoking failed", error)
        self.assigned = None
        await self.loop.run_in_executor(None, self._join)

    def _join(self) -> None:
        self.rejoining = True
        self.generation = -1
        self.sim.cluster.join(self.name)

    async def _leave(self) -> None:
        """An orderly stop."""
        try:
            await self.lanes.revoke(self)
        except Exception as error:
            self.stop("revoking failed", error)
        self.sim.cluster.leave(self.name)
        self.stop("left")

    def leave(self) -> None:
        """Told to stop."""
        self.rejoining = True
        self.loop.create_task(self._leave())

    def assign(self, generation: int, partitions: list[int]) -> None:
        """The coordinator's word on the new generation has come; a frozen process hears it later."""
        self.offered, self.offered_s = (generation, partitions), self.monotonic_s()
        if not self.frozen:
            self.hear()

    def hear(self) -> None:
        """Take note of the assignment."""
        if self.offered is None:
            return
        generation, partitions = self.offered
        self.offered = None
        self.lanes.assigned()
        self.rejoining = False
        self.generation, self.assigned = generation, partitions
        self.answers.clear()
        self.heartbeat_ms = self.sim.cluster.now_ms
        self.granted_s = max(self.granted_s, self.offered_s)
        self.lease.renew(self.offered_s)

    # -- running --------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """What the consumer's loop does (see faust_transport.py): take over, else feed what was fetched."""
        try:
            while True:
                await self._polled.wait()
                self._polled.clear()
                if self.assigned is None:
                    continue
                if not self.lanes.active:
                    await self._take_over(self.assigned)
                    continue
                for topic, partition, batch in self._fetch():
                    await self.lanes.feed(topic, partition, batch, self)
        except Exception as error:
            self.stop("a batch could not be processed", error)

    async def _take_over(self, partitions: list[int]) -> None:
        try:
            await self.lanes.take_over([(topic, p) for topic in ORDER for p in partitions], self)
        except StaleAssignmentError:
            if self.sim.trace:
                self.sim.note(f"{self.name} was rebalanced while taking over")

    def _fetch(self) -> list[tuple[str, int, list[Record]]]:
        """One fetch: some records of some inputs, in the order of the flows."""
        found = []
        for topic in ORDER:
            for partition in self.assigned or ():
                at = self.positions.get((topic, partition))
                log = self.sim.cluster.logs[topic][partition]
                if at is None or at >= len(log):
                    continue
                batch = log[at : at + self.sim.fetch_size(len(log) - at)]
                if batch:
                    self.positions[topic, partition] = at + len(batch)
                    found.append((topic, partition, list(batch)))
        return found

    def poll(self) -> None:
        """The consumer may fetch."""
        self._polled.set()

    def commit_timer(self) -> None:
        """What the app's timer does."""
        if self.lanes.active:
            self.loop.create_task(self._commit_completed())

    async def _commit_completed(self) -> None:
        try:
            await self.lanes.commit(self)
        except Exception as error:
            self.stop("offsets could not be committed", error)

    def run(self) -> None:
        """Run what is due, unless the process is frozen or gone."""
        if not (self.dead or self.frozen):
            self.loop.run()

    def stop(self, reason: str, error: BaseException | None = None) -> None:
        """`crash.stop`: nothing of this process has another effect."""
        self.sim.die(self, f"{reason}: {error!r}")
        raise DiedError(reason)

"""One run of the whole pipeline under faults, drawn from one seed: the same seed is the same run, to the last record.

Everything that can happen next is an act: a producer sends, the broker takes a record, a client hears of it, a worker
fetches or commits, a thread ends, time passes, something breaks. Which act comes next is chance; so every order that a
real cluster could show is possible, and how likely each kind is differs from seed to seed (swarm testing).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.codecs import envelope as envelopes
from pipeline.ports import Outbound
from pipeline.runtime import lane, lanes
from pipeline.runtime.lane_driver import ANNOUNCE_S
from tests.sim.cluster import CHANGELOG, COMPACTION_LAG_MS, TopicPartition
from tests.sim.worker import SimWorker
from tests.sim.world import World
from topics.catalog import PROFILE_INBOX

#: Rounds of undisturbed work after which nothing may be left to do.
CALM_ROUNDS_MAX = 400



class StuckError(Exception):
    """The pipeline did not come to rest though nothing disturbed it."""


class Simulation(World):
    """One seed's run. `run`, then let the oracle look."""

    # -- acts -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until everything is sent, every fault is over and nothing is left to do. Raises StuckError."""
        with self._limited():
            for _ in range(1 if len(self.machines) == 1 else self.rng.randint(1, len(self.machines))):
                self.start()
            after = self.rng.randint(0, 150)
            while self.traffic.left or after:
                if not self.traffic.left:
                    after -= 1
                self._act(self.rng.choice(self.acts))
                if self.pauses and self.rng.random() < 0.004:
                    self.pauses -= 1
                    self._pause()
            self.calm(thaw=True)
            # What arrived last of all must be noticed too, before compaction may look at it.
            self._idle(int(ANNOUNCE_S * 1_000) + 1_000)

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Limits small enough to be met."""
        where = {"STEP_RECORDS_MAX": lanes, "IN_FLIGHT_MAX": lanes, "OUTBOX_BYTES_MAX": lane, "KEYS_CACHED_MAX": lane}
        usual = {name: getattr(module, name) for name, module in where.items()}
        level = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            for name, module in where.items():
                setattr(module, name, self.limits[name])
            yield
        finally:
            for name, module in where.items():
                setattr(module, name, usual[name])
            logging.disable(level)
            for worker in self.workers:
                worker.loop.kill()

    def _act(self, kind: str) -> None:
        getattr(self, f"_{kind}")()

    def _any(self) -> SimWorker | None:
        awake = [worker for worker in self.workers if not worker.frozen]
        return self.rng.choice(awake) if awake else None

    def _run_some(self, worker: SimWorker) -> None:
        if self.rng.random() < 0.9:
            worker.run()

    def _produce(self) -> None:
        if self.traffic.left:
            out = self.traffic.next(self.cluster.now_ms)
            self.append(out)

    def _poison(self) -> None:
        if self.traffic.left:
            self.append(self.traffic.poison())

    def _deliver(self) -> None:
        """The broker takes the next records of one partition of one client, dead ones' included."""
        if self.ghosts and self.rng.random() < self.late_ghosts:
            worker, where, queue = self.ghosts[self.rng.randrange(len(self.ghosts))]
            worker.queues = {where: queue}
            worker.deliver(where)
            worker.queues, worker.acks = {}, {}
            self.ghosts = [ghost for ghost in self.ghosts if ghost[2]]
            return
        able = [worker for worker in self.workers if worker.queues and (worker.on_wire or not worker.frozen)]
        if able:
            worker = self.rng.choice(able)
            where = self.rng.choice(list(worker.queues))
            if worker.queues[where][0].out.key == envelopes.EPOCH_KEY:
                self._overtake(worker, where)
            risk = 0.0
            for _ in range(self.rng.randint(1, 6)):
                if where in worker.queues:
                    risk = max(risk, self._risk(worker.queues[where][0].out))
                    worker.deliver(where)
            if self.faults and not worker.frozen and self.rng.random() < risk:
                # The moment in which the most is at stake: written, and nothing said yet.
                self.faults -= 1
                self.die(worker, "kill -9")

    def _risk(self, out: Outbound) -> float:
        """How likely a process dies just after this record: most of all after giving a profile up."""
        if not self.cut_short or out.topic != CHANGELOG or out.value is None:
            return 0.0
        outbox = self.opened(out).outbox
        giving = any(o.topic == PROFILE_INBOX.name for pending in outbox for o in pending.outputs)
        return self.cut_short * (5 if giving else 1)

    def _overtake(self, owner: SimWorker, where: TopicPartition) -> None:
        """Others' records for a partition may come in just before its new owner's announcement."""
        if self.rng.random() < 0.5:
            return
        for ghost, other, queue in self.ghosts:
            if other == where:
                self.cluster.append(queue.popleft().out, ghost.name)
        self.ghosts = [ghost for ghost in self.ghosts if ghost[2]]
        for worker in self.workers:
            if worker is not owner and where in worker.queues and (worker.on_wire or not worker.frozen):
                worker.deliver(where)

    def _acknowledge(self) -> None:
        able = [worker for worker in self.workers if worker.acks and not worker.frozen]
        if able:
            worker = self.rng.choice(able)
            where = self.rng.choice(list(worker.acks))
            for _ in range(self.rng.randint(1, 6)):
                if where in worker.acks:
                    worker.acknowledge(where)
            self._run_some(worker)

    def _poll(self) -> None:
        worker = self._any()
        if worker:
            worker.poll()
            self._run_some(worker)

    def _commit(self) -> None:
        worker = self._any()
        if worker:
            worker.commit_timer()
            self._run_some(worker)

    def _job(self) -> None:
        able = [worker for worker in self.workers if worker.loop.jobs and not worker.frozen]
        if able:
            worker = self.rng.choice(able)
            worker.loop.do_job()
            self._run_some(worker)

    def _tick(self, ms: int | None = None) -> None:
        """Time passes; heartbeats, sessions and rebalances follow."""
        self.cluster.now_ms += self.rng.choice((1, 7, 40, 300, 1_200)) if ms is None else ms
        for worker in list(self.workers):
            if not worker.frozen:
                worker.beat()
                if worker.overdue():
                    self.die(worker, "a record could not be delivered in time")
                    continue
                worker.run()
        if self.cluster.settle():
            self.note(f"generation {self.cluster.generation}: {self.cluster.assignment}")
            for worker in self.workers:
                if worker.name in self.cluster.assignment:
                    worker.assign(self.cluster.generation, list(self.cluster.assignment[worker.name]))

    def _follow(self) -> None:
        worker = self._any()
        if worker:
            worker.live = self.live

    def _publish(self) -> None:
        if self.rng.random() < 0.2:
            self.live = self.rng.choice(self.lives)
            self.note(f"policy {self.live.release} goes live")

    def _standby(self) -> None:
        """A worker keeps a copy of another's partition up."""
        worker = self._any()
        partition = self.rng.randrange(self.cluster.partitions)
        if worker is None or worker.assigned is None or partition in worker.assigned or worker.lanes.partitions():
            return
        store = worker.lanes.store(partition)
        left = [c for c in self.cluster.changelogs[partition].changes if c.offset > store.offset]
        store.load((c.key, c.value, c.offset) for c in left[: self.rng.randint(0, len(left))])

    def _compact(self) -> None:
        for changelog in self.cluster.changelogs:
            changelog.compact(self.cluster.now_ms - COMPACTION_LAG_MS)

    # -- faults ---------------------------------------------------------------------------------------------------

    def _fault(self) -> None:
        if not self.faults:
            return
        kind = self.rng.choice(("crash", "crash", "freeze", "freeze", "thaw", "start", "start", "rebalance", "leave"))
        if kind == "start":
            if self.start():
                self.faults -= 1
            return
        if kind == "thaw":
            frozen = [worker for worker in self.workers if worker.frozen]
            if frozen:
                self.thaw(self.rng.choice(frozen))
            return
        self.faults -= 1
        worker = self._any()
        if kind == "rebalance":
            self.note("the group is asked to join again")
            self.cluster.rebalance()
        elif worker is None:
            return
        elif kind == "crash":
            self.die(worker, "kill -9")
            if self.rng.random() < 0.3:
                worker.machine.stores.clear()
        elif kind == "freeze":
            worker.frozen, worker.on_wire = True, self.rng.random() < 0.5
            self.note(f"{worker.name} freezes")
        elif kind == "leave":
            self.note(f"{worker.name} leaves")
            worker.leave()

    # -- quiet ----------------------------------------------------------------------------------------------------

    def calm(self, thaw: bool) -> None:
        """No more faults: work goes on until nothing is left to do."""
        self.note("calm")
        self.whole_fetches, self.slow_answers = True, False
        for _ in range(CALM_ROUNDS_MAX):
            self._round(thaw)
            if self._quiet(thaw):
                return
        raise StuckError(f"not at rest after {CALM_ROUNDS_MAX} rounds: {self._unrest()}")

    def _round(self, thaw: bool) -> None:
        self._wake(thaw)
        self._tick(200)
        while self.ghosts and thaw:
            worker, where, queue = self.ghosts[0]
            worker.queues = {where: queue}
            worker.deliver(where)
            worker.queues, worker.acks = {}, {}
            self.ghosts = [ghost for ghost in self.ghosts if ghost[2]]
        for worker in list(self.workers):
            if not worker.frozen:
                self._work_off(worker)

    def _wake(self, thaw: bool) -> None:
        """There is somebody to work: thawed, or started, also in the place of those that stay frozen."""
        for worker in list(self.workers):
            if thaw and worker.frozen:
                self.thaw(worker)
        if not any(not worker.frozen for worker in self.workers) and not self.start():
            for worker in list(self.workers):
                self.die(worker, "kill -9 of a frozen process")
            self.start()

    def _work_off(self, worker: SimWorker) -> None:
        """Everything that one worker has before it."""
        while worker.loop.jobs and not worker.dead:
            worker.loop.do_job()
            worker.run()
        for where in list(worker.queues):
            while where in worker.queues:
                worker.deliver(where)
        for where in list(worker.acks):
            while where in worker.acks:
                worker.acknowledge(where)
        worker.live = self.live
        worker.run()
        if not worker.dead:
            worker.poll()
            worker.commit_timer()
            worker.run()

    def _quiet(self, thaw: bool) -> bool:
        cluster = self.cluster
        if self.workers and cluster.rebalance_until_ms is None and not (thaw and self.ghosts):
            awake = [worker for worker in self.workers if not worker.frozen]
            return (
                all(w.lanes.active and not (w.queues or w.acks or w.loop.jobs or w.rejoining) for w in awake)
                and sorted(p for w in awake for p in w.lanes.partitions()) == list(range(cluster.partitions))
                and all(cluster.committed[t, p] == len(cluster.logs[t][p]) for t, p in cluster.committed)
            )
        return False

    def _unrest(self) -> str:
        cluster = self.cluster
        lag = {f"{t}[{p}]": (at, len(cluster.logs[t][p])) for (t, p), at in cluster.committed.items()
               if at != len(cluster.logs[t][p])}
        workers = {
            w.name: f"active={w.lanes.active} partitions={w.lanes.partitions()} assigned={w.assigned} "
            f"rejoining={w.rejoining} frozen={w.frozen} queues={len(w.queues)} acks={len(w.acks)} "
            f"jobs={len(w.loop.jobs)} in flight={w.lanes.in_flight()}" for w in self.workers}
        return f"lag {lag}; group {cluster.assignment}, rebalancing={cluster.rebalance_until_ms}; {workers}"

    def _pause(self) -> None:
        """Nobody does anything for some hours; the frozen stay frozen. Then the log is compacted."""
        whole, slow = self.whole_fetches, self.slow_answers
        self._land()
        self.note("hours pass")
        self.calm(thaw=False)
        for _ in range(14):
            self._idle(600_000)
        self._compact()
        self.whole_fetches, self.slow_answers = whole, slow

    def _land(self) -> None:
        """What is on its way to any topic but the changelog arrives: a copy that comes hours late is beyond the ten
        minutes for which a profile remembers a request. A late changelog record has no such bound."""
        for worker, (topic, _), queue in self.ghosts:
            while queue and topic != CHANGELOG:
                self.cluster.append(queue.popleft().out, worker.name)
        self.ghosts = [ghost for ghost in self.ghosts if ghost[2]]
        for worker in self.workers:
            for where in [where for where in worker.queues if worker.frozen and where[0] != CHANGELOG]:
                while where in worker.queues:
                    worker.deliver(where)

    def _idle(self, ms: int) -> None:
        """Time in which nothing happens but heartbeats and timers."""
        self.cluster.now_ms += ms
        for worker in self.workers:
            if not worker.frozen:
                worker.answers.clear()
                worker.granted_s = worker.monotonic_s()
                worker.lease.renew(worker.granted_s)
                worker.heartbeat_ms = self.cluster.now_ms
                if worker.name in self.cluster.members:
                    self.cluster.members[worker.name].heard_ms = self.cluster.now_ms
        self.calm(thaw=False)

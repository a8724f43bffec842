"""Everything one run is about, and the life of its processes: started, thawed, dead. Chooses nothing."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence

from pipeline.codecs import avro, encrypted_values
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.encryption import KeyEncryption
from pipeline.ports import Outbound
from tests.sim.cluster import CHANGELOG, SESSION_MS, Cluster, TopicPartition
from tests.sim.policies import policies
from tests.sim.traffic import Traffic
from tests.sim.worker import ORDER, Machine, Queued, SimWorker
from topics.catalog import BY_NAME


class World:
    """Cluster, machines, processes and producers of one run, and what becomes of processes."""

    def __init__(self, seed: int, trace: bool = False) -> None:
        self.seed = seed
        self.trace: list[str] | None = [] if trace else None
        self.rng = rng = random.Random(seed)
        self.cluster = Cluster(rng, rng.choice((1, 2, 3)), ORDER)
        self.key_encryption = KeyEncryption("sim", random.Random(seed + 1).randbytes)
        #: In some runs all subjects belong to one firm.
        self.accounts = seed % 10 in (3, 6)
        self.lives = policies(self.accounts)
        self.live = self.lives[0]
        #: In some runs the key of the hashes is changed, endpoint by endpoint.
        self.rotates = seed % 10 == 8 or seed % 50 == 36
        endpoints = random.Random(seed + 3) if self.rotates else None
        self.traffic = Traffic(rng, self.accounts, random.Random(seed + 2), endpoints)
        self.machines = [Machine(f"m{n}", rng.choice((0, 0, 40, -40, 900))) for n in range(rng.choice((1, 2, 2, 3)))]
        self.workers: list[SimWorker] = []
        #: What processes that died had on the wire: may still arrive.
        self.ghosts: list[tuple[SimWorker, TopicPartition, deque[Queued]]] = []
        self.deaths: list[str] = []
        #: What workers may never do, whatever comes of it.
        self.misdeeds: list[str] = []
        self.started = 0
        self.whole_fetches = rng.random() < 0.5
        #: Whether every fetch brings everything, so that nothing is read before what was appended earlier.
        self.in_order = self.whole_fetches
        self.slow_answers = rng.random() < 0.3
        self.faults = rng.choice((0, 2, 4, 8, 16))
        self.late_ghosts = rng.choice((0.0, 0.02, 0.2))
        self.cut_short = rng.choice((0.0, 0.02, 0.1))
        self.pauses = rng.choice((0, 0, 0, 0, 0, 1, 2))
        self.acts = self._weigh()
        self.limits = {
            "STEP_RECORDS_MAX": rng.choice((1, 2, 5, 500)),
            "IN_FLIGHT_MAX": rng.choice((3, 10, 4_000)),
            "OUTBOX_BYTES_MAX": rng.choice((600, 4_000, 262_144, 262_144)),
            "KEYS_CACHED_MAX": rng.choice((1, 3, 2_048)),
        }

    def _weigh(self) -> list[str]:
        rng = self.rng
        usual = {"produce": 6, "deliver": 24, "acknowledge": 16, "poll": 12, "commit": 5, "job": 16, "tick": 8}
        acts = [kind for kind, weight in usual.items() for _ in range(max(1, int(weight * rng.choice((0.3, 1, 1, 2)))))]
        acts += ["follow"] * rng.choice((0, 1)) + ["standby"] * rng.choice((0, 1)) + ["publish"] * rng.choice((0, 2))
        acts += ["poison"] * rng.choice((0, 0, 0, 1)) + ["compact"]
        acts += ["fault"] * (rng.choice((1, 3, 6)) if self.faults else 0)
        return acts

    @property
    def forgotten(self) -> set[str]:
        """Everybody who belongs to somebody that asked to be forgotten."""
        return self.traffic.forgotten

    # -- what the parts ask ---------------------------------------------------------------------------------------

    def delay_ms(self) -> int:
        """How long a heartbeat's answer takes."""
        return self.rng.choice((5, 300, 2_500)) if self.slow_answers else 1

    def fetch_size(self, available: int) -> int:
        """How many of the records that lie there a fetch brings."""
        if self.whole_fetches:
            return available
        return 0 if self.rng.random() < 0.5 else self.rng.randint(0, available)

    def on_send(self, worker: SimWorker, records: Sequence[Outbound]) -> None:
        """Look at what a worker sends: not without its lease; and of what was committed nothing may be kept."""
        if worker.monotonic_s() - worker.granted_s >= SESSION_MS / 1000:
            self.misdeeds.append(f"{worker.name} sends to {records[0].topic} without a lease")
        for out in records:
            if out.topic != CHANGELOG or out.value is None or out.key.startswith(b"\x00"):
                continue
            if worker.generation != self.cluster.generation or not worker.lanes.active:
                continue
            for pending in self.opened(out).outbox:
                topic = pending.source.partition("@")[0]
                if pending.offset < self.cluster.committed[topic, out.partition or 0]:
                    self.misdeeds.append(f"{worker.name} keeps outputs of {topic}@{pending.offset} for {out.key!r}")

    def opened(self, out: Outbound) -> envelopes.Envelope:
        """A changelog value, opened; what lies beside a state has no outbox, and stays as it is."""
        if out.key.startswith(envelopes.BESIDE):
            return envelopes.decode(out.value or b"")
        return encrypted_values.opened(self.key_encryption, out.key, out.value or b"")[0]

    def note(self, text: str) -> None:
        """One line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{(self.cluster.now_ms - 1_800_000_000_000) / 1000:9.3f}  {text}")

    def describe(self, out: Outbound) -> str:
        """A record in a few words."""
        key = out.key.decode(errors="replace")
        if out.topic == CHANGELOG:
            if out.value is None:
                return f"{key!r} deleted"
            e = self.opened(out)
            encrypted = "nobody's" if e.key is None else e.key.hex()[-8:]
            applied = ",".join(f"{s.partition('@')[0].partition('.')[0]}:{o}" for s, o in e.applied.items())
            return f"{key!r} {encrypted} epoch {e.epoch} applied {applied} outbox {[(p.source.partition('.')[0], p.offset) for p in e.outbox]}"  # noqa: E501
        try:
            value = avro.decode(BY_NAME[out.topic], out.value or b"")
        except avro.CodecError:
            return f"{key!r} {out.value!r}"
        return f"{key!r} {str(value)[:300]}"

    def die(self, worker: SimWorker, why: str) -> None:
        """The process ends here; some of what it had queued may be on the wire."""
        worker.dead = True
        worker.died_of = why
        self.deaths.append(f"{worker.name}: {why}")
        self.note(f"{worker.name} DIES: {why}")
        for where, queue in worker.queues.items():
            on_wire = deque(list(queue)[: self.rng.randint(0, len(queue))] if self.rng.random() < 0.5 else ())
            if on_wire:
                self.ghosts.append((worker, where, on_wire))
        worker.queues.clear()
        worker.acks.clear()
        worker.loop.kill()
        self.workers.remove(worker)

    def append(self, out: Outbound) -> None:
        partition, offset = self.cluster.append(out, "producer")
        if self.trace is not None:
            self.note(f"producer → {out.topic}[{partition}]@{offset} {self.describe(out)}")

    # -- processes ------------------------------------------------------------------------------------------------

    def start(self) -> bool:
        taken = {worker.machine.name for worker in self.workers}
        free = [machine for machine in self.machines if machine.name not in taken]
        if not free:
            return False
        machine = self.rng.choice(free)
        self.started += 1
        name = f"w{self.started}"
        self.note(f"{name} starts on {machine.name} (clock {machine.skew_ms:+d} ms)")
        self.workers.append(SimWorker(self, name, machine))
        return True

    def thaw(self, worker: SimWorker) -> None:
        """It goes on where it was; its client may still send what it had queued before it sees how late it is."""
        self.note(f"{worker.name} thaws")
        worker.frozen = False
        for where in list(worker.queues):
            for _ in range(self.rng.randint(0, len(worker.queues[where]))):
                worker.deliver(where)
        # What the coordinator said lay in the socket all the while.
        worker.hear()
        worker.beat()
        worker.run()

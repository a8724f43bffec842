"""The whole pipeline in one process, without Kafka: the same flows, lanes and codecs on lists and dictionaries.

A test tool (what TopologyTestDriver is to Kafka Streams), never a deployment. Acknowledgements come at once and in
order; `crash_after` ends the process between any two effects, and `restart` recovers as a real worker does: stores
from the changelog, positions from what was committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from pipeline.codecs import avro, encrypted_values
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.encryption import KeyEncryption
from pipeline.codecs.keyring import Keyring
from pipeline.codecs.state import SubjectStates
from pipeline.flow import Flow, Lane, Record
from pipeline.policy.directory import Directory
from pipeline.ports import Outbound
from pipeline.runtime.due import DueProfiles
from pipeline.runtime.fates import LaneContext, handle_stateless
from pipeline.runtime.lane import PartitionLane, Step
from pipeline.runtime.reports import Reports
from topics.catalog import BY_NAME, SUBJECT_PARTITIONS, Topic
from topics.partitions import partition_of, subject_partition


def counting_chance() -> Callable[[int], bytes]:
    """Random bytes that are none: the same bytes in every run, and never the same twice in one."""
    numbers = count()
    return lambda size: hashlib.shake_128(str(next(numbers)).encode()).digest(size)


class CrashError(Exception):
    """The simulated process died, as asked by `crash_after`."""


class MemoryStore:
    """One partition's copy of a table on a dictionary: the StateStore port, and what a take-over fills."""

    def __init__(self, path: Path = Path("memory")) -> None:
        self.path = path
        self.values: dict[bytes, bytes] = {}
        self.offset = -1
        self.epoch = 0
        #: Keys whose newest changelog record is a lost owner's.
        self.stale: set[bytes] = set()
        self.destroyed = False

    def get(self, key: bytes) -> bytes | None:
        """The value as of the last `apply`."""
        return self.values.get(key)

    def apply(self, writes: Mapping[bytes, bytes | None], offset: int | None) -> None:
        """Write all or nothing, with the changelog offset they reach."""
        for key, value in writes.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value
        marks = {key[len(envelopes.STALE_MARK) :] for key in writes if key.startswith(envelopes.STALE_MARK)}
        self.stale = (self.stale - writes.keys()) | marks
        if offset is not None and offset > self.offset:
            self.offset = offset

    def load(self, changes: Iterable[tuple[bytes, bytes | None, int]]) -> int:
        """Apply changelog records in order; returns how many were stale and passed over."""
        found = envelopes.recover(changes, self.offset, self.epoch, self.get(envelopes.EPOCH_KEY))
        self.epoch = found.epoch
        self.apply(found.writes, found.offset)
        return found.stale

    def due(self, now_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """Keys whose state time alone changes by now, earliest first, with that time (epoch ms)."""
        known = ((envelopes.due_of(value), key) for key, value in self.items())
        return [(key, at_ms) for at_ms, key in sorted((at_ms, key) for at_ms, key in known if at_ms is not None)
                if at_ms <= now_ms][:limit]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value, in key order."""
        return iter(sorted((k, v) for k, v in self.values.items() if not k.startswith(b"\x00")))

    @property
    def erased(self) -> dict[bytes, int]:
        """None: what is replaced is gone."""
        return {}

    def compact(self, keys: Iterable[bytes]) -> bool:
        """Nothing to do."""
        return True

    def compacted(self, keys: Mapping[bytes, int]) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing is open; what is kept is kept, as on a disk."""

    def destroy(self) -> None:
        """Forget everything."""
        self.values.clear()
        self.stale.clear()
        self.offset, self.epoch, self.destroyed = -1, 0, True


@dataclass(slots=True)
class ManualClock:
    """A clock that moves only when told."""

    at_ms: int = 1_700_000_000_000

    def now_ms(self) -> int:
        """The wall clock's reading."""
        return self.at_ms

    def monotonic_s(self) -> float:
        """The same time in seconds."""
        return self.at_ms / 1000


@dataclass(slots=True)
class CountingMetrics:
    """The Metrics port as dictionaries of counts: by (flow, fate, reason), and of outcomes by (matched by, reason); and
    of models, by (tenant, model), the newest snapshot and showings, and (outcome, snapshot, reward) of closed showings.
    """

    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], int] = field(default_factory=dict)
    models: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    rewards: dict[tuple[str, str], list[tuple[str, int, float]]] = field(default_factory=dict)

    def record(self, flow: str, fate: str, reason: str) -> None:
        """One record met its fate."""
        key = (flow, str(fate), str(reason))
        self.counts[key] = self.counts.get(key, 0) + 1

    def outcome(self, matched_by: str, reason: str) -> None:
        """One record of the topic `outcomes`."""
        self.outcomes[matched_by, reason] = self.outcomes.get((matched_by, reason), 0) + 1

    def learnt(self, tenant: str, model: str, snapshot: int, observations: int) -> None:
        """A model's writer counted an update, or cut a snapshot."""
        self.models[tenant, model] = (snapshot, observations)

    def earned(
        self, tenant: str, model: str, outcome: str, snapshot: int, reward: float, decided_ms: int
    ) -> None:
        """The window of one showing that the model chose was closed."""
        self.rewards.setdefault((tenant, model), []).append((outcome, snapshot, reward))


class MemoryPipeline:
    """A broker and one worker in memory. `send` records, `run` until quiet, read `values` of any topic."""

    def __init__(self, flows: Sequence[Flow], directory: Directory | None = None) -> None:
        self.flows = flows
        self.directory = directory or Directory()
        self.clock = ManualClock()
        self.metrics = CountingMetrics()
        self.key_encryption = KeyEncryption("memory", counting_chance())
        self.logs: dict[str, list[list[Record]]] = {}
        self.changelog: list[list[tuple[bytes, bytes]]] = [[] for _ in range(SUBJECT_PARTITIONS)]
        self.committed: dict[tuple[str, int], int] = {}
        self.crash_after: int | None = None
        self._due = DueProfiles(self.clock)
        self.effects = 0
        self._batch = [flow for flow in flows if flow.lane is Lane.BATCH]
        self._reports = Reports(self._batch, self._caught_up)
        self._agents = [flow for flow in flows if flow.lane is Lane.AGENT]
        self.restart()

    # -- records in and out ---------------------------------------------------------------------------------------

    def send(
        self, topic: Topic, key: str | bytes | None, value: object, partition: int | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        """Append a record: a core value (encoded), or bytes or None as they are; `partition` None: by the key.

        Compacted topics are followed into the directory at once.
        """
        data = value if isinstance(value, bytes) or value is None else avro.encode(topic, value)
        raw_key = key.encode() if isinstance(key, str) else key
        offset = self._append(Outbound(topic.name, raw_key or b"", data, partition, headers), raw_key)
        if topic.compacted:
            self.directory.apply(
                topic.name, raw_key or b"", None if value is None else self._decoded(topic, data), offset
            )

    def _decoded(self, topic: Topic, data: bytes | None) -> Any:
        try:
            return avro.decode(topic, data)
        except avro.CodecError:
            return None

    def _append(self, outbound: Outbound, key: bytes | None) -> int:
        topic = BY_NAME[outbound.topic]
        partitions = self.logs.setdefault(topic.name, [[] for _ in range(topic.partitions)])
        number = partition_of(outbound.key, topic.partitions) if outbound.partition is None else outbound.partition
        log = partitions[number]
        log.append(Record(topic.name, number, len(log), self.clock.at_ms, key, outbound.value, outbound.headers))
        return len(log) - 1

    def values(self, topic: Topic) -> list[Any]:
        """Every record of the topic, decoded and opened, by partition; encrypted where its key is gone."""
        keyring = self.keyring()
        return [
            keyring.value(topic, r.key, r.value) for log in self.logs.get(topic.name, []) for r in log
            if r.value is not None
        ]

    def keyring(self) -> Keyring:
        """What a reader of the changelog has."""
        found = Keyring(self.key_encryption)
        for number, log in enumerate(self.changelog):
            for key, value in log:
                found.follow(number, key, value)
        return found

    def state(self, key: str) -> Any:
        """The state that the table holds for a key; None where there is none."""
        store = self._stores[subject_partition(key.encode())]
        data = store.get(key.encode())
        state = encrypted_values.opened(self.key_encryption, key.encode(), data)[0].state if data is not None else None
        return None if state is None else SubjectStates.decode(state)

    # -- running --------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """A new worker: stores from the changelog, positions from what was committed."""
        self._stores = [MemoryStore() for _ in range(SUBJECT_PARTITIONS)]
        self._lanes: list[PartitionLane] = []
        for number, store in enumerate(self._stores):
            store.apply(dict(self.changelog[number]), None)
            self._lanes.append(self._lane(number, store))
        self._agent_positions = {flow.reads.name: self.committed.get((flow.reads.name, -1), 0) for flow in self._agents}

    def _lane(self, number: int, store: MemoryStore) -> PartitionLane:
        epochs = (envelopes.epoch_of(value) for _, value in self.changelog[number])
        return PartitionLane(
            number,
            self._batch,
            store,
            SubjectStates(),
            epoch=max(epochs, default=0) + 1,
            input_ids={flow.reads.name: "memory" for flow in self._batch},
            positions={flow.reads.name: self.committed.get((flow.reads.name, number), 0) for flow in self._batch},
            live=self.directory.live,
            clock=self.clock,
            metrics=self.metrics,
            worker="memory",
            key_encryption=self.key_encryption,
            reported=partial(self._reports.known_ms, (number,)),
        )

    def _caught_up(self, topic: str, number: int) -> bool:
        return self._lanes[number].position(topic) >= len(self._log(topic, number))

    def _log(self, topic: str, number: int) -> list[Record]:
        return self.logs.get(topic, [[]] * SUBJECT_PARTITIONS)[number]

    def run(self) -> None:
        """Process until nothing is left to read. Raises CrashError where `crash_after` effects are through."""
        while self._run_agents() or any([self._run_lane(lane) for lane in self._lanes]):
            pass

    def advance(self, ms: int) -> None:
        """Let time pass, ask for another look at what it changes, and run."""
        self.clock.at_ms += ms
        self._send_all(self._due.questions(dict(enumerate(self._stores))))
        self.run()

    def _run_lane(self, lane: PartitionLane) -> bool:
        progress = False
        for flow in self._batch:
            records = self._log(flow.reads.name, lane.partition)[lane.position(flow.reads.name) :]
            last_ms = records[-1].at_ms if records else 0
            while records:
                progress = True
                step, records = lane.process(flow.reads.name, records)
                self._complete(lane, step)
                if (resumed := lane.resume()) is not None:
                    self._complete(lane, resumed)
            self._reports.taken(flow.reads.name, lane.partition, last_ms)
        if (resumed := lane.resume()) is not None:
            self._complete(lane, resumed)
            progress = True
        return progress

    def _complete(self, lane: PartitionLane, step: Step) -> None:
        self._effect(lambda: self.changelog[lane.partition].extend(step.writes.items()))
        self._send_all(step.outputs)
        lane.sent(step)
        self._effect(lambda: self._commit(lane))

    def _commit(self, lane: PartitionLane) -> None:
        for topic, offset in lane.done().items():
            self.committed[(topic, lane.partition)] = offset

    def _run_agents(self) -> bool:
        progress = False
        for flow in self._agents:
            name = flow.reads.name
            for record in self.logs.get(name, [[]])[0][self._agent_positions[name] :]:
                progress = True
                context = LaneContext(self.directory.live)
                self._send_all(handle_stateless(flow, record, context, self.metrics, "memory"))
                self._agent_positions[name] = self.committed[(name, -1)] = record.offset + 1
        return progress

    def _send_all(self, outputs: Iterable[Outbound]) -> None:
        for output in outputs:
            self._effect(lambda out=output: self._publish(out))

    def _publish(self, out: Outbound) -> None:
        offset, topic = self._append(out, out.key), BY_NAME[out.topic]
        if topic.compacted:
            self.directory.apply(topic.name, out.key, self._decoded(topic, out.value), offset)

    def _effect(self, effect: Any) -> None:
        """One effect on the broker; the process may die before it."""
        if self.crash_after is not None and self.effects >= self.crash_after:
            raise CrashError(f"after {self.effects} effects")
        self.effects += 1
        effect()

"""The batch lane: runs flows over whole batches of one partition and says, in order, what must happen to the world.

It does no I/O but reading its partition's store. A driver (Faust's, or the in-memory one of the tests) carries the
`Step` it returns through its three acts, each begun only when the one before is acknowledged:

1. `writes` to the table's changelog;
2. `outputs` to their topics, as soon as the changelog has the writes; then `sent()`, which brings the local store to
   the same point: without the outputs, which nobody needs any more;
3. the input offsets below `done(topic)` may be committed.

Steps of one partition may overlap in flight, but each act happens in the order of the steps. The local store is always
a prefix of the changelog, so a crash at any point leaves nothing to repair: what was not acknowledged is read again,
and `applied` and `outbox` in each key's envelope (see `envelope.py`) make that second reading change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.codecs import avro
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.encryption import Cipher, KeyEncryption
from pipeline.codecs.envelope import Envelope, Pending
from pipeline.core.decide.live import Live
from pipeline.flow import Accept, DeadLetter, Drop, Fate, Flow, Outcome, Reason, Record
from pipeline.ports import Clock, Metrics, Outbound, States, StateStore
from pipeline.runtime import faults
from pipeline.runtime.data_keys import DataKeys
from pipeline.runtime.fates import LaneContext, event_of, settle
from pipeline.runtime.waiting import Waiting, WaitingRecords
from topics.catalog import PROFILE_BYTES_MAX
from topics.partitions import subject_partition

#: Decoded keys kept per partition between two steps: saves reading and decoding for subjects that come again at once.
#: Few, as every one is dozens of objects for the garbage collector to look through.
KEYS_CACHED_MAX = 256

#: Outputs waiting in one key's envelope; past it the batch ends early, so that a hot key cannot outgrow a record.
OUTBOX_BYTES_MAX = 262_144


@dataclass(slots=True)
class _Entry:
    """One key in memory: its envelope and decoded state; `step` is the last step that writes it, 0 when stored."""

    envelope: Envelope
    state: Any
    step: int = 0
    outbox_bytes: int = 0
    #: DataKeys the value and what is said of its subject; None where there is nothing of theirs to keep.
    cipher: Cipher | None = None


@dataclass(slots=True)
class Step:
    """What one batch asks of the world; see the module."""

    number: int
    writes: dict[bytes, bytes] = field(default_factory=dict)
    #: Where the last of them is in the changelog, once it is there.
    changelog_offset: int | None = None
    outputs: list[Outbound] = field(default_factory=list)
    #: The next offset to read per input topic once this step is complete.
    reached: dict[str, int] = field(default_factory=dict)
    records: int = 0
    #: Records that had to wait for others, done with once this step is.
    waited: list[tuple[str, int]] = field(default_factory=list)
    complete: bool = False


class PartitionLane:
    """All batch flows over one partition number: the single writer of that partition's table."""

    def __init__(
        self,
        partition: int,
        flows: Sequence[Flow],
        store: StateStore,
        states: States,
        *,
        epoch: int,
        input_ids: Mapping[str, str],
        positions: Mapping[str, int],
        live: Callable[[str], Live | None],
        clock: Clock,
        metrics: Metrics,
        worker: str,
        key_encryption: KeyEncryption,
        reported: Callable[[int], int],
        healed: Collection[bytes] = (),
        home: Callable[[bytes], int] = subject_partition,
    ) -> None:
        """`healed`: keys that this owner wrote again under its own epoch as it found them (see takeover).

        `reported`: see `flow.Context.reported_ms`; of the time of the record at hand.
        """
        self.partition = partition
        self._home = home
        self.epoch = epoch
        self._flows = {flow.reads.name: flow for flow in flows}
        self._store = store
        self._states = states
        self._keys = DataKeys(key_encryption, store, epoch)
        self._inputs = {name: f"{name}@{input_ids[name]}" for name in self._flows}
        self._position = dict(positions)
        self._done = dict(positions)
        #: The same, as if nothing waited.
        self._reached = dict(positions)
        self._waiting = WaitingRecords(partition, self._position)
        self._waiting_by_key = self._waiting.by_key
        self._start = {self._inputs[name]: offset for name, offset in positions.items()}
        #: `_done` by what an envelope calls the topic.
        self._acknowledged = dict(self._start)
        self._unsent_of = set(healed)
        self._context = LaneContext(live, beside_of=self._beside_of, reported=reported)
        self._clock = clock
        self._metrics = metrics
        self._worker = worker
        self._entries: dict[bytes, _Entry] = {}
        #: The key whose record is handled; and what steps under way put beside states, with the newest step of each.
        self._current = b""
        self._beside: dict[bytes, tuple[bytes, int]] = {}
        self._steps: dict[int, Step] = {}
        self._step_number = 0
        self.in_flight = 0
        self.dead_letters = 0

    def position(self, topic: str) -> int:
        """The next offset this lane takes of the topic: whoever feeds it seeks here after a doubt."""
        return self._position[topic]

    def done(self) -> dict[str, int]:
        """Per topic, the offset below which every effect is complete: what may be committed."""
        return dict(self._done)

    # -- a batch in -----------------------------------------------------------------------------------------------

    def process(self, topic: str, records: Iterable[Record]) -> tuple[Step, list[Record]]:
        """Run the topic's flow over records in offset order; returns the step, and the records left for the next one
        because a key's outbox is full. Records below `position` are passed over (already taken)."""
        flow = self._flows[topic]
        if len(self._entries) > KEYS_CACHED_MAX:
            self._evict()
        self._step_number += 1
        step = Step(self._step_number)
        dirty: dict[bytes, _Entry] = {}
        queue = list(records)
        for index, record in enumerate(queue):
            if record.offset < self._position[topic]:
                continue
            full = self._one(flow, record, step, dirty)
            self._position[topic] = record.offset + 1
            step.reached[topic] = record.offset + 1
            step.records += 1
            if full:
                queue = queue[index + 1 :]
                break
        else:
            queue = []
        self._begin(step, dirty)
        return step, queue

    def resume(self) -> Step | None:
        """A step over the records whose wait is over: what they were to come after is handled, or did not come in time.
        None where there is none."""
        over = self._waiting.over(self._clock.now_ms())
        if not over:
            return None
        self._step_number += 1
        step = Step(self._step_number)
        dirty: dict[bytes, _Entry] = {}
        for waited in over:
            record = waited.record
            self._one(self._flows[record.topic], record, step, dirty, waited)
            step.waited.append((record.topic, record.offset))
            step.records += 1
        self._begin(step, dirty)
        return step

    def _begin(self, step: Step, dirty: Mapping[bytes, _Entry]) -> None:
        for key, entry in dirty.items():
            step.writes[key] = self._keys.encrypted(entry.envelope, entry.cipher)
        self.in_flight += step.records
        self._steps[step.number] = step

    def _one(
        self, flow: Flow, record: Record, step: Step, dirty: dict[bytes, _Entry], waited: Waiting | None = None
    ) -> bool:
        """One record's fate; True when its key's outbox is full and the step should end here."""
        try:
            event = event_of(flow, record)
        except avro.CodecError as error:
            self._settle(flow, record, DeadLetter(error.reason, error.detail), step, self._cipher_for(record.key, step))
            return False
        except Exception as error:
            letter = faults.failed(flow.name, (record.key or b"").decode(errors="replace"), error, self._context)
            self._settle(flow, record, letter, step, self._cipher_for(record.key, step))
            return False
        key = record.key or b""
        entry = self._entry(key, step)
        # What was written once belongs here.
        if entry.envelope.epoch == 0 and (astray := self._astray(key)) is not None:
            self._settle(flow, record, astray, step)
            return False
        source = self._inputs[record.topic]
        if record.offset <= entry.envelope.applied.get(source, -1):
            # Whatever the broker may lack of its outputs went out when its key was read.
            self._metrics.record(flow.name, Fate.DROP, Reason.REDELIVERED)
            return False
        deadline_ms = None if flow.deadline_ms is None else flow.deadline_ms(event)
        if deadline_ms is not None and self._clock.now_ms() > deadline_ms:
            self._settle(flow, record, Drop(Reason.PAST_DEADLINE), step)
            return False
        may_wait = flow.comes_after and (record.headers or self._waiting_by_key)
        if may_wait and (fate := self._waiting.come_after(record, deadline_ms, waited)) is not None:
            if not isinstance(fate, Waiting):
                self._settle(flow, record, fate, step, entry.cipher)
            return False
        self._context.now_ms = record.at_ms
        self._current = key
        try:
            outcome = flow.handle(event, entry.state, self._context)
            state = _state_of(outcome)
            data, cipher = None, entry.cipher
            if state is not None:
                data = self._encoded(state)
                cipher = self._keys.after(key, cipher, self._states.holds_somebody(state))
            beside = self._put_beside(key, outcome, cipher)
            outputs = self._settle(flow, record, outcome, step, cipher)
            entry.cipher = cipher
            # Before the state that may name it.
            step.writes.update(beside)
        except self._states.undecodable:
            # No record's fault: what the table holds is something else, and would be written over.
            raise
        except Exception as error:
            outcome = self._letter(flow, key, error)
            state = data = None
            outputs = self._settle(flow, record, outcome, step, entry.cipher)
        if state is None and not outputs:
            return False
        # A dead letter or a repeated answer is kept too: `applied` is one offset, and a later record of this key
        # moves it past this one, which would then be taken for done.
        return self._keep(key, entry, state, data, Pending(source, record.offset, outputs), dirty)

    def _beside_of(self, name: str) -> bytes | None:
        """What lies beside the state of the key at hand, also where a step under way put it there."""
        at = envelopes.beside_key(self._current, name)
        under_way = self._beside.get(at)
        if under_way is not None:
            return under_way[0] or None
        return self._keys.load_beside(at, self._entries[self._current].cipher)

    def _put_beside(self, key: bytes, outcome: Outcome, cipher: Cipher | None) -> dict[bytes, bytes]:
        """What the outcome puts beside the state, as changelog values by their place."""
        if not isinstance(outcome, Accept) or not outcome.beside:
            return {}
        values = {}
        for name, data in outcome.beside.items():
            at = envelopes.beside_key(key, name)
            if data or at in self._beside or self._keys.lies_beside(at):
                values[at] = self._keys.encrypted_beside(at, data, cipher)
                self._beside[at] = (data, self._step_number)
        return values

    def _letter(self, flow: Flow, key: bytes, error: Exception) -> DeadLetter:
        """What a record is that could not be handled: bad data where a codec says so, else a defect."""
        if isinstance(error, avro.CodecError):
            return DeadLetter(error.reason, f"what follows from it cannot be written: {error.detail}")
        return faults.failed(flow.name, key.decode(errors="replace"), error, self._context)

    def _astray(self, key: bytes) -> DeadLetter | None:
        """A key on another partition than its own would get a second state, and its caps would not hold."""
        home = self._home(key)
        if home == self.partition:
            return None
        return DeadLetter(
            Reason.WRONG_PARTITION,
            f"this key belongs on partition {home}, the record came on {self.partition}: let the producer partition by "
            "murmur2 as Kafka's own clients do (librdkafka: partitioner=murmur2_random), never by hand",
        )

    def _entry(self, key: bytes, step: Step) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            envelope, cipher = self._keys.load(key)
            state = None if envelope.state is None else self._states.decode(envelope.state)
            entry = _Entry(envelope, state, outbox_bytes=sum(map(size, envelope.outbox)), cipher=cipher)
            self._entries[key] = entry
            if envelope.outbox and (envelope.epoch < self.epoch or key in self._unsent_of):
                self._send_again(key, envelope, step)
        return entry

    def _send_again(self, key: bytes, envelope: Envelope, step: Step) -> None:
        """Say what an earlier owner may not have said, byte for byte, before anything new is said of its key.

        Not when the record comes again that caused it: a record of another topic may come before that one, and what it
        sends on must not arrive before a given-up profile that was sent on earlier.
        """
        for pending in envelope.outbox:
            if pending.offset >= self._start.get(pending.source, pending.offset + 1):
                step.outputs.extend(pending.outputs)
        self._unsent_of.discard(key)

    def _evict(self) -> None:
        """Forget the older half of the keys that the store already has."""
        stored = [key for key, entry in self._entries.items() if entry.step == 0]
        for key in stored[: max(1, len(stored) // 2)]:
            del self._entries[key]

    def _keep(
        self, key: bytes, entry: _Entry, state: Any, data: bytes | None, pending: Pending, dirty: dict[bytes, _Entry]
    ) -> bool:
        """Put a state, with its bytes, and outputs into the key's envelope; True when its outbox has reached its
        limit."""
        envelope = entry.envelope
        if state is not None:
            entry.state = state
            envelope.state = data
            envelope.due_ms = self._states.due_ms(state)
        if key not in dirty:
            # The first write of this step forgets what the broker has acknowledged since the last one.
            sources = self._acknowledged
            if envelope.outbox:
                envelope.outbox = [p for p in envelope.outbox if p.offset >= sources.get(p.source, p.offset + 1)]
                entry.outbox_bytes = sum(map(size, envelope.outbox))
            if not envelope.applied.keys() <= sources.keys():
                envelope.applied = {s: o for s, o in envelope.applied.items() if s in sources}
            dirty[key] = entry
            # From now on it may not be forgotten: the store does not have it.
            entry.step = self._step_number
        envelope.epoch = self.epoch
        envelope.applied[pending.source] = pending.offset
        if pending.outputs:
            envelope.outbox.append(pending)
            entry.outbox_bytes += size(pending)
        return entry.outbox_bytes > OUTBOX_BYTES_MAX

    def _cipher_for(self, key: bytes | None, step: Step) -> Cipher | None:
        """What encrypts the dead letter of a record that cannot be read: the key of the subject whose it may be."""
        return self._entry(key, step).cipher if key and self._home(key) == self.partition else None

    def _settle(
        self, flow: Flow, record: Record, outcome: Outcome, step: Step, cipher: Cipher | None = None
    ) -> tuple[Outbound, ...]:
        """Count the fate and queue its outputs."""
        if isinstance(outcome, DeadLetter):
            self.dead_letters += 1
        outputs = settle(flow, record, outcome, self._metrics, self._worker, cipher or self._keys.nobody,
                         self._inputs[record.topic])
        step.outputs.extend(outputs)
        return outputs

    def _encoded(self, state: Any) -> bytes:
        """The state's bytes. Raises CodecError for more than the changelog can take beside a full outbox."""
        data = self._states.encode(state)
        if len(data) > PROFILE_BYTES_MAX:
            raise avro.CodecError(
                Reason.TOO_LARGE,
                f"what would be kept of its subject is {len(data)} bytes, at most {PROFILE_BYTES_MAX} can be: nothing "
                "was changed",
            )
        return data

    # -- acknowledgements -----------------------------------------------------------------------------------------

    def sent(self, step: Step) -> None:
        """The broker has the step's outputs. Whatever order steps complete in, store and offsets follow step order."""
        step.complete = True
        while self._steps:
            oldest = next(iter(self._steps.values()))
            if not oldest.complete:
                return
            self._settled(oldest)
            del self._steps[oldest.number]

    def _settled(self, step: Step) -> None:
        """Changelog and topics have all of the step, and of those before it."""
        if step.writes:
            kept = {key: envelopes.settled(value) for key, value in step.writes.items()}
            self._store.apply(kept, step.changelog_offset)
        for key in step.writes:
            if key.startswith(envelopes.BESIDE):
                if self._beside[key][1] == step.number:
                    del self._beside[key]
                continue
            entry = self._entries[key]
            if entry.step == step.number:
                entry.step = 0
        self._reached.update(step.reached)
        self._waiting.release(step.waited)
        for topic in {*step.reached, *(topic for topic, _ in step.waited)}:
            done = self._waiting.done_below(topic, self._reached[topic])
            self._done[topic] = self._acknowledged[self._inputs[topic]] = done
        self.in_flight -= step.records


def size(pending: Pending) -> int:
    """Bytes that the outputs take in an envelope, near enough to bound it."""
    return sum(len(o.value or b"") + len(o.key) for o in pending.outputs)


def _state_of(outcome: Outcome) -> Any:
    """The new state, or None where the outcome leaves it as it was."""
    return outcome.state if isinstance(outcome, Accept) else None

"""From a record to its fate: what every runtime does with a handler's outcome, whichever lane the flow takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.codecs import avro
from pipeline.codecs.encryption import Cipher
from pipeline.core.decide.live import Live
from pipeline.core.keys import model_of, tenant_of
from pipeline.core.model.records import ModelUpdate
from pipeline.core.model.records import Outcome as OutcomeRecord
from pipeline.core.models.updates import joined
from pipeline.core.subject import ModelState
from pipeline.flow import EVERYTHING_KNOWN, Accept, DeadLetter, Drop, Emit, Fate, Flow, Forward, Outcome, Reason, Record
from pipeline.ports import Metrics, Outbound
from pipeline.runtime import faults
from pipeline.runtime.letters import letter_of
from topics.catalog import DEAD_LETTERS, MODEL_UPDATES


def _everything_known(now_ms: int) -> int:
    """Where nobody decides."""
    return EVERYTHING_KNOWN


def _nothing_beside(name: str) -> bytes | None:
    """Of a flow without a table."""
    return None


@dataclass(slots=True)
class LaneContext:
    """What handlers may know; one per lane, its time moved from record to record."""

    live_for: Callable[[str], Live | None]
    now_ms: int = 0
    beside_of: Callable[[str], bytes | None] = _nothing_beside
    #: Of the record's time.
    reported: Callable[[int], int] = _everything_known

    def live(self, tenant: str) -> Live | None:
        """The tenant's active release and catalog, or None."""
        return self.live_for(tenant)

    def reported_ms(self) -> int:
        """Up to when everything that was reported is known."""
        return self.reported(self.now_ms)

    def beside(self, name: str) -> bytes | None:
        """What lies beside the state of the record's key."""
        return self.beside_of(name)


def handle_stateless(flow: Flow, record: Record, context: LaneContext, metrics: Metrics, worker: str) -> list[Outbound]:
    """Run a flow without a table over one record; returns what to publish before the record is acknowledged."""
    context.now_ms = record.at_ms
    outcome: Outcome
    if record.unreadable:
        outcome = DeadLetter(Reason.INVALID, record.unreadable)
    elif flow.reads.compacted and record.value is None:
        # A tombstone on a compacted topic withdraws the item or release: nothing to check.
        outcome = Accept(Reason.APPLIED)
    else:
        try:
            outcome = flow.handle(avro.decode(flow.reads, record.value), None, context)
        except avro.CodecError as error:
            outcome = DeadLetter(error.reason, error.detail)
        except Exception as error:
            outcome = faults.failed(flow.name, (record.key or b"").decode(errors="replace"), error, context)
    return list(settle(flow, record, outcome, metrics, worker))


def event_of(flow: Flow, record: Record) -> Any:
    """What the record says, checked to lie under the key it names. Raises CodecError."""
    if record.unreadable:
        raise avro.CodecError(Reason.INVALID, record.unreadable)
    if not record.key:
        raise avro.CodecError(Reason.EMPTY_KEY, f"set the record's key to the {flow.reads.key} (tenant/hash)")
    event = avro.decode(flow.reads, record.value)
    expected = flow.key(event)
    if record.key != expected.encode():
        raise avro.CodecError(
            Reason.WRONG_KEY,
            f"the record's key is {record.key[:80]!r}, its {flow.reads.key} is {expected!r}: send both the same",
        )
    return event


def settle(
    flow: Flow, record: Record, outcome: Outcome, metrics: Metrics, worker: str, cipher: Cipher | None = None,
    source: str = "",
) -> tuple[Outbound, ...]:
    """Count the record's fate; returns its outputs, encoded, and with a cipher encrypted where their topics are.

    `source`: the record's topic as `name@topic-id`, by which what follows from it for models is counted once.
    """
    match outcome:
        case Accept(reason=reason, emits=emits) | Drop(reason=reason, emits=emits):
            fate = Fate.ACCEPT if isinstance(outcome, Accept) else Fate.DROP
            outputs = tuple([outbound(emit, cipher, record.partition) for emit in _identified(emits, source, record)])
            for emit in emits:
                if isinstance(emit.value, OutcomeRecord):
                    _count(emit.value, metrics)
            if isinstance(outcome, Accept) and isinstance(outcome.state, ModelState):
                key, state = outcome.state.profile_id, outcome.state
                metrics.learnt(tenant_of(key), model_of(key), state.number, state.learnt)
        case Forward(reason=reason, emit=emit):
            fate, outputs = Fate.REDIRECT, (outbound(emit),)
        case DeadLetter(reason=reason, detail=detail):
            fate, outputs = Fate.DEAD_LETTER, (dead_letter(flow, record, reason, detail, worker, cipher),)
    metrics.record(flow.name, fate, reason)
    return outputs


def _count(one: OutcomeRecord, metrics: Metrics) -> None:
    metrics.outcome("final" if one.final else one.matched_by, one.reason)
    if one.final and one.model:
        decided_ms = one.at_ms if one.decided_ms is None else one.decided_ms
        metrics.earned(tenant_of(one.profile_id), one.model, one.outcome, one.snapshot, one.reward, decided_ms)


def _identified(emits: tuple[Emit, ...], source: str, record: Record) -> Iterable[Emit]:
    """The emits, the updates of each model joined into one that names the record. Only the lane knows which it is."""
    updates = [emit.value for emit in emits if emit.topic is MODEL_UPDATES and isinstance(emit.value, ModelUpdate)]
    if not updates:
        return emits
    named = joined(updates, f"{source}/{record.partition}", record.offset)
    return (*(emit for emit in emits if emit.topic is not MODEL_UPDATES),
            *(Emit(MODEL_UPDATES, update.model_key, update) for update in named))


def outbound(emit: Emit, cipher: Cipher | None = None, partition: int | None = None) -> Outbound:
    """The emit as bytes for its topic; encrypted, under its subject's pseudonym on the partition of the subject."""
    if cipher is not None and emit.topic.encrypted:
        return Outbound(emit.topic.name, cipher.pseudonym, avro.encode(emit.topic, emit.value, cipher), partition)
    value = None if emit.value is None else avro.encode(emit.topic, emit.value)
    return Outbound(emit.topic.name, emit.key.encode(), value, emit.partition)


def dead_letter(
    flow: Flow, record: Record, reason: Reason, detail: str, worker: str, cipher: Cipher | None = None
) -> Outbound:
    """The record's original bytes on their way to `dead.letters`; always fits."""
    letter = letter_of(record, reason, detail, flow.name, worker)
    if cipher is not None:
        value = avro.encode(DEAD_LETTERS, letter, cipher)
        return Outbound(DEAD_LETTERS.name, cipher.pseudonym, value, record.partition)
    return Outbound(DEAD_LETTERS.name, letter.key or b"", avro.encode(DEAD_LETTERS, letter))

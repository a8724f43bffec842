"""Planted bugs: the engine with one of its safeguards taken out. The simulation must find every one.

Each is a context in which the real code is changed; nothing here is ever part of a run that should succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from pipeline.agents import _apply, _rotation, _router
from pipeline.codecs import envelope as envelopes
from pipeline.core import learn
from pipeline.core.decide import caps
from pipeline.core.decide.gates import DecisionContext
from pipeline.core.identity import erasure, rotation
from pipeline.core.keys import hash_of
from pipeline.core.model.records import InboxRecord
from pipeline.core.model.values import replaced
from pipeline.core.sections.section import changed
from pipeline.core.subject import Person
from pipeline.ports import Outbound
from pipeline.runtime import lane_driver
from pipeline.runtime.data_keys import DataKeys
from pipeline.runtime.lane import PartitionLane, Step
from pipeline.runtime.lane_driver import Fence, LaneDriver, Lease
from pipeline.runtime.lanes import Lanes
from pipeline.runtime.memory import MemoryStore
from tests.sim.worker import SimWorker
from topics.catalog import PROFILE_INBOX

Mutant = Callable[[], Any]


@contextmanager
def _patched(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(patch.object(owner, name, value))
        yield


def _forget_event_ids() -> Any:
    return _patched((learn, "remember_event", lambda profile, *_: profile.event_ids))


def _forget_merges() -> Any:
    return _patched((_router, "remember_event", lambda profile, *_: profile.event_ids))


def _forget_requests() -> Any:
    return _patched((_apply, "remember_request", lambda profile, *_: (profile, {})))


def _around_keep(before: Callable[[PartitionLane], Any], after: Callable[[PartitionLane, Any, Any], None]) -> Any:
    keep = PartitionLane._keep

    def kept(self: PartitionLane, key: bytes, entry: Any, *given: Any) -> bool:
        saved = before(self)
        full = keep(self, key, entry, *given)
        after(self, entry, saved)
        return full

    return _patched((PartitionLane, "_keep", kept))


def _forget_applied() -> Any:
    return _around_keep(lambda lane: None, lambda lane, entry, _saved: entry.envelope.applied.clear())


def _with_done(offset: int) -> Any:
    """What was acknowledged, as a key's outbox is pruned by it, replaced by this offset."""

    def before(lane: PartitionLane) -> dict[str, int]:
        done, lane._acknowledged = lane._acknowledged, dict.fromkeys(lane._acknowledged, offset)
        return done

    def after(lane: PartitionLane, _entry: Any, saved: dict[str, int]) -> None:
        lane._acknowledged = saved

    return _around_keep(before, after)


def _forget_dirty_keys() -> Any:
    def after(lane: PartitionLane, entry: Any, _saved: Any) -> None:
        entry.step = 0

    return _around_keep(lambda lane: None, after)


def _never_send_again() -> Any:
    return _patched((PartitionLane, "_send_again", lambda self, key, envelope, step: None))


def _send_again_late() -> Any:
    """Only when the topic of the record that caused it is read again."""
    process = PartitionLane.process
    held: dict[tuple[int, str], list[Outbound]] = {}

    def later(self: PartitionLane, key: bytes, envelope: Any, step: Step) -> None:
        for pending in envelope.outbox:
            if pending.offset >= self._start.get(pending.source, pending.offset + 1):
                held.setdefault((id(self), pending.source.partition("@")[0]), []).extend(pending.outputs)

    def processed(self: PartitionLane, topic: str, records: Any) -> Any:
        step, left = process(self, topic, records)
        step.outputs.extend(held.pop((id(self), topic), ()))
        return step, left

    return _patched((PartitionLane, "_send_again", later), (PartitionLane, "process", processed))


def _lease_without_taking() -> Any:
    return _patched((caps, "reserved", lambda counter, _holder, _until, _now: counter or caps.EMPTY))


def _never_give_back() -> Any:
    return _patched((_apply, "given_back", lambda lease, profile_id, now_ms: ()))


def _spend_unasked() -> Any:
    return _patched((DecisionContext, "asks", lambda self: {}))


def _use_at_once() -> Any:
    """The earlier hash is asked for what it keeps, and what comes meanwhile is used without it."""
    sent = _rotation.elsewhere

    def asked_once(record: InboxRecord, state: Person | None) -> Any:
        known = rotation.of(state)
        names = {*known.taking, *known.taken, hash_of(record.profile_id)}
        return sent(record, state) if known.successor or not names.issuperset(record.earlier) else None

    return _patched((_rotation, "elsewhere", asked_once))


def _take_over_again() -> Any:
    taken_over = _rotation._taken_over

    def again(event: InboxRecord, step: Any, given: Person, state: Person | None, ctx: Any) -> Any:
        if state is not None and not rotation.of(state).successor:
            state = changed(state, rotation=replaced(rotation.of(state), taking=(step.identifier.hash,), taken=()))
        return taken_over(event, step, given, state, ctx)

    return _patched((_rotation, "_taken_over", again))


def _disorder_the_inbox() -> Any:
    deliver = SimWorker.deliver

    def newest_first(self: SimWorker, where: tuple[str, int]) -> None:
        if where[0] == PROFILE_INBOX.name:
            self.queues[where].rotate(1)
        deliver(self, where)

    return _patched((SimWorker, "deliver", newest_first))


def _answer_first() -> Any:
    submit, release = LaneDriver.submit, LaneDriver._release_outputs

    def at_once(self: LaneDriver, step: Step) -> None:
        outputs, step.outputs = step.outputs, []
        submit(self, step)
        self._publisher.send(outputs, lambda _offset: None)

    return _patched((LaneDriver, "submit", at_once), (LaneDriver, "_release_outputs", release))


def _store_first() -> Any:
    submit = LaneDriver.submit

    def ahead(self: LaneDriver, step: Step) -> None:
        self.lane._store.apply(step.writes, None)
        submit(self, step)

    return _patched((LaneDriver, "submit", ahead))


def _settle_early() -> Any:
    release = LaneDriver._release_outputs

    def at_once(self: LaneDriver) -> None:
        waiting = [step for step, _ in self._unwritten if step is not None]
        release(self)
        for step in waiting:
            if step.changelog_offset is not None:
                kept = {key: envelopes.settled(value) for key, value in step.writes.items()}
                self.lane._store.apply(kept, step.changelog_offset)

    return _patched((LaneDriver, "_release_outputs", at_once))


def _commit_early() -> Any:
    return _patched((PartitionLane, "done", lambda self: dict(self._position)))


def _trust_every_epoch() -> Any:
    def recover(changes: Any, offset: int, epoch: int, marker: bytes | None) -> envelopes.Recovered:
        found = envelopes.Recovered({}, offset, epoch)
        for key, value, at in changes:
            found.offset, found.writes[key] = max(found.offset, at), value
            if key == envelopes.EPOCH_KEY and value is not None:
                found.epoch = max(found.epoch, envelopes.epoch_of(value))
        return found

    return _patched((envelopes, "recover", recover))


def _no_lease() -> Any:
    return _patched((Lease, "require", lambda self: None))


def _renew_on_arrival() -> Any:
    renew = Lease.renew
    return _patched((Lease, "renew", lambda self, asked_s: renew(self, self.now_s())))


def _no_gap_check() -> Any:
    def believed(self: Fence, records: int, offset: int) -> None:
        self._at, self.written_s = offset, self.lease.now_s()

    return _patched((Fence, "require_no_gap", believed))


def _never_heal() -> Any:
    apply = MemoryStore.apply

    def applied(self: MemoryStore, writes: Any, offset: int | None) -> None:
        apply(self, writes, offset)
        self.stale = set()

    return _patched((MemoryStore, "apply", applied))


def _never_announce_again() -> Any:
    return _patched((lane_driver, "ANNOUNCE_S", 1e12))


def _read_before_announcing_only() -> Any:
    """What was written between the end that was read and the announcement is passed over."""
    append = Lanes._append

    async def appended(self: Lanes, partition: int, values: Any, term: int) -> int:
        at = await append(self, partition, values, term)
        self.copies.store(partition).offset = at - len(values)
        return at

    return _patched((Lanes, "_append", appended))


def _keep_the_key() -> Any:
    after = DataKeys.after
    return _patched((DataKeys, "after", lambda self, key, cipher, state: cipher or after(self, key, cipher, state)))


def _never_carry_the_key_over() -> Any:
    after = DataKeys.after
    return _patched((DataKeys, "after", lambda self, key, cipher, state: after(self, key, None, state)))


def _learn_of_the_erased() -> Any:
    return _patched((erasure, "refused", lambda _state, _at_ms: False), (erasure, "begins_again", lambda *_: True))


def _forget_the_named_only() -> Any:
    return _patched((erasure, "identifiers", lambda profile_id, _profile, _asked: [profile_id]))


def _take_over_while_giving_up() -> Any:
    return _added(Lanes, property(lambda self: False, lambda self, value: None))


@contextmanager
def _added(owner: Any, value: property) -> Iterator[None]:
    owner._given_up = value
    try:
        yield
    finally:
        del owner._given_up


#: What is taken out, by its name in docs/simulation.md.
MUTANTS: dict[str, Mutant] = {
    "event ids are not remembered": _forget_event_ids,
    "merges are not remembered": _forget_merges,
    "request ids are not remembered": _forget_requests,
    "`applied` is not kept": _forget_applied,
    "the outbox is pruned of what was not acknowledged": partial(_with_done, 1 << 60),
    "the outbox is never pruned": partial(_with_done, -1),
    "the outbox is not sent again": _never_send_again,
    "an account leases what it does not take": _lease_without_taking,
    "an unspent lease is not given back": _never_give_back,
    "an account is not asked": _spend_unasked,
    "a record is not sent by way of the earlier hash": _use_at_once,
    "what was taken over is not remembered": _take_over_again,
    "the inbox loses its order": _disorder_the_inbox,
    "outputs before the changelog's acknowledgement": _answer_first,
    "the store before the changelog's acknowledgement": _store_first,
    "the local copy forgets the outbox before it is acknowledged": _settle_early,
    "offsets committed before effects are complete": _commit_early,
    "a key forgotten before it is written": _forget_dirty_keys,
    "recovery trusts every epoch": _trust_every_epoch,
    "no lease": _no_lease,
    "a lease renewed when the answer is read": _renew_on_arrival,
    "gaps in the changelog are not noticed": _no_gap_check,
    "hidden values are not written again": _never_heal,
    "an idle owner does not announce itself again": _never_announce_again,
    "partitions taken over while they are given up": _take_over_while_giving_up,
    "a subject's key is not carried over": _never_carry_the_key_over,
    "the erased keep their key": _keep_the_key,
    "the erased are learnt of again": _learn_of_the_erased,
    "other identifiers of the erased are kept": _forget_the_named_only,
}

#: Found by one seed in many thousands: for a search by hand; tests of their own show them.
RARE: dict[str, Mutant] = {
    "the outbox is sent again after what is new": _send_again_late,
    "what precedes the announcement is not read": _read_before_announcing_only,
}

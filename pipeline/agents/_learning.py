"""What happens at a model's key: updates are counted once, snapshots are cut when they are due. Not an agent."""

from __future__ import annotations

from pipeline.core.keys import model_of, tenant_of
from pipeline.core.model.records import InboxRecord, ModelSnapshot, ModelUpdate
from pipeline.core.models import writer
from pipeline.core.subject import CUT_TIMER, ModelState
from pipeline.flow import Accept, Context, Drop, Emit, Outcome, Reason
from topics.catalog import MODEL_SNAPSHOTS

#: The part of a snapshot's key, behind the model's, of the newest one.
LATEST = "@latest"


def learn(update: ModelUpdate, state: ModelState | None, ctx: Context) -> Outcome:
    """One update's fate. Of a model that no release has any more nothing is kept but what was."""
    live = ctx.live(tenant_of(update.model_key))
    learner = None if live is None else live.policy.models.get(model_of(update.model_key))
    if live is None or learner is None:
        return Drop(Reason.NO_MODEL)
    if learner.frozen:
        return Drop(Reason.FROZEN)
    before = state or ModelState(profile_id=update.model_key)
    learnt = writer.learnt(before, update, learner, ctx.now_ms)
    if learnt is None:
        return Drop(Reason.DUPLICATE_EVENT)
    after, count = learnt
    emits: tuple[Emit, ...] = ()
    if after.timers.get(CUT_TIMER, ctx.now_ms + 1) <= ctx.now_ms:
        after, snapshot = writer.cut(after, learner, live.items, ctx.now_ms)
        emits = published(after, snapshot)
    return Accept(Reason.APPLIED if count else Reason.OTHER_FORM, after, emits)


def cut_due(event: InboxRecord, state: ModelState, ctx: Context) -> Outcome:
    """The snapshot that time alone makes due. Asked for twice, there is none the second time."""
    live = ctx.live(tenant_of(event.profile_id))
    learner = None if live is None else live.policy.models.get(model_of(event.profile_id))
    due_ms = state.timers.get(CUT_TIMER)
    if due_ms is None or due_ms > ctx.now_ms:
        return Drop(Reason.NOTHING_DUE)
    if live is None or learner is None or learner.frozen or learner.pin is not None:
        return Accept(Reason.APPLIED, writer.unscheduled(state))
    after, snapshot = writer.cut(state, learner, live.items, ctx.now_ms)
    return Accept(Reason.APPLIED, after, published(after, snapshot))


def published(state: ModelState, snapshot: ModelSnapshot | None) -> tuple[Emit, ...]:
    """The snapshot under its number and as the newest; and the end of the one that no audit can name any more."""
    if snapshot is None:
        return ()
    key = state.profile_id
    emits = [Emit(MODEL_SNAPSHOTS, f"{key}/{name}", snapshot) for name in (str(snapshot.number), LATEST)]
    if snapshot.number > writer.NUMBERS_KEPT:
        emits.append(Emit(MODEL_SNAPSHOTS, f"{key}/{snapshot.number - writer.NUMBERS_KEPT}", None))
    return tuple(emits)

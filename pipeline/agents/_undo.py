"""An identifier let go, and a merge undone: the given-up state comes back to its key, out of whoever holds it by now.
Not an agent.

The identifier asks; the holder takes the state out of itself, once, and sends it back. Until it is back, records of the
identifier go on to the holder, so that nothing is lost or counted twice on the way.
"""

from __future__ import annotations

from typing import TypeVar

from pipeline.agents._apply import changes_told
from pipeline.agents._links import LOGOUT, leads, mentioned, rules_of, to_inbox
from pipeline.core.identity import accounts, merge, undo
from pipeline.core.identity.identifiers import key_of
from pipeline.core.identity.links import settled
from pipeline.core.journeys import advance
from pipeline.core.keys import hash_of, tenant_of
from pipeline.core.model.records import Identifier, IdentityEvent, InboxRecord, LinkKind, LinkStep
from pipeline.core.model.values import replaced
from pipeline.core.outcomes import closing
from pipeline.core.sections.links import ASKED_BACK
from pipeline.core.sections.section import changed
from pipeline.core.subject import UNDO_TIMER, Person, Redirect, Subject, remember_event, timed
from pipeline.flow import Accept, Context, Drop, Emit, Forward, Outcome, Reason
from topics.catalog import PROFILE_INBOX

_S = TypeVar("_S", bound=Person | Redirect)


def log_out(event: IdentityEvent, one: Identifier, state: Subject | None, ctx: Context) -> Outcome:
    """A shared identifier is let go: an empty profile of its own until the next login. Others go by the inbox."""
    others = tuple(
        to_inbox(event.event_id, key_of(tenant_of(event.subject), other), event.subject,
                 LinkStep(LinkKind.LEFT, other, "", event.at_ms, event.source, cause=LOGOUT), other.earlier)
        for other in event.identifiers
    )
    outcome = let_go(event.event_id, event.subject, one, event.at_ms, event.source, state, ctx)
    if isinstance(outcome, Accept):
        return Accept(outcome.reason, outcome.state, (*outcome.emits, *others))
    return Drop(outcome.reason, others)


def let_go(
    event_id: str, key: str, one: Identifier, at_ms: int, source: str, state: Subject | None, ctx: Context
) -> Accept | Drop:
    """One shared identifier leaves the profile that it follows, unless a later login brought it there."""
    if not isinstance(state, Redirect) or not rules_of(key, ctx).of(one.type).follows:
        return Drop(Reason.NOT_LINKED)
    known = state.links.get(hash_of(key))
    if event_id in state.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    if known is not None and known.at_ms > at_ms:
        return Drop(Reason.LATER_LOGIN)
    own = Person(profile_id=key, event_ids=remember_event(state, event_id, at_ms), alias_clock=state.alias_clock,
                  forwarded=state.forwarded, given=state.given, timers=state.timers,
                  rotation=state.rotation, mentions=state.mentions)
    left = LinkStep(LinkKind.LEFT, one, state.to, at_ms, source, cause=LOGOUT)
    own, forgotten = mentioned(own, state.to, event_id, ctx.now_ms)
    return Accept(Reason.RELEASED, own, (to_inbox(event_id, state.to, key, left), *forgotten))


def ask_back(event: IdentityEvent, one: Identifier, state: Subject | None) -> Outcome:
    """An identifier is to leave the profile it belongs to, with what it brought."""
    if not isinstance(state, Person | Redirect):
        return Drop(Reason.NOTHING_TO_UNDO)
    if event.event_id in state.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    key, given = event.subject, state.given
    if given is not None and (isinstance(state, Person) or state.alias_event == given.event_id):
        holder, cause, brought = given.to, given.event_id, given.state
    elif isinstance(state, Redirect):
        # It brought nothing where it is now, or that is kept no longer: it only leaves.
        holder, cause, brought = state.to, state.alias_event, Person(profile_id=key)
    else:
        return Drop(Reason.NOTHING_TO_UNDO)
    step = LinkStep(LinkKind.SPLIT, one, holder, event.at_ms, event.source, cause=cause)
    asked = changed(state, event_ids=remember_event(state, event.event_id, event.at_ms))
    if isinstance(asked, Redirect):
        asked = settled(asked, hash_of(key), ASKED_BACK)
    return Accept(Reason.FORWARDED, asked, (
        Emit(PROFILE_INBOX, holder, InboxRecord(event.event_id, holder, key, merge=brought, link=step)),))


def split(event: InboxRecord, step: LinkStep, given: Person, state: Person | None, ctx: Context) -> Outcome:
    """Take a state out of the profile that holds it, and send it back."""
    name = step.identifier.hash
    if state is None or not undo.contains(state, given, step.cause, name):
        return Drop(Reason.NOTHING_TO_UNDO)
    after = undo.without(state, given, step.at_ms, name)
    back = InboxRecord(event.event_id, given.profile_id, event.profile_id, merge=undo.returned(given, state),
                       link=replaced(step, kind=LinkKind.REVIVE))
    return refreshed(Reason.UNMERGED, event, after, ctx, (Emit(PROFILE_INBOX, given.profile_id, back),))


def split_redirect(event: InboxRecord, step: LinkStep, given: Person, redirect: Redirect) -> Outcome:
    """Take a state out of what an alias gave up itself, and pass it on to where that went."""
    name, own = step.identifier.hash, redirect.given
    if own is None or not undo.contains(own.state, given, step.cause, name):
        return Forward(Reason.FORWARDED, _onward(event, own.to if own is not None else redirect.to))
    kept = replaced(own, state=undo.without(own.state, given, step.at_ms, name))
    return Accept(Reason.FORWARDED, changed(redirect, given=kept), (_onward(event, own.to),))


def _onward(event: InboxRecord, to: str) -> Emit:
    return Emit(PROFILE_INBOX, to, replaced(event, profile_id=to))


def revive(event: InboxRecord, step: LinkStep, given: Person, state: Person | None, ctx: Context) -> Outcome:
    """The state is back at its key, which was let go meanwhile: a profile with that, and with what came since."""
    if state is None or state.given is None or state.given.event_id != step.cause:
        return Drop(Reason.DUPLICATE_EVENT)
    own = changed(merge.merged(state, given), alias_clock=max(given.alias_clock, state.alias_clock), given=None,
                  timers=timed(state.timers, UNDO_TIMER, None))
    return _at_home(event, step, given, own, ctx)


def revive_redirect(event: InboxRecord, step: LinkStep, given: Person, redirect: Redirect, ctx: Context) -> Outcome:
    """The state is back at its key: a profile again, unless that follows somebody else by now."""
    kept = redirect.given
    if kept is not None and kept.event_id == step.cause:
        kept = None
    elif redirect.alias_event != step.cause:
        return Drop(Reason.DUPLICATE_EVENT)
    if redirect.alias_event != step.cause:
        # What it has goes the same way.
        sent = changed(given, event_ids=remember_event(given, event.event_id, ctx.now_ms), alias_event="")
        onward = InboxRecord(event.event_id, redirect.to, event.profile_id, merge=sent)
        return Accept(Reason.FORWARDED, _without_undo(redirect), (Emit(PROFILE_INBOX, redirect.to, onward),))
    since = Person(profile_id=event.profile_id, event_ids=redirect.event_ids, rotation=redirect.rotation)
    own = changed(merge.merged(since, given), alias_clock=max(given.alias_clock, redirect.alias_clock),
                  forwarded=redirect.forwarded, given=kept, mentions=redirect.mentions,
                  timers=timed({}, UNDO_TIMER, redirect.timers.get(UNDO_TIMER) if kept is not None else None))
    return _at_home(event, step, given, own, ctx)


def _at_home(event: InboxRecord, step: LinkStep, given: Person, own: Person, ctx: Context) -> Outcome:
    own, forgotten = mentioned(own, event.from_subject, event.event_id, ctx.now_ms)
    # What it had itself leads to it again.
    return refreshed(Reason.UNMERGED, event, own, ctx,
                     (*forgotten, *leads(own, given.links, event.event_id, step.at_ms)))


def end_undo(state: _S, now_ms: int) -> _S:
    """The state without what can be undone no longer."""
    due_ms = state.timers.get(UNDO_TIMER)
    return state if due_ms is None or due_ms > now_ms else _without_undo(state)


def _without_undo(state: _S) -> _S:
    return changed(state, given=None, timers=timed(state.timers, UNDO_TIMER, None))


def refreshed(
    reason: Reason, event: InboxRecord, profile: Person, ctx: Context, emits: tuple[Emit, ...]
) -> Outcome:
    """The profile with its segments and journeys computed anew, and its timers as what it has now asks for."""
    profile = closing.retimed(profile, ctx.now_ms)
    live = ctx.live(tenant_of(event.profile_id))
    if live is None:
        return Accept(reason, profile, emits)
    account = accounts.of(profile, live.accounts)
    after, changes = advance.refresh(profile, live.policy, ctx.now_ms, None, account=account)
    return Accept(reason, after, (*emits, *changes_told(event.profile_id, changes, event.event_id, live.release,
                                                       ctx.now_ms)))

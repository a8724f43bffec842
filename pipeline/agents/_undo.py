"""An identifier let go, and a merge undone: the given-up state comes back to its key, out of whoever holds it by now.
Not an agent.

The identifier asks; the holder takes the state out of itself, once, and sends it back. Until it is back, records of the
identifier go on to the holder, so that nothing is lost or counted twice on the way.
"""

from __future__ import annotations

from pipeline.agents._apply import segment_changes
from pipeline.agents._links import LOGOUT, leads, mentioned, rules_of, to_inbox
from pipeline.core import merge, segments, undo
from pipeline.core.identity import key_of
from pipeline.core.keys import hash_of, tenant_of
from pipeline.core.links import settled
from pipeline.core.model import Identifier, IdentityEvent, InboxRecord, LinkKind, LinkStep
from pipeline.core.profile import Profile, remember_event
from pipeline.core.sections.links import ASKED_BACK
from pipeline.core.sections.section import changed
from pipeline.core.values import replaced
from pipeline.flow import Accept, Context, Drop, Emit, Outcome, Reason, Redirect
from topics.catalog import PROFILE_INBOX


def log_out(event: IdentityEvent, one: Identifier, state: Profile | None, ctx: Context) -> Outcome:
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
    event_id: str, key: str, one: Identifier, at_ms: int, source: str, state: Profile | None, ctx: Context
) -> Accept | Drop:
    """One shared identifier leaves the profile that it follows, unless a later login brought it there."""
    if state is None or state.alias_of is None or not rules_of(key, ctx).of(one.type).follows:
        return Drop(Reason.NOT_LINKED)
    known = state.links.get(hash_of(key))
    if event_id in state.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    if known is not None and known.at_ms > at_ms:
        return Drop(Reason.LATER_LOGIN)
    own = Profile(profile_id=key, event_ids=remember_event(state, event_id, at_ms), alias_clock=state.alias_clock,
                  forwarded=state.forwarded, given=state.given, segments_due_ms=state.segments_due_ms,
                  rotation=state.rotation, mentions=state.mentions)
    left = LinkStep(LinkKind.LEFT, one, state.alias_of, at_ms, source, cause=LOGOUT)
    own, forgotten = mentioned(own, state.alias_of, event_id, ctx.now_ms)
    return Accept(Reason.RELEASED, own, (to_inbox(event_id, state.alias_of, key, left), *forgotten))


def ask_back(event: IdentityEvent, one: Identifier, state: Profile | None) -> Outcome:
    """An identifier is to leave the profile it belongs to, with what it brought."""
    if state is not None and event.event_id in state.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    if state is None or (state.given is None and state.alias_of is None):
        return Drop(Reason.NOTHING_TO_UNDO)
    key, given = event.subject, state.given
    if given is not None and (state.alias_of is None or state.alias_event == given.event_id):
        holder, cause, brought = given.to, given.event_id, given.state
    else:
        # It brought nothing where it is now, or that is kept no longer: it only leaves.
        holder, cause, brought = state.alias_of or "", state.alias_event, Profile(profile_id=key)
    step = LinkStep(LinkKind.SPLIT, one, holder, event.at_ms, event.source, cause=cause)
    asked = changed(state, event_ids=remember_event(state, event.event_id, event.at_ms),
                    links=settled(state, hash_of(key), ASKED_BACK).links if state.alias_of is not None else state.links)
    return Accept(Reason.FORWARDED, asked, (
        Emit(PROFILE_INBOX, holder, InboxRecord(event.event_id, holder, key, merge=brought, link=step)),))


def split(event: InboxRecord, step: LinkStep, given: Profile, state: Profile | None, ctx: Context) -> Outcome:
    """Take a state out of the profile that holds it, and send it back. An alias on the way takes it out of what it
    gave up itself, and passes it on to where that went."""
    if state is None:
        return Drop(Reason.NOTHING_TO_UNDO)
    name = step.identifier.hash
    if state.alias_of is not None:
        own = state.given
        if own is None or not undo.contains(own.state, given, step.cause, name):
            to = own.to if own is not None else state.alias_of
            return Redirect(Reason.FORWARDED, _onward(event, to))
        kept = replaced(own, state=undo.without(own.state, given, step.at_ms, name))
        return Accept(Reason.FORWARDED, changed(state, given=kept), (_onward(event, own.to),))
    if not undo.contains(state, given, step.cause, name):
        return Drop(Reason.NOTHING_TO_UNDO)
    after = undo.without(state, given, step.at_ms, name)
    back = InboxRecord(event.event_id, given.profile_id, event.profile_id, merge=undo.returned(given, state),
                       link=replaced(step, kind=LinkKind.REVIVE))
    return refreshed(Reason.UNMERGED, event, after, ctx, (Emit(PROFILE_INBOX, given.profile_id, back),))


def _onward(event: InboxRecord, to: str) -> Emit:
    return Emit(PROFILE_INBOX, to, replaced(event, profile_id=to))


def revive(event: InboxRecord, step: LinkStep, given: Profile, state: Profile | None, ctx: Context) -> Outcome:
    """The state is back at its key: a profile again, or one with what came since it was let go."""
    if state is None:
        return Drop(Reason.DUPLICATE_EVENT)
    kept = state.given
    if kept is not None and kept.event_id == step.cause:
        kept = None
    elif state.alias_of is None or state.alias_event != step.cause:
        return Drop(Reason.DUPLICATE_EVENT)
    if state.alias_of is not None and state.alias_event != step.cause:
        # It follows somebody else by now, and what it has goes the same way.
        sent = changed(given, event_ids=remember_event(given, event.event_id, ctx.now_ms), alias_event="")
        onward = InboxRecord(event.event_id, state.alias_of, event.profile_id, merge=sent)
        return Accept(Reason.FORWARDED, changed(state, given=None), (Emit(PROFILE_INBOX, state.alias_of, onward),))
    since = state if state.alias_of is None else Profile(profile_id=event.profile_id, event_ids=state.event_ids,
                                                         rotation=state.rotation)
    own = changed(merge.merged(since, given), alias_clock=max(given.alias_clock, state.alias_clock),
                  forwarded=state.forwarded, given=kept, mentions=state.mentions)
    own, forgotten = mentioned(own, event.from_subject, event.event_id, ctx.now_ms)
    # What it had itself leads to it again.
    return refreshed(Reason.UNMERGED, event, own, ctx,
                     (*forgotten, *leads(own, given.links, event.event_id, step.at_ms)))


def refreshed(
    reason: Reason, event: InboxRecord, profile: Profile, ctx: Context, emits: tuple[Emit, ...]
) -> Outcome:
    """The profile with its segments computed anew."""
    live = ctx.live(tenant_of(event.profile_id))
    if live is None:
        return Accept(reason, profile, emits)
    after, changes = segments.refresh(profile, live.policy, ctx.now_ms, None)
    return Accept(reason, after, (*emits, *segment_changes(event.profile_id, changes, event.event_id, live.release,
                                                          ctx.now_ms)))

"""`profile.inbox`: records of an aliased id, and given-up profiles, arriving at the profile they belong to.

Aliases may come to form a ring, where everybody names somebody else. Every alias has a place in one order (a Lamport
clock that given-up profiles carry along), and the last of a ring is undone: its given-up profile meets only aliases
before it on its way, comes home, and is a profile again as it was. So exactly one link of a ring goes, whatever order
records arrive in, nothing travels for ever, and no state is lost or doubled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pipeline.agents import _identity, _links, _rotation, _undo
from pipeline.agents._apply import (
    apply_erasure,
    apply_feedback,
    apply_identity,
    apply_request,
    forget_the_given,
    forward_event,
    forward_request,
    segment_changes,
)
from pipeline.agents._lending import serve
from pipeline.core import accounts, erasure, links, merge, rotation, segments
from pipeline.core.accounts import is_account
from pipeline.core.identity import tenant_of
from pipeline.core.links import hash_of
from pipeline.core.model import InboxRecord, LinkKind, LinkStep
from pipeline.core.profile import Profile, changed, lasting_name, remember_event
from pipeline.flow import Accept, Context, DeadLetter, Drop, Emit, Outcome, Reason
from topics.catalog import PROFILE_INBOX


def handle(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    """Apply to the profile; where it is an alias itself by now, send on."""
    if event.due_ms is not None:
        return _look_again(event, state, ctx)
    if event.erasure is not None and event.erasure.part_of:
        return apply_erasure(event.erasure, event.profile_id, state, ctx)
    if event.link is not None and event.link.kind in _rotation.STEPS:
        return _rotation.step(event, event.link, state, ctx)
    if event.earlier or (state is not None and state.rotation is not None):
        outcome = _rotation.elsewhere(event, state)
        if outcome is not None:
            return outcome
    if event.erasure is not None and (state is None or state.alias_of is None):
        return apply_erasure(event.erasure, event.profile_id, state, ctx)
    if event.identity is not None and _identity.is_about(event, event.identity, state):
        return _identity.take(event.identity, event.profile_id, state, ctx)
    if is_account(event.profile_id):
        return serve(event, state, ctx)
    if event.link is not None:
        return _step(*_rotation.known_as(event, event.link, state), ctx)
    if state is not None and state.alias_of is not None:
        if event.request is not None:
            return forward_request(event, event.request.request_id, state)
        if event.merge is None:
            to = state.forwarded.get(event.event_id, state.alias_of)
            return forward_event(replace(event, profile_id=to), state)
        if not _come_home(event, event.merge, state):
            return _pass_on(event, event.merge, state, state.alias_of)
        state = Profile(profile_id=event.profile_id, forwarded=state.forwarded, event_ids=state.event_ids,
                        rotation=state.rotation, mentions=state.mentions)
    if state is not None and event.from_subject != event.profile_id and event.event_id in state.forwarded:
        # Its first copy was sent on, while this was an alias; marked as ours, it comes back once at most.
        to = state.forwarded[event.event_id]
        return forward_event(replace(event, profile_id=to, from_subject=event.profile_id), state)
    if event.identity is not None:
        return apply_identity(event.identity, event.profile_id, state, ctx)
    if event.feedback is not None:
        return apply_feedback(event.feedback, event.profile_id, state, ctx)
    if event.request is not None:
        return apply_request(event.request, event.profile_id, state, ctx, event)
    if event.merge is not None:
        return _merge(event, event.merge, state, ctx)
    return DeadLetter(Reason.INVALID, "an inbox record must carry one of its payloads, or due_ms")


def _step(event: InboxRecord, step: LinkStep, state: Profile | None, ctx: Context) -> Outcome:
    if erasure.refused(state, step.at_ms):
        return _refused(event, step)
    if event.merge is not None:
        undo = _undo.split if step.kind is LinkKind.SPLIT else _undo.revive
        return undo(event, step, event.merge, state, ctx)
    if step.kind is LinkKind.LEFT and links.is_of(step.identifier, event.profile_id):
        return _undo.let_go(event.event_id, event.profile_id, step.identifier, step.at_ms, step.source, state, ctx)
    return _STEPS[step.kind](event, step, state, ctx)


def _refused(event: InboxRecord, step: LinkStep) -> Outcome:
    """Nothing joins or leaves somebody erased. Whoever waits for her identifier is told, and holds no place for it."""
    if step.kind is LinkKind.SPLIT and event.merge is not None:
        return forget_the_given(event, event.merge)
    if step.kind not in (LinkKind.CLAIM, LinkKind.ACCEPT) or step.owner == event.profile_id:
        return Drop(Reason.ERASED)
    left = replace(step, kind=LinkKind.LEFT, cause=_links.ERASED, identifiers=[])
    return Drop(Reason.ERASED, (_links.to_inbox(event.event_id, step.owner, event.profile_id, left),))


_STEPS: Final = {
    LinkKind.CLAIM: _links.claim, LinkKind.OFFER: _links.offer, LinkKind.ACCEPT: _links.accept,
    LinkKind.LEFT: _links.left,
}


def _look_again(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    """Recompute what time alone changes. Asked for twice, it changes nothing the second time."""
    live = ctx.live(tenant_of(event.profile_id))
    if state is not None and state.suppressed and state.segments_due_ms is not None:
        return Accept(Reason.APPLIED, changed(state, segments_due_ms=None))
    if state is not None and state.alias_of is not None and state.given is not None and (
            event.due_ms or 0) <= ctx.now_ms and event.due_ms == state.segments_due_ms:
        # The time to undo the merge is over.
        return Accept(Reason.APPLIED, changed(state, given=None, segments_due_ms=None))
    if live is None or state is None or state.alias_of is not None or state.suppressed:
        return Drop(Reason.NOTHING_DUE)
    after, changes = segments.refresh(state, live.policy, ctx.now_ms, account=accounts.of(state, live.accounts))
    if after is state:
        return Drop(Reason.NOTHING_DUE)
    return Accept(Reason.APPLIED, after, segment_changes(event.profile_id, changes, event.event_id, live.release,
                                                         ctx.now_ms))


def _come_home(event: InboxRecord, given: Profile, state: Profile) -> bool:
    return event.from_subject == event.profile_id and given.alias_event == state.alias_event


def _pass_on(event: InboxRecord, given: Profile, stub: Profile, winner: str) -> Outcome:
    """Send a given-up profile on. Where this alias is later than the one that gave it up, it may not undo its own."""
    if (stub.alias_at, lasting_name(stub)) > (given.alias_at, lasting_name(given)):
        given = changed(given, alias_event="")
    onward = replace(event, profile_id=winner, merge=given)
    seen = changed(stub, alias_clock=max(stub.alias_clock, given.alias_clock))
    kept = stub.given
    if kept is not None and kept.event_id == stub.alias_event and kept.to == winner:
        # It belongs to what this alias gave up, and would go back with it.
        whole = _arrived(merge.merged(kept.state, given, event.event_id, kept.at_ms), given)
        seen = changed(seen, given=replace(kept, state=whole))
    return Accept(Reason.FORWARDED, seen, (Emit(PROFILE_INBOX, winner, onward),))


def _arrived(profile: Profile, given: Profile) -> Profile:
    """The profile that knows by its evidence what a given-up state brought."""
    return links.settled(profile, rotation.brought(given).hash,
                         links.JOINED if merge.substantial(given) else links.LINKED)


def _merge(event: InboxRecord, given: Profile, state: Profile | None, ctx: Context) -> Outcome:
    own = state or Profile(profile_id=event.profile_id)
    # An identifier may give itself up twice for one event: to a claimant, and to whom that went to.
    merge_id = f"{event.event_id}>{hash_of(event.from_subject)}>{given.alias_at}"
    if merge_id in own.event_ids:
        # The same given-up profile once more: what was sent before a crash is sent again after it.
        return Drop(Reason.DUPLICATE_EVENT)
    if erasure.outlived(state, given):
        return forget_the_given(event, given)
    one = rotation.brought(given)
    after = links.known_as(merge.merged(own, given, event.event_id, ctx.now_ms), one)
    after = links.released(after, one.hash, *one.earlier, *given.links)
    after = _arrived(after, given)
    after = changed(after, event_ids=remember_event(after, merge_id, ctx.now_ms))
    known = own.links.get(one.hash)
    brought = [one.hash] if known is not None and known.cause == links.BROUGHT else []
    leads = _links.leads(after, (*brought, *given.links), event.event_id, ctx.now_ms)
    live = ctx.live(tenant_of(event.profile_id))
    if live is None:
        return Accept(Reason.MERGED, after, leads)
    after, changes = segments.refresh(after, live.policy, ctx.now_ms, None, account=accounts.of(after, live.accounts))
    emits = segment_changes(event.profile_id, changes, event.event_id, live.release, ctx.now_ms)
    return Accept(Reason.MERGED, after, (*leads, *emits))

"""`profile.inbox`: records of an aliased id, and given-up profiles, arriving at the profile they belong to.

Aliases may come to form a ring, where everybody names somebody else. Every alias has a place in one order (a Lamport
clock that given-up profiles carry along), and the last of a ring is undone: its given-up profile meets only aliases
before it on its way, comes home, and is a profile again as it was. So exactly one link of a ring goes, whatever order
records arrive in, nothing travels for ever, and no state is lost or doubled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

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
from pipeline.agents._leasing import serve
from pipeline.core import accounts, erasure, links, merge, rotation, routing, segments
from pipeline.core.keys import hash_of, tenant_of
from pipeline.core.model import InboxRecord, LinkKind, LinkStep
from pipeline.core.profile import Profile, lasting_name, remember_event
from pipeline.core.routing import Payload, Route
from pipeline.core.sections.links import BROUGHT, JOINED, LINKED
from pipeline.core.sections.section import changed
from pipeline.core.values import replaced
from pipeline.flow import Accept, Context, DeadLetter, Drop, Emit, Outcome, Reason
from topics.catalog import PROFILE_INBOX

T = TypeVar("T")
Handler = Callable[[InboxRecord, Profile | None, Context], Outcome]


def handle(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    """Apply to what lies at the key, or send on: by the table in `pipeline.core.routing`."""
    is_own = event.identity is not None and _identity.is_about(event, event.identity, state)
    payload = routing.payload_of(event, is_own)
    if payload not in _WHEREVER_THE_STATE_IS and (event.earlier or (state is not None and state.rotation is not None)):
        outcome = _rotation.elsewhere(event, state)
        if outcome is not None:
            return outcome
    route = routing.ROUTES[payload][routing.state_of(event.profile_id, state)]
    return _HANDLERS[route](event, state, ctx)


#: These are about the key itself, also where its state has moved to another one.
_WHEREVER_THE_STATE_IS: Final = frozenset((Payload.TIMER, Payload.ERASURE_PART, Payload.ROTATION_STEP))


def _present(payload: T | None) -> T:
    """The payload by which a record was routed."""
    if payload is None:
        raise TypeError("routed by a payload that it does not carry")
    return payload


def _rotate(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    return _rotation.step(event, _present(event.link), state, ctx)


def _erase(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    return apply_erasure(_present(event.erasure), event.profile_id, state, ctx)


def _take_own(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    return _identity.take(_present(event.identity), event.profile_id, state, ctx)


def _step_of(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    return _step(*_rotation.known_as(event, _present(event.link), state), ctx)


def _send_on(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    alias = _present(state)
    return forward_event(replaced(event, profile_id=alias.forwarded.get(event.event_id, alias.alias_of or "")), alias)


def _send_request_on(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    return forward_request(event, _present(event.request).request_id, _present(state))


def _pass_on_or_come_home(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    given, alias = _present(event.merge), _present(state)
    if not _come_home(event, given, alias):
        return _pass_on(event, given, alias, alias.alias_of or "")
    own = Profile(profile_id=event.profile_id, forwarded=alias.forwarded, event_ids=alias.event_ids,
                  rotation=alias.rotation, mentions=alias.mentions)
    return _merge(event, given, own, ctx)


def _unless_sent_on(handler: Handler) -> Handler:
    """A record whose first copy was sent on, while this was an alias, goes the same way; marked as ours, it comes back
    once at most. By way of an earlier hash it has that mark from the newer one, and was not here yet."""

    def handled(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
        is_back = event.from_subject == event.profile_id and hash_of(event.profile_id) not in event.earlier
        if state is not None and not is_back and event.event_id in state.forwarded:
            to = state.forwarded[event.event_id]
            return forward_event(replaced(event, profile_id=to, from_subject=event.profile_id), state)
        return handler(event, state, ctx)

    return handled


def _learn_identity(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    return apply_identity(_present(event.identity), event.profile_id, state, ctx)


def _learn_feedback(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    return apply_feedback(_present(event.feedback), event.profile_id, state, ctx)


def _decide(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    return apply_request(_present(event.request), event.profile_id, state, ctx, event)


def _merge_given(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    return _merge(event, _present(event.merge), state, ctx)


def _refuse(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
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
    """Nothing joins or leaves somebody erased. Who waits for such an identifier is told, and holds no place for it."""
    if step.kind is LinkKind.SPLIT and event.merge is not None:
        return forget_the_given(event, event.merge)
    if step.kind not in (LinkKind.CLAIM, LinkKind.ACCEPT) or step.owner == event.profile_id:
        return Drop(Reason.ERASED)
    left = replaced(step, kind=LinkKind.LEFT, cause=_links.ERASED, identifiers=[])
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


def _pass_on(event: InboxRecord, given: Profile, redirect: Profile, winner: str) -> Outcome:
    """Send a given-up profile on. Where this alias is later than the one that gave it up, it may not undo its own."""
    if (redirect.alias_at, lasting_name(redirect)) > (given.alias_at, lasting_name(given)):
        given = changed(given, alias_event="")
    onward = replaced(event, profile_id=winner, merge=given)
    seen = changed(redirect, alias_clock=max(redirect.alias_clock, given.alias_clock))
    kept = redirect.given
    if kept is not None and kept.event_id == redirect.alias_event and kept.to == winner:
        # It belongs to what this alias gave up, and would go back with it.
        whole = _arrived(merge.merged(kept.state, given, event.event_id, kept.at_ms), given)
        seen = changed(seen, given=replaced(kept, state=whole))
    return Accept(Reason.FORWARDED, seen, (Emit(PROFILE_INBOX, winner, onward),))


def _arrived(profile: Profile, given: Profile) -> Profile:
    """The profile that knows by its evidence what a given-up state brought."""
    return links.settled(profile, rotation.brought(given).hash,
                         JOINED if merge.substantial(given) else LINKED)


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
    brought = [one.hash] if known is not None and known.cause == BROUGHT else []
    leads = _links.leads(after, (*brought, *given.links), event.event_id, ctx.now_ms)
    live = ctx.live(tenant_of(event.profile_id))
    if live is None:
        return Accept(Reason.MERGED, after, leads)
    after, changes = segments.refresh(after, live.policy, ctx.now_ms, None, account=accounts.of(after, live.accounts))
    emits = segment_changes(event.profile_id, changes, event.event_id, live.release, ctx.now_ms)
    return Accept(Reason.MERGED, after, (*leads, *emits))


_HANDLERS: Final[dict[Route, Handler]] = {
    Route.LOOK_AGAIN: _look_again,
    Route.ERASE: _erase,
    Route.ROTATE: _rotate,
    Route.STEP: _step_of,
    Route.TAKE_OWN: _take_own,
    Route.SERVE_ACCOUNT: serve,
    Route.SEND_ON: _send_on,
    Route.SEND_REQUEST_ON: _send_request_on,
    Route.FORWARD_GIVEN: _pass_on_or_come_home,
    Route.LEARN_IDENTITY: _unless_sent_on(_learn_identity),
    Route.LEARN_FEEDBACK: _unless_sent_on(_learn_feedback),
    Route.DECIDE: _unless_sent_on(_decide),
    Route.MERGE: _unless_sent_on(_merge_given),
    Route.REFUSE: _refuse,
}

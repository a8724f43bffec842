"""One way for every record: what comes for a key, by whichever topic, meets what lies there. Not an agent.

Aliases may come to form a ring, where everybody names somebody else. Every alias has a place in one order (a Lamport
clock that given-up profiles carry along), and the last of a ring is undone: its given-up profile meets only aliases
before it on its way, comes home, and is a profile again as it was. So exactly one link of a ring goes, whatever order
records arrive in, nothing travels for ever, and no state is lost or doubled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from pipeline.agents import _identity, _links, _rotation, _undo
from pipeline.agents._apply import (
    answer_unremembered,
    apply_account,
    apply_erasure,
    apply_feedback,
    apply_identity,
    apply_request,
    begin_again,
    changes_told,
    forget_the_given,
    forward_event,
    forward_request,
    told,
)
from pipeline.agents._learning import cut_due
from pipeline.agents._leasing import serve
from pipeline.core import routing
from pipeline.core.identity import accounts, erasure, links, merge, rotation
from pipeline.core.journeys import advance
from pipeline.core.keys import hash_of, tenant_of
from pipeline.core.model.records import InboxRecord, LinkKind, LinkStep
from pipeline.core.model.values import replaced
from pipeline.core.outcomes import closing
from pipeline.core.outcomes.rewarding import Told
from pipeline.core.routing import Payload, Route
from pipeline.core.sections.links import BROUGHT, JOINED, LINKED
from pipeline.core.sections.section import changed
from pipeline.core.subject import (
    SETTLE_TIMER,
    Erased,
    ModelState,
    Person,
    Redirect,
    Subject,
    lasting_name,
    remember_event,
    timed,
)
from pipeline.flow import Accept, Context, DeadLetter, Drop, Emit, Outcome, Reason
from topics.catalog import PROFILE_INBOX

T = TypeVar("T")
#: A handler sees the kind of state that the table sends to it.
Handler = Callable[[InboxRecord, Any, Context], Outcome]


def handle(record: InboxRecord, state: Subject | None, ctx: Context, first: bool = False) -> Outcome:
    """Apply to what lies at the key, or send on: by the table in `pipeline.core.routing`.

    `first`: the record comes from the topic of its subject, and has been nowhere yet.
    """
    identity = record.identity
    is_own = identity is not None and (first or _identity.is_about(record, identity, state))
    payload = routing.payload_of(record, is_own)
    if payload not in _WHEREVER_THE_STATE_IS and (record.earlier or (state is not None and state.rotation is not None)):
        outcome = _rotation.elsewhere(record, state)
        if outcome is not None:
            return outcome
    if payload in _GOES_THE_SAME_WAY and isinstance(state, Person) and record.event_id in state.forwarded and (
            first or not _is_back(record)):
        # Its first copy was sent on, while this was an alias.
        onward = replaced(record, profile_id=state.forwarded[record.event_id], from_subject=record.profile_id)
        return forward_event(onward, state)
    return _HANDLERS[routing.ROUTES[payload][routing.kind_of(record.profile_id, state)]](record, state, ctx)


#: These are about the key itself, also where its state has moved to another one.
_WHEREVER_THE_STATE_IS: Final = frozenset((Payload.TIMER, Payload.ERASURE_PART, Payload.ROTATION_STEP))

#: A repeat of these goes where its first copy went.
_GOES_THE_SAME_WAY: Final = frozenset((
    Payload.IDENTITY, Payload.ALIAS, Payload.FEEDBACK, Payload.REQUEST, Payload.GIVEN_PROFILE))


def _is_back(record: InboxRecord) -> bool:
    """Whether it was sent on from here before: it comes back once at most. By way of an earlier hash it has that mark
    from the newer one, and was not here yet."""
    return record.from_subject == record.profile_id and hash_of(record.profile_id) not in record.earlier


def _present(payload: T | None) -> T:
    """The payload by which a record was routed."""
    if payload is None:
        raise TypeError("routed by a payload that it does not carry")
    return payload


def _given_in(record: InboxRecord) -> Person:
    """The given-up state by which a record was routed."""
    if not isinstance(record.merge, Person):
        raise TypeError("routed by a profile that it does not carry")
    return record.merge


def _rotate(event: InboxRecord, state: Subject | None, ctx: Context) -> Outcome:
    return _rotation.step(event, _present(event.link), state, ctx)


def _erase(event: InboxRecord, state: Subject | None, ctx: Context) -> Outcome:
    return apply_erasure(_present(event.erasure), event.profile_id, state, ctx)


def _take_own(event: InboxRecord, state: Subject | None, ctx: Context) -> Outcome:
    return _identity.take(_present(event.identity), event.profile_id, state, ctx)


def _claim_alias(event: InboxRecord, state: Person | None, ctx: Context) -> Outcome:
    return _links.take_alias(_present(event.identity), event.profile_id, state, ctx)


def _learn_account(event: InboxRecord, state: Any, ctx: Context) -> Outcome:
    return apply_account(_present(event.identity), event.profile_id, state, ctx)


def _send_on(event: InboxRecord, redirect: Redirect, ctx: Context) -> Outcome:
    return forward_event(replaced(event, profile_id=redirect.forwarded.get(event.event_id, redirect.to)), redirect)


def _send_request_on(event: InboxRecord, redirect: Redirect, ctx: Context) -> Outcome:
    return forward_request(event, _present(event.request).request_id, redirect)


def _learn_identity(event: InboxRecord, state: Person | None, ctx: Context) -> Outcome:
    return apply_identity(_present(event.identity), event.profile_id, state, ctx)


def _begin_again(event: InboxRecord, state: Erased, ctx: Context) -> Outcome:
    return begin_again(_present(event.identity), event.profile_id, state, ctx)


def _learn_feedback(event: InboxRecord, state: Person | None, ctx: Context) -> Outcome:
    return apply_feedback(_present(event.feedback), event.profile_id, state, ctx)


def _decide(event: InboxRecord, state: Person | None, ctx: Context) -> Outcome:
    return apply_request(_present(event.request), event.profile_id, state, ctx, event)


def _answer_unremembered(event: InboxRecord, state: Erased, ctx: Context) -> Outcome:
    return answer_unremembered(_present(event.request), event.profile_id, event.lease, ctx)


def _drop_erased(event: InboxRecord, state: Erased, ctx: Context) -> Outcome:
    return Drop(Reason.ERASED)


def _forget_given(event: InboxRecord, state: Erased, ctx: Context) -> Outcome:
    return forget_the_given(event, _given_in(event))


def _refuse(event: InboxRecord, state: Subject | None, ctx: Context) -> Outcome:
    return DeadLetter(Reason.INVALID, "an inbox record must carry one of its payloads, or due_ms; a model's key "
                      "takes due_ms alone")


def _step(event: InboxRecord, state: Person | None, ctx: Context) -> Outcome:
    step, key = _present(event.link), event.profile_id
    event, step, known = _rotation.known_as(event, step, state)
    state = known if isinstance(known, Person) else None
    if erasure.refused(state, step.at_ms):
        return _refused(event, step)
    if event.merge is not None:
        undo = _undo.split if step.kind is LinkKind.SPLIT else _undo.revive
        return undo(event, step, _given_in(event), state, ctx)
    if step.kind is LinkKind.LEFT and links.is_of(step.identifier, key):
        return Drop(Reason.NOT_LINKED)
    return _STEPS[step.kind](event, step, state, ctx)


def _step_at_redirect(event: InboxRecord, redirect: Redirect, ctx: Context) -> Outcome:
    step, key = _present(event.link), event.profile_id
    event, step, known = _rotation.known_as(event, step, redirect)
    redirect = known if isinstance(known, Redirect) else redirect
    if event.merge is not None:
        given = _given_in(event)
        if step.kind is LinkKind.SPLIT:
            return _undo.split_redirect(event, step, given, redirect)
        return _undo.revive_redirect(event, step, given, redirect, ctx)
    if step.kind is LinkKind.LEFT and links.is_of(step.identifier, key):
        return _undo.let_go(event.event_id, key, step.identifier, step.at_ms, step.source, redirect, ctx)
    return _STEPS_AT_REDIRECT[step.kind](event, step, redirect, ctx)


def _refuse_step(event: InboxRecord, state: Erased, ctx: Context) -> Outcome:
    event, step, _ = _rotation.known_as(event, _present(event.link), state)
    return _refused(event, step)


def _refused(event: InboxRecord, step: LinkStep) -> Outcome:
    """Nothing joins or leaves somebody erased. Who waits for such an identifier is told, and makes no reservation for
    it."""
    if step.kind is LinkKind.SPLIT and event.merge is not None:
        return forget_the_given(event, _given_in(event))
    if step.kind not in (LinkKind.CLAIM, LinkKind.ACCEPT) or step.owner == event.profile_id:
        return Drop(Reason.ERASED)
    left = replaced(step, kind=LinkKind.LEFT, cause=_links.ERASED, identifiers=[])
    return Drop(Reason.ERASED, (_links.to_inbox(event.event_id, step.owner, event.profile_id, left),))


_STEPS: Final = {
    LinkKind.CLAIM: _links.claim, LinkKind.OFFER: _links.offer, LinkKind.ACCEPT: _links.accept,
    LinkKind.LEFT: _links.left,
}
_STEPS_AT_REDIRECT: Final = {
    LinkKind.CLAIM: _links.claim_redirect, LinkKind.OFFER: _links.offer_to_redirect,
    LinkKind.ACCEPT: _links.accept_at_redirect, LinkKind.LEFT: _links.left_redirect,
}


def _nothing_due(event: InboxRecord, state: Subject | None, ctx: Context) -> Outcome:
    return Drop(Reason.NOTHING_DUE)


def _settle(event: InboxRecord, state: Erased, ctx: Context) -> Outcome:
    """The value is written once more, by when the broker has what waited in it."""
    if SETTLE_TIMER not in state.timers:
        return Drop(Reason.NOTHING_DUE)
    return Accept(Reason.APPLIED, changed(state, timers=timed(state.timers, SETTLE_TIMER, None)))


def _cut_snapshot(event: InboxRecord, state: ModelState | None, ctx: Context) -> Outcome:
    return Drop(Reason.NOTHING_DUE) if state is None else cut_due(event, state, ctx)


def _end_undo(event: InboxRecord, redirect: Redirect, ctx: Context) -> Outcome:
    after = _undo.end_undo(redirect, ctx.now_ms)
    return Drop(Reason.NOTHING_DUE) if after is redirect else Accept(Reason.APPLIED, after)


def _look_again(event: InboxRecord, state: Person, ctx: Context) -> Outcome:
    """Recompute what time alone changes. Asked for twice, it changes nothing the second time."""
    after: Person = _undo.end_undo(state, ctx.now_ms)
    changes: tuple[advance.Change, ...] = ()
    live = ctx.live(tenant_of(event.profile_id))
    outcomes: tuple[Told, ...] = ()
    if live is not None:
        after, outcomes = closing.look(after, live, ctx.now_ms)
        after, changes = advance.refresh(after, live.policy, ctx.now_ms, account=accounts.of(state, live.accounts))
    if after is state:
        return Drop(Reason.NOTHING_DUE)
    release = live.release if live is not None else ""
    return Accept(Reason.APPLIED, after, (
        *changes_told(event.profile_id, changes, event.event_id, release, ctx.now_ms),
        *told(event.profile_id, outcomes)))


def _forward_given(event: InboxRecord, redirect: Redirect, ctx: Context) -> Outcome:
    given = _given_in(event)
    if event.from_subject != event.profile_id or given.alias_event != redirect.alias_event:
        return _pass_on(event, given, redirect)
    own = Person(profile_id=event.profile_id, forwarded=redirect.forwarded, event_ids=redirect.event_ids,
                 rotation=redirect.rotation, mentions=redirect.mentions)
    return _merged(event, given, own, ctx)


def _pass_on(event: InboxRecord, given: Person, redirect: Redirect) -> Outcome:
    """Send a given-up profile on. Where this alias is later than the one that gave it up, it may not undo its own."""
    if (redirect.alias_at, lasting_name(redirect)) > (given.alias_at, lasting_name(given)):
        given = changed(given, alias_event="")
    onward = replaced(event, profile_id=redirect.to, merge=given)
    seen = changed(redirect, alias_clock=max(redirect.alias_clock, given.alias_clock))
    kept = redirect.given
    if kept is not None and kept.event_id == redirect.alias_event and kept.to == redirect.to:
        # It belongs to what this alias gave up, and would go back with it.
        whole = _arrived(merge.merged(kept.state, given, event.event_id, kept.at_ms), given)
        seen = changed(seen, given=replaced(kept, state=whole))
    return Accept(Reason.FORWARDED, seen, (Emit(PROFILE_INBOX, redirect.to, onward),))


def _arrived(profile: Person, given: Person) -> Person:
    """The profile that knows by its evidence what a given-up state brought."""
    return links.settled(profile, rotation.brought(given).hash, JOINED if merge.substantial(given) else LINKED)


def _merge(event: InboxRecord, state: Person | None, ctx: Context) -> Outcome:
    return _merged(event, _given_in(event), state, ctx)


def _merged(event: InboxRecord, given: Person, state: Person | None, ctx: Context) -> Outcome:
    own = state or Person(profile_id=event.profile_id)
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
    return _undo.refreshed(Reason.MERGED, event, after, ctx, leads)


_HANDLERS: Final[dict[Route, Handler]] = {
    Route.LOOK_AGAIN: _look_again,
    Route.END_UNDO: _end_undo,
    Route.SETTLE: _settle,
    Route.CUT_SNAPSHOT: _cut_snapshot,
    Route.NOTHING_DUE: _nothing_due,
    Route.ERASE: _erase,
    Route.ROTATE: _rotate,
    Route.STEP: _step,
    Route.STEP_AT_REDIRECT: _step_at_redirect,
    Route.REFUSE_STEP: _refuse_step,
    Route.TAKE_OWN: _take_own,
    Route.CLAIM_ALIAS: _claim_alias,
    Route.LEARN_ACCOUNT: _learn_account,
    Route.SERVE_ACCOUNT: serve,
    Route.SEND_ON: _send_on,
    Route.SEND_REQUEST_ON: _send_request_on,
    Route.FORWARD_GIVEN: _forward_given,
    Route.LEARN_IDENTITY: _learn_identity,
    Route.BEGIN_AGAIN: _begin_again,
    Route.LEARN_FEEDBACK: _learn_feedback,
    Route.DECIDE: _decide,
    Route.ANSWER_UNREMEMBERED: _answer_unremembered,
    Route.MERGE: _merge,
    Route.FORGET_GIVEN: _forget_given,
    Route.DROP_ERASED: _drop_erased,
    Route.REFUSE: _refuse,
}

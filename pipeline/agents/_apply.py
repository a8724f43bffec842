"""What the agents and the inbox share: one event applied to the profile it belongs to, as an outcome. Not an agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipeline.agents._leasing import asked, given_back, published, settlement
from pipeline.agents._links import ERASED, claims, erased_beside, not_held, rules_of, to_inbox
from pipeline.agents._reading import features_told
from pipeline.core import learn
from pipeline.core.consent import permission
from pipeline.core.decide import caps, leasing
from pipeline.core.decide.decision import ENGINE, DecisionResult, decide
from pipeline.core.decide.live import Live, read_by
from pipeline.core.hashing import applied_id_of, decision_id_of
from pipeline.core.identity import erasure, links, rotation
from pipeline.core.journeys.advance import Change, Move
from pipeline.core.keys import hash_of, tenant_of
from pipeline.core.model.records import (
    AuditRecord,
    Decision,
    DecisionReply,
    DecisionRequest,
    ErasureAction,
    ErasureReceipt,
    ErasureRequest,
    FeedbackEvent,
    Identifier,
    IdentityEvent,
    IdentityKind,
    InboxRecord,
    JourneyChange,
    Lease,
    LinkKind,
    LinkStep,
    ModelUpdate,
    SegmentChange,
)
from pipeline.core.model.values import replaced
from pipeline.core.outcomes import exposing
from pipeline.core.outcomes.rewarding import Told
from pipeline.core.sections import memberships, retries
from pipeline.core.sections.links import ASKED_BACK
from pipeline.core.sections.retries import NO_REPLIES, remembered_reply
from pipeline.core.sections.section import changed
from pipeline.core.subject import (
    Account,
    Erased,
    Person,
    Redirect,
    Subject,
    remember_event,
    remember_forwarded,
    remember_request,
)
from pipeline.flow import Accept, Context, DeadLetter, Drop, Emit, Forward, Outcome, Reason
from topics.catalog import (
    DECISION_AUDIT,
    DECISION_REPLIES,
    DECISIONS,
    ERASURE_RECEIPTS,
    JOURNEY_CHANGES,
    MODEL_UPDATES,
    OUTCOMES,
    PROFILE_INBOX,
    PROFILES_BY_ID,
    SEGMENT_CHANGES,
    TOPICS,
)

#: Topics whose records about a subject cannot be read any more once the subject's key is destroyed (crypto-shredding).
ERASED_WITH_THE_KEY: Final = (PROFILES_BY_ID.name, *(topic.name for topic in TOPICS if topic.encrypted))


def apply_identity(event: IdentityEvent, profile_id: str, state: Person | None, ctx: Context) -> Outcome:
    """Traits, consent and identifiers of one event."""
    profile = state or Person(profile_id=profile_id)
    if event.event_id in profile.event_ids:
        return Drop(Reason.DUPLICATE_EVENT, _confirmation(event))
    if erasure.refused(profile, event.at_ms):
        return Drop(Reason.ERASED, _confirmation(event))
    live = ctx.live(tenant_of(profile_id))
    if event.kind is IdentityKind.LOAD and (
            live is None or not permission.tracked(profile.consent, live.policy, "", ctx.now_ms)):
        return Drop(Reason.NO_CONSENT)
    after, changes = learn.identity(profile, event, live, ctx.now_ms)
    wanted: tuple[Identifier, ...] = ()
    left_out: tuple[tuple[Identifier, str], ...] = ()
    reason = Reason.APPLIED
    if event.subject_type or event.identifiers:
        after, wanted, left_out = links.identified(after, event, rules_of(profile_id, ctx), ctx.now_ms)
        reason = Reason.IDENTIFIER_LIMITED if left_out else reason
    release = live.release if live else ""
    emits = changes_told(profile_id, changes, event.event_id, release, ctx.now_ms)
    told = (not_held(event.event_id, profile_id, one, event.at_ms, event.source, cause) for one, cause in left_out)
    return Accept(reason, after, (*_confirmation(event), *emits, *claims(event, profile_id, wanted), *told))


def begin_again(event: IdentityEvent, profile_id: str, state: Erased, ctx: Context) -> Outcome:
    """Somebody erased comes back by a new consent; nothing else of them is learnt."""
    if erasure.begins_again(state, event):
        return apply_identity(event, profile_id, erasure.reborn(state), ctx)
    return Drop(Reason.ERASED, _confirmation(event))


def apply_feedback(event: FeedbackEvent, profile_id: str, state: Person | None, ctx: Context) -> Outcome:
    """Behaviour of one event, counted once."""
    profile = state or Person(profile_id=profile_id)
    if event.event_id in profile.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    if profile.event_ids.too_old(event.at_ms):
        return Drop(Reason.TOO_OLD)
    if erasure.refused(profile, event.at_ms):
        return Drop(Reason.ERASED)
    live = ctx.live(tenant_of(profile_id))
    learnt = learn.feedback(profile, event, live, ctx.now_ms)
    if learnt is None:
        return Drop(Reason.NO_CONSENT)
    after, changes, outcomes = learnt
    release = live.release if live else ""
    return Accept(Reason.APPLIED, after, (
        *changes_told(profile_id, changes, event.event_id, release, ctx.now_ms), *told(profile_id, outcomes)))


def apply_account(event: IdentityEvent, key: str, state: Account | None, ctx: Context) -> Outcome:
    """Firmographics, contract and consent of an account, published for its members' decisions."""
    if event.kind is IdentityKind.ALIAS or event.membership is not None:
        return DeadLetter(Reason.INVALID, "the subject is an account: it can neither be an alias nor a member")
    account = state or Account(profile_id=key)
    if event.event_id in account.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    live = ctx.live(tenant_of(key))
    after, _ = learn.told(account, event, None if live is None else live.policy, ctx.now_ms)
    after = changed(after, version=account.version + 1)
    return Accept(Reason.APPLIED, after, published(after, ctx.now_ms))


def apply_request(
    request: DecisionRequest, profile_id: str, state: Person | None, ctx: Context, carrier: InboxRecord | None = None
) -> Outcome:
    """Decide once per request id; a retry gets the remembered answer, a reused id an error.

    `carrier`: the inbox record it came in, which may bring what the profile's account leased.
    """
    if request.features:
        return Drop(Reason.READ, _reply(request, features_told(request, profile_id, state, ctx)))
    lease = carrier.lease if carrier is not None else None
    before = state or Person(profile_id=profile_id)
    if carrier is not None and lease is not None:
        if carrier.event_id in before.event_ids:
            return Drop(Reason.DUPLICATE_EVENT)
        before = changed(before, event_ids=remember_event(before, carrier.event_id, ctx.now_ms))
        if request.deadline_ms is not None and ctx.now_ms > request.deadline_ms:
            return Accept(Reason.PAST_DEADLINE, before, given_back(lease, profile_id, ctx.now_ms))
    known = retries.known(before.requests, request.request_id, request.digest)
    if known is not None:
        if known.digest != request.digest:
            reply = _error(request, "request_id_reused")
        else:
            kept = remembered_reply(known, request.request_id, ctx.beside)
            reply = kept or _error(request, "answer_not_kept")
        if lease is not None:
            back = given_back(lease, profile_id, ctx.now_ms)
            return Accept(Reason.REPEATED_REQUEST, before, (*back, *_reply(request, reply)))
        return Drop(Reason.REPEATED_REQUEST, _reply(request, reply))
    live = ctx.live(tenant_of(profile_id))
    if live is None:
        reply = _no_policy(request)
        after, beside = remember_request(before, reply, request.digest, ctx.now_ms)
        return Accept(Reason.DECIDED, after, (*given_back(lease, profile_id, ctx.now_ms), *_reply(request, reply)),
                      beside)
    held = caps.held_on(before.counters, ctx.now_ms, ctx.reported_ms)
    if held is not before.counters:
        before = changed(before, counters=held)
        state = None if state is None else before
    return _decided(request, before, state, live, ctx.now_ms, lease)


def answer_unremembered(
    request: DecisionRequest, profile_id: str, lease: Lease | None, ctx: Context
) -> Outcome:
    """Answer a request about somebody erased as if nobody knew them; nothing of it is kept."""
    if request.features:
        reply = features_told(request, profile_id, None, ctx)
    else:
        reply = _unremembered(request, profile_id, ctx.live(tenant_of(profile_id)), ctx.now_ms)
    return Drop(Reason.ERASED, (*given_back(lease, profile_id, ctx.now_ms), *_reply(request, reply)))


def _decided(
    request: DecisionRequest, before: Person, state: Person | None, live: Live, at_ms: int, lease: Lease | None
) -> Outcome:
    """Decide, or ask the account first where the decision would take places of its caps."""
    profile_id, now_ms = before.profile_id, at_ms
    account = memberships.primary(before.accounts)
    back: tuple[Emit, ...] = ()
    if lease is not None and (lease.account != account or not leasing.spendable(lease, at_ms)):
        # Another account counts by now, or it was long on its way: nothing of it may be spent.
        back, lease = given_back(lease, profile_id, at_ms), Lease(account, lease.trips) if account else None
    if lease is not None:
        now_ms = max(at_ms, lease.at_ms)
    result = decide(request, before, live, now_ms, lease)
    if result.error is not None:
        reply = _error(request, result.error)
        back += given_back(lease, profile_id, now_ms)
        kept = before if lease is not None or back else None
        return Accept(Reason.INVALID, kept, (*back, *_reply(request, reply))) if kept is not None else Drop(
            Reason.INVALID, _reply(request, reply))
    if result.asks:
        question = replaced(lease or Lease(account, 0), wanted=result.asks, trips=lease.trips + 1 if lease else 1)
        ask = asked(request, profile_id, result.decision_id, question, before.accounts[question.account].earlier)
        return Accept(Reason.FORWARDED, before if lease is not None or back else None, (*back, ask))
    reply = _answer(request, result, live)
    after, beside = remember_request(result.profile or before, reply, request.digest, now_ms)
    after = exposing.exposed(after, request, result, live, now_ms)
    # The reply first: somebody waits for it.
    emits = (
        *_reply(request, reply),
        Emit(DECISIONS, profile_id, Decision(
            result.decision_id, request.request_id, profile_id, now_ms, request.channel, request.placements,
            request.scenario, result.decisions, result.fallback, result.reason, live.release, live.policy.digest,
            live.catalog_version, live.catalog_digest, [f"{name}:{arm}" for name, arm in result.exposures])),
        Emit(DECISION_AUDIT, profile_id, _audit(request, profile_id, state, result, live, now_ms, lease)),
        *changes_told(profile_id, result.changes, request.request_id, live.release, now_ms),
        *back,
        *settlement(account, lease, f"{result.decision_id}.{lease.lease_id if lease else now_ms}", profile_id, now_ms,
                    result.counted, before.accounts[account].earlier if account else ()),
    )
    return Accept(Reason.DECIDED, after, emits, beside)


def apply_erasure(request: ErasureRequest, profile_id: str, state: Subject | None, ctx: Context) -> Outcome:
    """Forget the profile and have its other identifiers forgotten; or say which they are. Repeatable.

    A part of somebody may be a profile with identifiers of its own again: they go with it.
    """
    names = erasure.identifiers(profile_id, state, profile_id if request.part_of else request.subject)
    known = state is not None and not isinstance(state, Erased)
    if request.action is ErasureAction.EXPORT:
        told = erasure.names(profile_id, state) if request.part_of else names
        asked = () if request.part_of else _parts(request, profile_id, names)
        return Drop(Reason.APPLIED, (*asked, _receipt(request, profile_id, told, ctx.now_ms, known)))
    at_ms = state.at_ms if isinstance(state, Erased) else ctx.now_ms
    parts = _parts(request, profile_id, names)
    follows = state.to if isinstance(state, Redirect) and not rotation.of(state).successor else None
    if follows is not None and follows != request.part_of:
        # A shared identifier that follows somebody else by now, who is to know that it does not any more.
        left = LinkStep(LinkKind.LEFT, links.identifier(profile_id, "", state), follows, at_ms, cause=ERASED)
        parts += (to_inbox(request.job_id, follows, profile_id, left),)
    beside = erased_beside(state, request.job_id, at_ms) if isinstance(state, Person | Redirect) else ()
    return Accept(Reason.APPLIED, erasure.erased(profile_id, at_ms, state),
                  (*parts, *beside, _receipt(request, profile_id, names, at_ms, known, ERASED_WITH_THE_KEY)),
                  NO_REPLIES)


def _parts(request: ErasureRequest, profile_id: str, names: Sequence[str]) -> tuple[Emit, ...]:
    return tuple(
        Emit(PROFILE_INBOX, name, InboxRecord(request.job_id, name, profile_id,
                                              erasure=replaced(request, part_of=profile_id)))
        for name in names[1:] if name != request.part_of
    )


def forget_the_given(event: InboxRecord, given: Subject) -> Drop:
    """A profile given up to one that was erased meanwhile: it was the same subject's, and goes the same way."""
    return Drop(Reason.ERASED, tuple(
        Emit(PROFILE_INBOX, name, InboxRecord(event.event_id, name, event.profile_id, erasure=ErasureRequest(
            event.event_id, name, ErasureAction.ERASE, 0, part_of=event.profile_id)))
        for name in erasure.identifiers(given.profile_id, given, event.from_subject) if name != event.profile_id
    ))


def forward_request(record: InboxRecord, request_id: str, redirect: Redirect) -> Outcome:
    """Send an alias's request on; its retry goes the same way, so that it meets the answer."""
    winner = redirect.forwarded.get(request_id)
    onward = replaced(record, profile_id=winner or redirect.to, earlier=[])
    emit = Emit(PROFILE_INBOX, onward.profile_id, onward)
    if winner is not None:
        return Forward(Reason.FORWARDED, emit)
    seen = changed(redirect, forwarded=remember_forwarded(redirect, request_id, onward.profile_id))
    return Accept(Reason.FORWARDED, seen, (emit,))


def forward_event(record: InboxRecord, redirect: Person | Redirect) -> Outcome:
    """Send an alias's event on. While the alias is asked back it remembers where: a repeat goes the same way."""
    own = redirect.links.get(hash_of(redirect.profile_id))
    # What its subject was called earlier, the profile it goes to was not.
    emit = Emit(PROFILE_INBOX, record.profile_id, replaced(record, earlier=[]) if record.earlier else record)
    if own is None or own.outcome != ASKED_BACK:
        return Forward(Reason.FORWARDED, emit)
    seen = changed(redirect, forwarded=remember_forwarded(redirect, record.event_id, record.profile_id))
    return Accept(Reason.FORWARDED, seen, (emit,))


def told(profile_id: str, outcomes: tuple[Told, ...]) -> tuple[Emit, ...]:
    """One record of the topic `outcomes`, or one update of a model, for each."""
    return tuple(Emit(MODEL_UPDATES, one.model_key, one) if isinstance(one, ModelUpdate) else
                 Emit(OUTCOMES, profile_id, one) for one in outcomes)


def changes_told(
    profile_id: str, changes: tuple[Change, ...], cause: str, release: str, now_ms: int
) -> tuple[Emit, ...]:
    """One record for each segment entered or left, and for each move in a journey."""
    return tuple(
        Emit(JOURNEY_CHANGES, profile_id, _journey_change(profile_id, change, cause, release, now_ms))
        if isinstance(change, Move) else
        Emit(SEGMENT_CHANGES, profile_id,
             SegmentChange(profile_id, change.segment, change.entered, now_ms, cause, release))
        for change in changes
    )


def _journey_change(profile_id: str, move: Move, cause: str, release: str, now_ms: int) -> JourneyChange:
    return JourneyChange(tenant_of(profile_id), move.journey, move.was, move.to, move.how, now_ms, move.since_ms,
                         move.started_ms, move.goal, release, profile_id, cause)


def _receipt(
    request: ErasureRequest, profile_id: str, names: list[str], at_ms: int, known: bool, unreadable: Sequence[str] = ()
) -> Emit:
    receipt = ErasureReceipt(request.job_id, request.subject, request.action, profile_id, names, at_ms, known,
                             list(unreadable), request.part_of)
    return Emit(ERASURE_RECEIPTS, request.subject, receipt)


def _unremembered(request: DecisionRequest, profile_id: str, live: Live | None, now_ms: int) -> DecisionReply:
    """What somebody of whom nothing may be known is shown: the declared default content."""
    if live is None:
        return _no_policy(request)
    result = decide(replaced(request, require_consent=True), Person(profile_id=profile_id), live, now_ms)
    if result.error is not None:
        return _error(request, result.error)
    return _answer(request, result, live)


def _answer(request: DecisionRequest, result: DecisionResult, live: Live) -> DecisionReply:
    return DecisionReply(request.request_id, result.decision_id, result.decisions, result.fallback, result.reason,
                         live.release)


def _no_policy(request: DecisionRequest) -> DecisionReply:
    decision_id = decision_id_of(request.subject, request.request_id, request.earlier)
    return DecisionReply(request.request_id, decision_id, [], True, "no_policy")


def _audit(
    request: DecisionRequest, profile_id: str, state: Person | None, result: DecisionResult, live: Live, now_ms: int,
    lease: Lease | None,
) -> AuditRecord:
    before = None if state is None else read_by(state, request, live, now_ms, result.account)
    return AuditRecord(result.decision_id, now_ms, request, profile_id, before, result.candidates, result.consent,
                       result.decisions, result.fallback, result.reason, live.release, live.policy.digest,
                       live.catalog_version, live.catalog_digest, ENGINE, result.account, lease, result.models)


def _error(request: DecisionRequest, error: str) -> DecisionReply:
    decision_id = decision_id_of(request.subject, request.request_id, request.earlier)
    return DecisionReply(request.request_id, decision_id, [], False, "", error=error)


def _confirmation(event: IdentityEvent) -> tuple[Emit, ...]:
    """To whoever waits for it: from now on every decision about the subject knows of this event."""
    if event.reply_partition is None:
        return ()
    said = DecisionReply(event.event_id, applied_id_of(event.subject), [], False, "applied")
    return (Emit(DECISION_REPLIES, event.event_id, said, event.reply_partition),)


def _reply(request: DecisionRequest, reply: DecisionReply) -> tuple[Emit, ...]:
    if request.reply_partition is None:
        return ()
    return (Emit(DECISION_REPLIES, request.request_id, reply, request.reply_partition),)

"""What the agents and the inbox share: one event applied to the profile it belongs to, as an outcome. Not an agent."""

from __future__ import annotations

from dataclasses import replace

from pipeline.core import learn
from pipeline.core.decide import ENGINE, Ruling, decide
from pipeline.core.hashing import decision_id_of
from pipeline.core.model import (
    AuditRecord,
    Decision,
    DecisionReply,
    DecisionRequest,
    FeedbackEvent,
    IdentityEvent,
    InboxRecord,
    SegmentChange,
)
from pipeline.core.profile import Profile, changed, remember_forwarded, remember_request
from pipeline.core.segments import Change
from pipeline.flow import Accept, Context, Drop, Emit, Outcome, Reason, Redirect
from topics.catalog import DECISION_AUDIT, DECISION_REPLIES, DECISIONS, PROFILE_INBOX, SEGMENT_CHANGES


def tenant_of(key: str) -> str:
    """The tenant in a subject key or profile id."""
    return key.partition("/")[0]


def apply_identity(event: IdentityEvent, profile_id: str, state: Profile | None, ctx: Context) -> Outcome:
    """Traits and consent of one event."""
    profile = state or Profile(profile_id=profile_id)
    if event.event_id in profile.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    live = ctx.live(tenant_of(profile_id))
    after, changes = learn.identity(profile, event, live.policy if live else None, ctx.now_ms)
    release = live.release if live else ""
    return Accept(Reason.APPLIED, after, segment_changes(profile_id, changes, event.event_id, release, ctx.now_ms))


def apply_feedback(event: FeedbackEvent, profile_id: str, state: Profile | None, ctx: Context) -> Outcome:
    """Behaviour of one event, counted once."""
    profile = state or Profile(profile_id=profile_id)
    if event.event_id in profile.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    live = ctx.live(tenant_of(profile_id))
    learnt = learn.feedback(profile, event, live, ctx.now_ms)
    if learnt is None:
        return Drop(Reason.NO_CONSENT)
    after, changes = learnt
    release = live.release if live else ""
    return Accept(Reason.APPLIED, after, segment_changes(profile_id, changes, event.event_id, release, ctx.now_ms))


def apply_request(request: DecisionRequest, profile_id: str, state: Profile | None, ctx: Context) -> Outcome:
    """Decide once per request id; a retry gets the remembered answer, a reused id an error."""
    known = state.requests.get(request.request_id) if state else None
    if known is not None:
        reply = known.reply
        if known.digest != request.digest:
            reply = _error(request, "request_id_reused")
        return Drop(Reason.REPEATED_REQUEST, _reply(request, reply))
    live = ctx.live(tenant_of(profile_id))
    if live is None:
        reply = DecisionReply(request.request_id, decision_id_of(request.subject, request.request_id), [], True,
                              "no_policy")
        profile = state or Profile(profile_id=profile_id)
        return Accept(Reason.DECIDED, _remembering(profile, reply, request, ctx.now_ms), _reply(request, reply))
    before = state or Profile(profile_id=profile_id)
    ruling = decide(request, before, live, ctx.now_ms)
    if ruling.error is not None:
        return Drop(Reason.INVALID, _reply(request, _error(request, ruling.error)))
    reply = DecisionReply(request.request_id, ruling.decision_id, ruling.decisions, ruling.fallback, ruling.reason,
                          live.release)
    after = _remembering(ruling.profile or before, reply, request, ctx.now_ms)
    # The reply first: somebody waits for it.
    emits = (
        *_reply(request, reply),
        Emit(DECISIONS, profile_id, Decision(
            ruling.decision_id, request.request_id, profile_id, ctx.now_ms, request.channel, request.placements,
            request.scenario, ruling.decisions, ruling.fallback, ruling.reason, live.release, live.catalog_version,
            [f"{name}:{arm}" for name, arm in ruling.exposures])),
        Emit(DECISION_AUDIT, profile_id, _audit(request, profile_id, state, ruling, live.release,
                                                live.catalog_version, ctx.now_ms)),
        *segment_changes(profile_id, ruling.changes, request.request_id, live.release, ctx.now_ms),
    )
    return Accept(Reason.DECIDED, after, emits)


def forward_request(record: InboxRecord, request_id: str, stub: Profile) -> Outcome:
    """Send an alias's request on; its retry goes the same way, so that it meets the answer."""
    winner = stub.forwarded.get(request_id)
    onward = replace(record, profile_id=winner or stub.alias_of or "")
    emit = Emit(PROFILE_INBOX, onward.profile_id, onward)
    if winner is not None:
        return Redirect(Reason.FORWARDED, emit)
    seen = changed(stub, forwarded=remember_forwarded(stub, request_id, onward.profile_id))
    return Accept(Reason.FORWARDED, seen, (emit,))


def segment_changes(
    profile_id: str, changes: tuple[Change, ...], cause: str, release: str, now_ms: int
) -> tuple[Emit, ...]:
    """One record for each segment entered or left."""
    return tuple(
        Emit(SEGMENT_CHANGES, profile_id,
             SegmentChange(profile_id, change.segment, change.entered, now_ms, cause, release))
        for change in changes
    )


def _audit(
    request: DecisionRequest, profile_id: str, state: Profile | None, ruling: Ruling, release: str,
    catalog_version: int, now_ms: int,
) -> AuditRecord:
    before = state if state is None or not state.requests else changed(state, requests={})
    return AuditRecord(ruling.decision_id, now_ms, request, profile_id, before, ruling.candidates, ruling.consent,
                       ruling.decisions, ruling.fallback, ruling.reason, release, catalog_version, ENGINE)


def _remembering(profile: Profile, reply: DecisionReply, request: DecisionRequest, now_ms: int) -> Profile:
    return changed(profile, requests=remember_request(profile, reply, request.digest, now_ms))


def _error(request: DecisionRequest, error: str) -> DecisionReply:
    decision_id = decision_id_of(request.subject, request.request_id)
    return DecisionReply(request.request_id, decision_id, [], False, "", error=error)


def _reply(request: DecisionRequest, reply: DecisionReply) -> tuple[Emit, ...]:
    if request.reply_partition is None:
        return ()
    return (Emit(DECISION_REPLIES, request.request_id, reply, request.reply_partition),)

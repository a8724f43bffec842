"""Questions that change nothing: what a subject's features say. Not an agent."""

from __future__ import annotations

import json

from pipeline.core.features import shown
from pipeline.core.hashing import decision_id_of
from pipeline.core.keys import tenant_of
from pipeline.core.model.records import DecisionReply, DecisionRequest
from pipeline.core.rules.rule import as_plain
from pipeline.core.subject import Person
from pipeline.flow import Context


def features_told(request: DecisionRequest, profile_id: str, state: Person | None, ctx: Context) -> DecisionReply:
    """The reply to a request for features. Nothing of it is kept: asked again, it is read again.

    Without consent, and of somebody unknown or erased, it is the same empty object.
    """
    live = ctx.live(tenant_of(profile_id))
    release = "" if live is None else live.release
    reason, told = "read", "{}"
    error: str | None = None
    person = state or Person(profile_id=profile_id)
    if live is None:
        reason = "no_policy"
    elif request.channel not in live.policy.channels:
        reason, error = "", f"unknown_channel:{request.channel}"
    elif not shown.allowed(person, live.policy, request.channel, ctx.now_ms):
        reason = "no_consent"
    else:
        told = json.dumps(shown.shown(person, live.policy, ctx.now_ms), default=as_plain)
    decision_id = decision_id_of(request.subject, request.request_id, request.earlier)
    return DecisionReply(request.request_id, decision_id, [], False, reason, release, error, told)

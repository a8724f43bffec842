"""`profile.inbox`: records of an aliased id, and given-up profiles, arriving at the profile they belong to."""

from __future__ import annotations

from dataclasses import replace

from pipeline.agents._apply import apply_feedback, apply_identity, apply_request, segment_changes, tenant_of
from pipeline.core import merge, segments
from pipeline.core.model import InboxRecord
from pipeline.core.profile import Profile, changed
from pipeline.flow import Accept, Context, DeadLetter, Emit, Outcome, Reason, Redirect
from topics.catalog import PROFILE_INBOX


def handle(event: InboxRecord, state: Profile | None, ctx: Context) -> Outcome:
    """Apply to the profile; where it is an alias itself by now, send on.

    A given-up profile that would come back to where it started closes a ring of aliases: the ring is cut here, and
    this profile holds the state. No state is ever left travelling or dropped.
    """
    if state is not None and state.alias_of is not None:
        if event.merge is None or state.alias_of != event.from_subject:
            onward = replace(event, profile_id=state.alias_of)
            return Redirect(Reason.FORWARDED, Emit(PROFILE_INBOX, state.alias_of, onward))
        state = changed(state, alias_of=None)
    if event.identity is not None:
        return apply_identity(event.identity, event.profile_id, state, ctx)
    if event.feedback is not None:
        return apply_feedback(event.feedback, event.profile_id, state, ctx)
    if event.request is not None:
        return apply_request(event.request, event.profile_id, state, ctx)
    if event.merge is not None:
        return _merge(event, event.merge, state, ctx)
    return DeadLetter(Reason.INVALID, "an inbox record must carry identity, feedback, request or merge")


def _merge(event: InboxRecord, given: Profile, state: Profile | None, ctx: Context) -> Outcome:
    after = merge.merged(state or Profile(profile_id=event.profile_id), given)
    live = ctx.live(tenant_of(event.profile_id))
    if live is None:
        return Accept(Reason.MERGED, after)
    after, changes = segments.refresh(after, live.policy, ctx.now_ms, None)
    emits = segment_changes(event.profile_id, changes, event.event_id, live.release, ctx.now_ms)
    return Accept(Reason.MERGED, after, emits)

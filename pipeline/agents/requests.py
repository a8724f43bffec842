"""`decision.requests`: decide, answer, and remember the answer for the request's retries."""

from __future__ import annotations

from pipeline.agents._apply import apply_request, forward_request
from pipeline.agents._leasing import no_person
from pipeline.agents._rotation import detour
from pipeline.core.model import DecisionRequest, InboxRecord
from pipeline.core.profile import Profile
from pipeline.flow import Context, Outcome


def handle(event: DecisionRequest, state: Profile | None, ctx: Context) -> Outcome:
    """Decide for a profile; a request for an alias goes on to the profile it belongs to."""
    if (wrong := no_person(event.subject)) is not None:
        return wrong
    if (outcome := detour(event.request_id, event, state, request=event)) is not None:
        return outcome
    sent_on = state is not None and event.request_id in state.forwarded
    if state is not None and (state.alias_of is not None or sent_on):
        # Also one that is a profile again: a retry goes where the first try went.
        record = InboxRecord(event.request_id, state.alias_of or "", event.subject, request=event)
        return forward_request(record, event.request_id, state)
    return apply_request(event, event.subject, state, ctx)

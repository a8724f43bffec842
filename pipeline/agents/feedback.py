"""`feedback.events`: learn what somebody did, and count it once."""

from __future__ import annotations

from pipeline.agents._apply import apply_feedback, forward_event, way_of
from pipeline.agents._leasing import no_person
from pipeline.agents._rotation import detour
from pipeline.core.model import FeedbackEvent, InboxRecord
from pipeline.core.profile import Profile
from pipeline.flow import Context, Outcome


def handle(event: FeedbackEvent, state: Profile | None, ctx: Context) -> Outcome:
    """Apply to a profile; an alias's event goes on to the profile it belongs to."""
    if (wrong := no_person(event.subject)) is not None:
        return wrong
    if (outcome := detour(event.event_id, event, state, feedback=event)) is not None:
        return outcome
    to = way_of(event.event_id, state)
    if state is not None and to is not None:
        return forward_event(InboxRecord(event.event_id, to, event.subject, feedback=event), state)
    return apply_feedback(event, event.subject, state, ctx)

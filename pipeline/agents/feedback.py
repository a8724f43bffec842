"""`feedback.events`: learn what somebody did, and count it once."""

from __future__ import annotations

from pipeline.agents._apply import apply_feedback
from pipeline.agents._lending import no_person
from pipeline.core.model import FeedbackEvent, InboxRecord
from pipeline.core.profile import Profile
from pipeline.flow import Context, Emit, Outcome, Reason, Redirect
from topics.catalog import PROFILE_INBOX


def handle(event: FeedbackEvent, state: Profile | None, ctx: Context) -> Outcome:
    """Apply to a profile; an alias's event goes on to the profile it belongs to."""
    if (wrong := no_person(event.subject)) is not None:
        return wrong
    if state is not None and state.alias_of is not None:
        record = InboxRecord(event.event_id, state.alias_of, event.subject, feedback=event)
        return Redirect(Reason.FORWARDED, Emit(PROFILE_INBOX, state.alias_of, record))
    return apply_feedback(event, event.subject, state, ctx)

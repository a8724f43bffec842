"""`feedback.events`: learn what somebody did, and count it once."""

from __future__ import annotations

from pipeline.agents import _router
from pipeline.agents._leasing import no_person
from pipeline.core.model.records import FeedbackEvent, InboxRecord
from pipeline.core.subject import Subject
from pipeline.flow import Context, Outcome


def handle(event: FeedbackEvent, state: Subject | None, ctx: Context) -> Outcome:
    """Apply to a profile; an alias's event goes on to the profile it belongs to."""
    if (wrong := no_person(event.subject)) is not None:
        return wrong
    record = InboxRecord(event.event_id, event.subject, event.subject, feedback=event, earlier=event.earlier)
    return _router.handle(record, state, ctx, first=True)

"""`decision.requests`: decide, answer, and remember the answer for the request's retries."""

from __future__ import annotations

from pipeline.agents import _router
from pipeline.agents._leasing import no_person
from pipeline.core.model.records import DecisionRequest, InboxRecord
from pipeline.core.subject import Subject
from pipeline.flow import Context, Outcome


def handle(event: DecisionRequest, state: Subject | None, ctx: Context) -> Outcome:
    """Decide for a profile; a request for an alias goes on to the profile it belongs to."""
    if (wrong := no_person(event.subject)) is not None:
        return wrong
    record = InboxRecord(event.request_id, event.subject, event.subject, request=event, earlier=event.earlier)
    return _router.handle(record, state, ctx, first=True)

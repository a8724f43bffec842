"""`identity.events`: who somebody is and what they allow; which identifiers are theirs, and which no longer."""

from __future__ import annotations

from pipeline.agents import _router
from pipeline.core.model.records import IdentityEvent, InboxRecord
from pipeline.core.subject import Subject
from pipeline.flow import Context, Outcome


def handle(event: IdentityEvent, state: Subject | None, ctx: Context) -> Outcome:
    """Apply to a profile; an alias's event goes on to the profile it belongs to."""
    record = InboxRecord(event.event_id, event.subject, event.subject, identity=event, earlier=event.earlier)
    return _router.handle(record, state, ctx, first=True)

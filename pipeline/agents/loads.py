"""`features.loads`: values of features that were computed in batch, into the profile of whom they are about."""

from __future__ import annotations

from pipeline.agents import _router
from pipeline.agents._leasing import no_person
from pipeline.core.model.records import IdentityEvent, IdentityKind, InboxRecord
from pipeline.core.subject import Subject
from pipeline.flow import Context, DeadLetter, Outcome, Reason


def handle(event: IdentityEvent, state: Subject | None, ctx: Context) -> Outcome:
    """Apply to a profile; what comes for an alias goes on to the profile it belongs to."""
    if (wrong := no_person(event.subject)) is not None:
        return wrong
    if event.kind is not IdentityKind.LOAD:
        return DeadLetter(Reason.INVALID, f"kind is {event.kind}: send load here, every other kind to identity.events")
    record = InboxRecord(event.event_id, event.subject, event.subject, identity=event, earlier=event.earlier)
    return _router.handle(record, state, ctx, first=True)

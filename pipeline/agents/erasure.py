"""`erasure.requests`: forget a subject, or say which identifiers are theirs so that everything can be given out."""

from __future__ import annotations

from pipeline.agents import _router
from pipeline.core.keys import is_account
from pipeline.core.model.records import ErasureRequest, InboxRecord
from pipeline.core.subject import Subject
from pipeline.flow import Context, DeadLetter, Outcome, Reason


def handle(event: ErasureRequest, state: Subject | None, ctx: Context) -> Outcome:
    """Apply to a profile; what is asked about an alias goes on to the profile it belongs to."""
    if is_account(event.subject):
        return DeadLetter(Reason.INVALID, "an account is no person: name the identifier whose data is to be erased")
    record = InboxRecord(event.job_id, event.subject, event.subject, erasure=event, earlier=event.earlier)
    return _router.handle(record, state, ctx, first=True)

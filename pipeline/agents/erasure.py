"""`erasure.requests`: forget a subject, or say which identifiers are theirs so that everything can be given out."""

from __future__ import annotations

from pipeline.agents._apply import apply_erasure
from pipeline.agents._rotation import detour
from pipeline.core.keys import is_account
from pipeline.core.model import ErasureRequest, InboxRecord
from pipeline.core.profile import Profile
from pipeline.flow import Context, DeadLetter, Emit, Outcome, Reason, Redirect
from topics.catalog import PROFILE_INBOX


def handle(event: ErasureRequest, state: Profile | None, ctx: Context) -> Outcome:
    """Apply to a profile; what is asked about an alias goes on to the profile it belongs to."""
    if is_account(event.subject):
        return DeadLetter(Reason.INVALID, "an account is no person: name the identifier whose data is to be erased")
    if (outcome := detour(event.job_id, event, state, erasure=event)) is not None:
        return outcome
    if state is not None and state.alias_of is not None:
        record = InboxRecord(event.job_id, state.alias_of, event.subject, erasure=event)
        return Redirect(Reason.FORWARDED, Emit(PROFILE_INBOX, state.alias_of, record))
    return apply_erasure(event, event.subject, state, ctx)

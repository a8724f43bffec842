"""`identity.events`: who somebody is and what they allow; which identifiers are theirs, and which no longer."""

from __future__ import annotations

from pipeline.agents import _undo
from pipeline.agents._apply import apply_account, apply_identity, forward_event, way_of
from pipeline.core import erasure
from pipeline.core.accounts import is_account
from pipeline.core.identity import tenant_of
from pipeline.core.model import IdentityEvent, IdentityKind, InboxRecord
from pipeline.core.profile import Profile
from pipeline.flow import Context, DeadLetter, Drop, Emit, Outcome, Reason, Redirect
from topics.catalog import PROFILE_INBOX


def handle(event: IdentityEvent, state: Profile | None, ctx: Context) -> Outcome:
    """Apply to a profile; an alias's event goes on to the profile it belongs to."""
    if is_account(event.subject):
        return apply_account(event, state, ctx)
    if event.kind is IdentityKind.ALIAS:
        return _alias(event, state)
    if event.kind is IdentityKind.LOGOUT:
        return _undo.log_out(event, state, ctx)
    if event.kind is IdentityKind.UNMERGE:
        return _undo.ask_back(event, state)
    to = way_of(event.event_id, state)
    if state is not None and to is not None:
        return forward_event(InboxRecord(event.event_id, to, event.subject, identity=event), state)
    return apply_identity(event, event.subject, state, ctx)


def _alias(event: IdentityEvent, state: Profile | None) -> Outcome:
    """Ask the profile named: it knows whether it has room, and claims the identifier."""
    winner = event.alias_of
    if not winner or tenant_of(winner) != tenant_of(event.subject) or is_account(winner):
        return DeadLetter(Reason.INVALID, "alias_of must be a profile id of the subject's own tenant, as tenant/hash")
    if winner == event.subject:
        return DeadLetter(Reason.INVALID, "alias_of names the subject itself: name the profile it belongs to")
    if state is not None and state.alias_of == winner:
        return Drop(Reason.DUPLICATE_EVENT)
    if erasure.refused(state, event.at_ms):
        return Drop(Reason.ERASED)
    return Redirect(Reason.FORWARDED,
                    Emit(PROFILE_INBOX, winner, InboxRecord(event.event_id, winner, event.subject, identity=event)))

"""`identity.events`: who somebody is and what they allow; an alias gives its state up to the profile it belongs to."""

from __future__ import annotations

from pipeline.agents._apply import apply_account, apply_identity, tenant_of
from pipeline.core.accounts import is_account
from pipeline.core.model import IdentityEvent, IdentityKind, InboxRecord
from pipeline.core.profile import Profile, changed, remember_event
from pipeline.flow import Accept, Context, DeadLetter, Drop, Emit, Outcome, Reason, Redirect
from topics.catalog import PROFILE_INBOX


def handle(event: IdentityEvent, state: Profile | None, ctx: Context) -> Outcome:
    """Apply to a profile; an alias's event goes on to the profile it belongs to."""
    if is_account(event.subject):
        return apply_account(event, state, ctx)
    if event.kind is IdentityKind.ALIAS:
        return _alias(event, state)
    if state is not None and state.alias_of is not None:
        record = InboxRecord(event.event_id, state.alias_of, event.subject, identity=event)
        return Redirect(Reason.FORWARDED, Emit(PROFILE_INBOX, state.alias_of, record))
    return apply_identity(event, event.subject, state, ctx)


def _alias(event: IdentityEvent, state: Profile | None) -> Outcome:
    """Leave a stub behind and send the state on, before any later record of the alias can follow it.

    An identifier already given up has no state left; its stub follows the latest alias. The empty state still travels:
    coming home, it would show that the aliases form a ring (see the inbox).
    """
    winner = event.alias_of
    if not winner or tenant_of(winner) != tenant_of(event.subject) or is_account(winner):
        return DeadLetter(Reason.INVALID, "alias_of must be a profile id of the subject's own tenant, as tenant/hash")
    if winner == event.subject:
        return DeadLetter(Reason.INVALID, "alias_of names the subject itself: name the profile it belongs to")
    if state is not None and (state.alias_of == winner or event.event_id in state.event_ids):
        return Drop(Reason.DUPLICATE_EVENT)
    own = state if state is not None and state.alias_of is None else Profile(profile_id=event.subject)
    place = (state.alias_clock if state is not None else 0) + 1
    given = changed(own, profile_id=event.subject, event_ids=remember_event(own, event.event_id),
                    alias_event=event.event_id, alias_at=place, alias_clock=place)
    record = InboxRecord(event.event_id, winner, event.subject, merge=given)
    stub = Profile(profile_id=event.subject, alias_of=winner, alias_event=event.event_id, alias_at=place,
                   alias_clock=place, forwarded=state.forwarded if state is not None else {})
    return Accept(Reason.FORWARDED, stub, (Emit(PROFILE_INBOX, winner, record),))

"""Identity events that an identifier itself takes, wherever its profile is: alias, logout, unmerge. Not an agent."""

from __future__ import annotations

from pipeline.agents import _undo
from pipeline.core.identity import erasure, links, rotation
from pipeline.core.keys import hash_of, is_account, tenant_of
from pipeline.core.model.records import Identifier, IdentityEvent, IdentityKind, InboxRecord
from pipeline.core.model.values import replaced
from pipeline.core.subject import Redirect, Subject
from pipeline.flow import Context, DeadLetter, Drop, Emit, Forward, Outcome, Reason
from topics.catalog import PROFILE_INBOX


def take(event: IdentityEvent, key: str, state: Subject | None, ctx: Context) -> Outcome:
    """An alias, a logout or an unmerge, at the identifier that it is about. `key`: its present one."""
    if event.kind is IdentityKind.ALIAS:
        return _alias(replaced(event, subject=key), state)
    if event.kind is IdentityKind.LOGOUT:
        return _undo.log_out(replaced(event, subject=key), _named(event, key, state), state, ctx)
    return _undo.ask_back(replaced(event, subject=key), _named(event, key, state), state)


def is_about(record: InboxRecord, event: IdentityEvent, state: Subject | None) -> bool:
    """Whether an alias is one that its own subject's key has still to take.

    One that this key has asked for comes from its subject; one that has yet to be asked for, by way of another.
    """
    return record.from_subject != event.subject and rotation.is_own(event.subject, record.profile_id, state)


def _named(event: IdentityEvent, key: str, state: Subject | None) -> Identifier:
    """The event's subject by every name: also by a newer one than this key's, that has not taken it over yet."""
    known = links.identifier(key, event.subject_type, state)
    if hash_of(key) not in event.earlier:
        return known
    return Identifier(event.subject_type, hash_of(event.subject), [known.hash, *known.earlier])


def _alias(event: IdentityEvent, state: Subject | None) -> Outcome:
    """Ask the profile named: it knows whether it has room, and claims the identifier."""
    winner = event.alias_of
    if not winner or tenant_of(winner) != tenant_of(event.subject) or is_account(winner):
        return DeadLetter(Reason.INVALID, "alias_of must be a profile id of the subject's own tenant, as tenant/hash")
    if rotation.is_own(winner, event.subject, state):
        return DeadLetter(Reason.INVALID, "alias_of names the subject itself: name the profile it belongs to")
    if isinstance(state, Redirect) and state.to == winner:
        return Drop(Reason.DUPLICATE_EVENT)
    if erasure.refused(state, event.at_ms):
        return Drop(Reason.ERASED)
    return Forward(Reason.FORWARDED, Emit(PROFILE_INBOX, winner, InboxRecord(
        event.event_id, winner, event.subject, identity=event, earlier=event.alias_earlier)))

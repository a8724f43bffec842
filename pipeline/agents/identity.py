"""`identity.events`: who somebody is and what they allow; which identifiers are theirs, and which no longer."""

from __future__ import annotations

from pipeline.agents import _identity
from pipeline.agents._rotation import detour
from pipeline.core.model import IdentityEvent
from pipeline.core.profile import Profile
from pipeline.flow import Context, Outcome


def handle(event: IdentityEvent, state: Profile | None, ctx: Context) -> Outcome:
    """Apply to a profile; an alias's event goes on to the profile it belongs to."""
    if (outcome := detour(event.event_id, event, state, identity=event)) is not None:
        return outcome
    return _identity.take(event, event.subject, state, ctx)

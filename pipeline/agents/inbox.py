"""`profile.inbox`: what keys send each other, and what was sent on by an alias."""

from __future__ import annotations

from pipeline.agents import _router
from pipeline.core.model.records import InboxRecord
from pipeline.core.subject import Subject
from pipeline.flow import Context, Outcome


def handle(event: InboxRecord, state: Subject | None, ctx: Context) -> Outcome:
    """Apply to what lies at the key, or send on."""
    return _router.handle(event, state, ctx)

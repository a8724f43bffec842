"""Sessions: activity on one channel without a pause as long as the channel declares."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.core.model.definitions import Channel
from pipeline.core.model.windows import SESSION_MS_MAX
from pipeline.core.sections.behaviour import Session


def after(
    known: Mapping[str, Session], channels: Mapping[str, Channel], channel: str, at_ms: int
) -> dict[str, Session]:
    """The sessions, by channel that there is, once something was done on one of them at that moment."""
    kept = {name: one for name, one in known.items() if name in channels}
    kept[channel] = at(kept.get(channel), at_ms, channels[channel].session_ms)
    return kept


def at(session: Session | None, at_ms: int, gap_ms: int) -> Session:
    """The session after something was done at that moment: the same one, or the one that begins with it. What is heard
    of late, or has a slow clock's time, moves its beginning back where it belongs to it."""
    if session is None:
        return Session(at_ms, at_ms)
    if at_ms >= session.last_ms:
        paused = at_ms - session.last_ms >= gap_ms
        begins = paused or at_ms - session.start_ms >= SESSION_MS_MAX
        return Session(at_ms if begins else session.start_ms, at_ms)
    belongs = session.start_ms - gap_ms < at_ms and session.last_ms - at_ms < SESSION_MS_MAX
    return Session(min(session.start_ms, at_ms), session.last_ms) if belongs else session

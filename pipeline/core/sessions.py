"""Sessions: activity on one channel without a pause as long as the channel declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.core.definitions import Channel
from pipeline.core.profile import Session

#: A pause as long ends a session, where a channel declares none; and the longest that it may declare.
GAP_MS: Final = 1_800_000
GAP_MS_MAX: Final = 4 * 3_600_000

#: A session without a pause ends after a day: whoever never pauses is no visitor, and what counts must have an end.
LENGTH_MS_MAX: Final = 86_400_000


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
        begins = paused or at_ms - session.start_ms >= LENGTH_MS_MAX
        return Session(at_ms if begins else session.start_ms, at_ms)
    belongs = session.start_ms - gap_ms < at_ms and session.last_ms - at_ms < LENGTH_MS_MAX
    return Session(min(session.start_ms, at_ms), session.last_ms) if belongs else session


def merged(a: Mapping[str, Session], b: Mapping[str, Session]) -> dict[str, Session]:
    """The sessions of two profiles of one subject, by channel: the later one, with what may have been part of it."""
    result = dict(a)
    for channel, other in b.items():
        own = result.get(channel)
        if own is None:
            result[channel] = other
            continue
        first, last = sorted((own, other), key=lambda one: (one.last_ms, one.start_ms))
        whole = last.start_ms - first.last_ms < GAP_MS_MAX and last.last_ms - first.start_ms < LENGTH_MS_MAX
        result[channel] = Session(min(first.start_ms, last.start_ms), last.last_ms) if whole else last
    return result

"""Sessions: activity on one channel without a pause as long as the channel declares; the last one on each is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pipeline.core.model.values import Value
from pipeline.core.model.windows import SESSION_MS_MAX
from pipeline.core.sections.mappings import combined, only
from pipeline.core.sections.section import Section

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.learn import Hearing
    from pipeline.core.model.definitions import Channel

#: A pause as long ends a session, where a channel declares none; and the longest that it may declare.
GAP_MS: Final = 1_800_000
GAP_MS_MAX: Final = 4 * 3_600_000


class Session(Value, frozen=True, omit_defaults=True):
    """A session on one channel: its first and its last moment so far, epoch ms."""

    start_ms: int
    last_ms: int


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


def merged_sessions(a: Mapping[str, Session], b: Mapping[str, Session]) -> dict[str, Session]:
    """The sessions of two profiles of one subject, by channel: the later one, with what may have been part of it."""
    return combined(a, b, _one_session)


def _one_session(a: Session, b: Session) -> Session:
    first, last = sorted((a, b), key=lambda one: (one.last_ms, one.start_ms))
    whole = last.start_ms - first.last_ms < GAP_MS_MAX and last.last_ms - first.start_ms < SESSION_MS_MAX
    return Session(min(first.start_ms, last.start_ms), last.last_ms) if whole else last


def _merge(own: dict[str, Session], given: dict[str, Session], _: Merging) -> dict[str, Session]:
    return merged_sessions(own, given)


def _read(own: dict[str, Session], view: View) -> dict[str, Session]:
    return only(own, {view.channel})


def _hear(own: dict[str, Session], hearing: Hearing) -> dict[str, Session]:
    channel, channels = hearing.event.channel, hearing.policy.channels
    return after(own, channels, channel, hearing.at_ms) if channel in channels else own


SESSIONS: Final[Section[dict[str, Session]]] = Section({}, _merge, returned=merged_sessions, read=_read, hear=_hear)

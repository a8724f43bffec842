"""Behaviour: when signals happened, since when they are listened to, and the last session on each channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pipeline.core.model.values import Value
from pipeline.core.model.windows import SESSION_MS_MAX
from pipeline.core.sections.mappings import combined, only
from pipeline.core.sections.section import Section, whole
from pipeline.core.sections.timestamps import minus, newest

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing

Signals = dict[str, tuple[int, ...]]

#: A pause as long ends a session, where a channel declares none; and the longest that it may declare.
GAP_MS: Final = 1_800_000
GAP_MS_MAX: Final = 4 * 3_600_000


class Session(Value, frozen=True, omit_defaults=True):
    """A session on one channel: its first and its last moment so far, epoch ms."""

    start_ms: int
    last_ms: int


def _merge_signals(own: Signals, given: Signals, _: Merging) -> Signals:
    return combined(own, given, newest)


def _without_signals(own: Signals, given: Signals, _: Signals, __: Undoing) -> Signals:
    left = {key: minus(timestamps, given.get(key, ())) for key, timestamps in own.items()}
    return {key: timestamps for key, timestamps in left.items() if timestamps}


def _read_signals(own: Signals, view: View) -> Signals:
    return only(own, view.behaviour)


def _earliest(own: int, given: int, _: Merging) -> int:
    return min(filter(None, (own, given)), default=0)


def merged_sessions(a: Mapping[str, Session], b: Mapping[str, Session]) -> dict[str, Session]:
    """The sessions of two profiles of one subject, by channel: the later one, with what may have been part of it."""
    return combined(a, b, _one_session)


def _one_session(a: Session, b: Session) -> Session:
    first, last = sorted((a, b), key=lambda one: (one.last_ms, one.start_ms))
    whole = last.start_ms - first.last_ms < GAP_MS_MAX and last.last_ms - first.start_ms < SESSION_MS_MAX
    return Session(min(first.start_ms, last.start_ms), last.last_ms) if whole else last


def _merge_sessions(own: dict[str, Session], given: dict[str, Session], _: Merging) -> dict[str, Session]:
    return merged_sessions(own, given)


def _read_sessions(own: dict[str, Session], view: View) -> dict[str, Session]:
    return only(own, {view.channel})


SIGNALS: Final[Section[Signals]] = Section(
    {}, _merge_signals, subtract=_without_signals, read=_read_signals, counts=True)
HEARD: Final[Section[int]] = Section(0, _earliest, read=whole)
SESSIONS: Final[Section[dict[str, Session]]] = Section(
    {}, _merge_sessions, returned=merged_sessions, read=_read_sessions)

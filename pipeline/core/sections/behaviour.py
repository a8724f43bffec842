"""Behaviour: when signals happened, and since when they are listened to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.core.sections.mappings import combined, only
from pipeline.core.sections.section import Section, whole
from pipeline.core.sections.timestamps import minus, newest

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing

Signals = dict[str, tuple[int, ...]]

def _merge_signals(own: Signals, given: Signals, _: Merging) -> Signals:
    return combined(own, given, newest)


def _without_signals(own: Signals, given: Signals, _: Signals, __: Undoing) -> Signals:
    left = {key: minus(timestamps, given.get(key, ())) for key, timestamps in own.items()}
    return {key: timestamps for key, timestamps in left.items() if timestamps}


def _read_signals(own: Signals, view: View) -> Signals:
    return only(own, view.behaviour)


def _earliest(own: int, given: int, _: Merging) -> int:
    return min(filter(None, (own, given)), default=0)


SIGNALS: Final[Section[Signals]] = Section(
    {}, _merge_signals, subtract=_without_signals, read=_read_signals, counts=True)
HEARD: Final[Section[int]] = Section(0, _earliest, read=whole)

"""Memberships of segments, and the stages of the lifecycle that somebody went through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.core.model.values import Value
from pipeline.core.sections.mappings import combined, only
from pipeline.core.sections.section import Section, whole

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing

STAGES_MAX: Final = 16


class Stage(Value, frozen=True, omit_defaults=True):
    """One step of the lifecycle's history."""

    name: str
    entered_at_ms: int


Stages = tuple[Stage, ...]


def _merge_segments(own: dict[str, int], given: dict[str, int], _: Merging) -> dict[str, int]:
    return combined(own, given, min)


def _read_segments(own: dict[str, int], view: View) -> dict[str, int]:
    return own if view.segments is None else only(own, view.segments)


def _merge_stages(own: Stages, given: Stages, _: Merging) -> Stages:
    return tuple(sorted({*own, *given}, key=lambda stage: (stage.entered_at_ms, stage.name)))[-STAGES_MAX:]


def _subtract_stages(own: Stages, given: Stages, _: Stages, __: Undoing) -> Stages:
    return tuple(stage for stage in own if stage not in given)


SEGMENTS: Final[Section[dict[str, int]]] = Section({}, _merge_segments, read=_read_segments)
#: The release they were computed under; after a merge, or one undone, they are to be computed again.
SEGMENTS_RELEASE: Final[Section[str]] = Section(
    "", lambda *_: "", subtract=lambda *_: "", returned=lambda *_: "", read=whole)
SEGMENTS_ACCOUNT: Final[Section[int]] = Section(0, read=whole)
STAGES: Final[Section[Stages]] = Section((), _merge_stages, subtract=_subtract_stages, read=lambda own, _: own[-1:])

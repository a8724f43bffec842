"""Assignments: which variation of an experiment somebody was given; they survive merges and changes of traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.core.sections.mappings import only
from pipeline.core.sections.section import Section

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging


def _merge(own: dict[str, str], given: dict[str, str], _: Merging) -> dict[str, str]:
    return {**given, **own}


def _read(own: dict[str, str], view: View) -> dict[str, str]:
    return only(own, view.footprint.experiments)


ASSIGNMENTS: Final[Section[dict[str, str]]] = Section({}, _merge, read=_read, counts=True)

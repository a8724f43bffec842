"""Positions in journeys: the stage somebody is in, since when, or how the journey ended for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.core.model.values import Value
from pipeline.core.sections.mappings import combined, only
from pipeline.core.sections.section import Section

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing


class Position(Value, frozen=True, omit_defaults=True):
    """Where somebody is in one journey, or was last. Times are epoch milliseconds."""

    #: "": they left it.
    stage: str = ""
    since_ms: int = 0
    started_ms: int = 0
    #: The stage's place in the declared order: what a merge goes by.
    place: int = 0
    #: How often the journey was entered.
    entries: int = 0
    #: "": it goes on; goal, exit, timeout; `gone`: their stage was taken out of the definition.
    ended: str = ""
    ended_ms: int = 0


Positions = dict[str, Position]


def further(a: Position, b: Position) -> Position:
    """Of two positions in one journey the one further on: the goal, before being in it, before having left; then by
    the declared order, then by the earlier start. The same whichever comes first."""
    return max(a, b, key=lambda one: (
        one.ended == "goal", bool(one.stage), one.place, -one.started_ms, -one.since_ms, one.entries, one.stage,
        one.ended, one.ended_ms))


def _merge(own: Positions, given: Positions, _: Merging) -> Positions:
    return combined(own, given, further) if given else own


def _displaced(own: Positions, given: Positions, merged: Positions) -> Positions:
    """What is different now; also what both sides had alike, which stays when the merge is undone."""
    return {name: one for name, one in own.items() if merged[name] != one or given.get(name) == one}


def _subtract(own: Positions, given: Positions, displaced: Positions, _: Undoing) -> Positions:
    """Without what came from the other side and has not moved since: back to what it put out of force."""
    result = {}
    for name, one in own.items():
        if one != given.get(name):
            result[name] = one
        elif name in displaced:
            result[name] = displaced[name]
    return result


def _read(own: Positions, view: View) -> Positions:
    return own if view.journeys is None else only(own, view.journeys)


JOURNEYS: Final[Section[Positions]] = Section({}, _merge, _displaced, _subtract, read=_read, counts=True)

"""Traits: what was said of somebody, each with the event time that set it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.core.model.values import Value
from pipeline.core.model.words import Scalar
from pipeline.core.sections.mappings import only, overruled
from pipeline.core.sections.section import Section

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing


class Trait(Value, frozen=True, omit_defaults=True):
    """A value and the event time that set it: the newest wins."""

    value: Scalar
    at_ms: int = 0


def newer(old: Trait | None, new: Trait) -> Trait:
    """The value in force of two: the newest; at the same moment, the one that sorts last, so that order is nothing."""
    if old is None or (new.at_ms, _rank(new.value)) > (old.at_ms, _rank(old.value)):
        return new
    return old


def _rank(value: Scalar) -> tuple[str, str]:
    return type(value).__name__, repr(value)


def _merge(own: dict[str, Trait], given: dict[str, Trait], _: Merging) -> dict[str, Trait]:
    return {**own, **{name: newer(own.get(name), trait) for name, trait in given.items()}}


def _subtract(
    own: dict[str, Trait], given: dict[str, Trait], displaced: dict[str, Trait], _: Undoing
) -> dict[str, Trait]:
    """Without what came from the other side, with what that had put out of force."""
    result = {}
    for name, trait in own.items():
        if trait != given.get(name):
            result[name] = trait
        elif name in displaced:
            result[name] = displaced[name]
    return result


def _read(traits: dict[str, Trait], view: View) -> dict[str, Trait]:
    return only(traits, view.traits)


TRAITS: Final[Section[dict[str, Trait]]] = Section({}, _merge, overruled, _subtract, read=_read, counts=True)

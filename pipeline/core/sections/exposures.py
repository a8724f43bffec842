"""Exposures: the last decisions that showed something, what each outcome brought them so far, and the outcomes that
came before their decision. Fallback content is no exposure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.core.model.values import Value, value_field
from pipeline.core.model.words import ModelUse
from pipeline.core.sections.section import Section

if TYPE_CHECKING:
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing


class Shown(Value, frozen=True, omit_defaults=True):
    """One item that a decision showed. `position`: from 0, within its placement."""

    item_id: str
    placement: str
    position: int
    propensity: float = 1.0
    campaign: str = ""
    tags: tuple[str, ...] = ()
    variant: str = ""
    #: `experiment:variation`, separated by commas; "": none.
    experiment: str = ""


class Exposure(Value, frozen=True, omit_defaults=True):
    """One decision that showed something. A place in `shown` is a number as text: keys of maps are texts."""

    at_ms: int
    channel: str
    scenario: str
    release: str
    shown: tuple[Shown, ...] = ()
    #: JSON of the facts that the decision could read, by their paths.
    context: bytes = b"{}"
    #: By placement.
    models: dict[str, ModelUse] = value_field(default_factory=dict)
    #: Outcome → when its window closes (epoch ms). What is not here is closed.
    open: dict[str, int] = value_field(default_factory=dict)
    #: `place/outcome` → the reward credited so far.
    credits: dict[str, float] = value_field(default_factory=dict)
    #: Place → when its item was first viewed, first clicked (epoch ms), where an outcome is attributed by that.
    viewed: dict[str, int] = value_field(default_factory=dict)
    clicked: dict[str, int] = value_field(default_factory=dict)


class Awaiting(Value, frozen=True, omit_defaults=True):
    """An event that names a decision which is not known (yet), and what it is worth by outcome."""

    decision_id: str
    at_ms: int
    until_ms: int
    item_id: str = ""
    placement: str = ""
    rewards: dict[str, float] = value_field(default_factory=dict)


#: By decision id, in the order in which they were made or merged; by event id.
Exposures = dict[str, Exposure]
Waiting = dict[str, Awaiting]


def credit_key(place: int, outcome: str) -> str:
    """Under which name the credits of a place are kept."""
    return f"{place}/{outcome}"


def _merge_exposures(own: Exposures, given: Exposures, _: Merging) -> Exposures:
    return {**given, **own} if given else own


def _without_exposures(own: Exposures, given: Exposures, _: Exposures, __: Undoing) -> Exposures:
    return {name: one for name, one in own.items() if name not in given} if given else own


def _returned_exposures(given: Exposures, holder: Exposures) -> Exposures:
    """As the holder has them by now; what was closed there has had its final records."""
    return {name: holder[name] for name in given if name in holder}


def _merge_waiting(own: Waiting, given: Waiting, _: Merging) -> Waiting:
    return {**given, **own} if given else own


def _without_waiting(own: Waiting, given: Waiting, _: Waiting, __: Undoing) -> Waiting:
    return {name: one for name, one in own.items() if name not in given} if given else own


def _returned_waiting(given: Waiting, holder: Waiting) -> Waiting:
    return {name: holder[name] for name in given if name in holder}


EXPOSURES: Final[Section[Exposures]] = Section(
    {}, _merge_exposures, subtract=_without_exposures, returned=_returned_exposures, counts=True)
AWAITING: Final[Section[Waiting]] = Section(
    {}, _merge_waiting, subtract=_without_waiting, returned=_returned_waiting, counts=True)

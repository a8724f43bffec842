"""Journeys of a release, compiled: stages in their order, and what moves a subject from one to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from pipeline.core.model.matcher import Matcher

if TYPE_CHECKING:
    from pipeline.core.rules.rule import Rule

#: Journeys of one release, and stages of one journey.
JOURNEYS_MAX: Final = 32
STAGES_MAX: Final = 32

#: What rules read of each journey, and of which type.
FACTS: Final = {
    "stage": "string", "since": "timestamp", "started": "timestamp", "progress": "double", "reached_goal": "bool",
}


@dataclass(frozen=True, slots=True)
class Trigger:
    """One condition: an event that `matcher` means, membership of `segment`, `rule`, or `after_ms` in the stage."""

    kind: Literal["event", "segment", "rule", "after"]
    matcher: Matcher | None = None
    segment: str = ""
    rule: Rule | None = None
    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Transition:
    """A way to another stage."""

    to: str
    trigger: Trigger


@dataclass(frozen=True, slots=True)
class JourneyStage:
    """One stage; transitions are tried in this order. At the goal the journey is over."""

    name: str
    transitions: tuple[Transition, ...] = ()
    goal: bool = False


@dataclass(frozen=True, slots=True)
class Journey:
    """Stages in their order; who enters begins at the first.

    `timeout_ms`: from the entry into the journey. `re_entry_ms`: how long after it ended it may be entered again; None:
    never. `was`: old stage → present one. `leaves`: the policy says that whoever is in a stage that is gone leaves.
    """

    id: str
    enter: Trigger
    stages: tuple[JourneyStage, ...]
    exit: Trigger | None = None
    timeout_ms: int | None = None
    re_entry_ms: int | None = None
    was: dict[str, str] = field(default_factory=dict)
    leaves: bool = False
    #: Stage → its place in the order.
    places: dict[str, int] = field(default_factory=dict)

    @property
    def goal_place(self) -> int:
        """The place of the first goal; of the last stage, where none is a goal."""
        return next((place for place, one in enumerate(self.stages) if one.goal), len(self.stages) - 1)

    def stage(self, name: str) -> JourneyStage | None:
        """The stage of that name."""
        place = self.places.get(name)
        return None if place is None else self.stages[place]


def paths(journey: str) -> tuple[str, ...]:
    """The facts of a journey, as rules name them."""
    return tuple(f"journey.{journey}.{name}" for name in FACTS)

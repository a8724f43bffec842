"""What a new release does to people who are in a stage of an earlier one, said before it is published."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.model.definitions import Policy


@dataclass(frozen=True, slots=True)
class Displaced:
    """A stage that the live release has and the new one has not. `to`: where its people go; "": they leave.

    `declared`: whether the new release says so itself.
    """

    journey: str
    stage: str
    to: str
    declared: bool


def displaced(live: Policy, new: Policy) -> tuple[Displaced, ...]:
    """Every stage that disappears, and what becomes of the people in it. Goals too: there it ends as reached."""
    declared = {one.id: one for one in new.journeys}
    found = []
    for old in live.journeys:
        journey = declared.get(old.id)
        for stage in old.stages:
            if journey is None:
                found.append(Displaced(old.id, stage.name, "", False))
            elif stage.name not in journey.places:
                to = journey.was.get(stage.name, "")
                found.append(Displaced(old.id, stage.name, to, bool(to) or journey.leaves))
    return tuple(found)

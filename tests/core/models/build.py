"""Models for tests, learnt from observations without a pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.core.model.learning import Observation
from pipeline.core.models.learner import Feature, Kind, Learner
from pipeline.core.models.statistics import Statistics


def learner(kind: Kind, context: int = 0, item: int = 0, **more: Any) -> Learner:
    """A model of so many numbers of the context and of the item."""
    features = [Feature(f"context.x{n}") for n in range(context)] + [Feature(f"candidate.z{n}") for n in range(item)]
    return Learner("m", kind, "click", tuple(features), **more)


def learnt(one: Learner, observations: Iterable[Observation]) -> Statistics:
    """What the observations come to."""
    found = Statistics()
    for observation in observations:
        found = found.updated(observation, one)
    return found

"""What a candidate is worth now: its priority, or a formula over facts and its own attributes. Every term is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pipeline.core.cel.build import CANDIDATE, Facts
from pipeline.core.cel.functions import EvaluationError
from pipeline.core.definitions import Item, Ranking


@dataclass(frozen=True, slots=True)
class Score:
    """`terms`: the numbers the formula saw, by name. `unknown`: what was missing; the score then means nothing."""

    value: float
    terms: dict[str, float]
    unknown: str = ""


def score(ranking: Ranking, item: Item, facts: Facts) -> Score:
    """The candidate's score. A formula that cannot be worked out, or is not a number, makes it unknown."""
    number = ranking.number
    if number is None:
        return Score(float(item.priority), {"priority": float(item.priority)})
    terms = {name: float(value) for name in number.reads if (value := _seen(name, facts, item.facts)) is not None}
    try:
        value = float(number.fn(facts, item.facts))
    except KeyError as missing:
        return Score(0.0, terms, str(missing.args[0]))
    except EvaluationError as failed:
        return Score(0.0, terms, str(failed))
    return Score(value, terms) if math.isfinite(value) else Score(0.0, terms, "not a finite number")


def _seen(name: str, facts: Facts, item: Facts) -> Any:
    value = (item if name.startswith(CANDIDATE) else facts).get(name)
    return value if isinstance(value, (int, float)) else None

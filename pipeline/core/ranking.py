"""What a candidate is worth now: its priority, the product of the ranking's terms, or a model. Every term is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pipeline.core.cel.build import CANDIDATE, Facts
from pipeline.core.cel.functions import EvaluationError
from pipeline.core.definitions import Item, Model, Ranking


@dataclass(frozen=True, slots=True)
class Score:
    """`terms`: the numbers that made it, by name. `unknown`: what was missing; the score then means nothing."""

    value: float
    terms: dict[str, float]
    unknown: str = ""
    clause: str = ""


def score(ranking: Ranking, item: Item, facts: Facts) -> Score:
    """The candidate's score. A term that cannot be worked out, or is not a number, makes it unknown."""
    if not ranking.terms and ranking.model is None:
        priority = float(item.priority)
        return Score(priority, {"priority": priority})
    terms: dict[str, float] = {}
    value = 1.0
    for name, number in ranking.terms:
        try:
            term = float(number.fn(facts, item.facts))
        except KeyError as missing:
            return Score(0.0, terms, str(missing.args[0]), number.text)
        except EvaluationError as failed:
            return Score(0.0, terms, str(failed), number.text)
        for read in number.reads:
            seen = (item.facts if read.startswith(CANDIDATE) else facts).get(read)
            if isinstance(seen, (int, float)):
                terms[read] = float(seen)
        terms[name] = term
        value *= term
    if ranking.model is not None:
        unknown = _add_model(ranking.model, item, facts, terms)
        if unknown:
            return Score(0.0, terms, unknown, "model")
        value *= terms["model"]
    if not math.isfinite(value):
        return Score(0.0, terms, "not a finite number", ranking.id)
    return Score(value, terms)


def _add_model(model: Model, item: Item, facts: Facts, terms: dict[str, float]) -> str:
    """Adds the model's probability to the terms; returns what was missing."""
    logit = model.intercept + model.items.get(item.id, 0.0)
    for path, coefficient in model.coefficients:
        value: Any = (item.facts if path.startswith(CANDIDATE) else facts).get(path)
        if value is None:
            return path
        terms[path] = float(value)
        logit += coefficient * float(value)
    terms["model"] = 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, logit))))
    return ""

"""What a candidate is worth now: its priority, the product of the ranking's terms, or a model. Every term is kept.

Of a ranking with a learning model this is what that model's score is multiplied with (`learnt`), and the same of one
that was trained elsewhere (`by_model`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.core.model.definitions import Item, Model, Ranking
from pipeline.core.model.values import Value
from pipeline.core.models.trained import Trained
from pipeline.core.rules.cel.build import CANDIDATE, Facts
from pipeline.core.rules.cel.functions import UNCOMPUTABLE
from pipeline.core.rules.rule import Number


class Score(Value, frozen=True):
    """`terms`: the numbers that made it, by name. `unknown`: what was missing; the score then means nothing."""

    value: float
    terms: dict[str, float]
    unknown: str = ""
    clause: str = ""


def of_item(ranking: Ranking, item: Item) -> Score:
    """The product of the terms that read nothing but the item: worked out once per release."""
    return _product([term for term in ranking.terms if term[1].only_of_candidate], {}, item.facts)


def of_request(ranking: Ranking, facts: Facts) -> Score:
    """The product of the terms that do not read the item: worked out once per placement."""
    return _product([term for term in ranking.terms if not term[1].of_candidate], facts, {})


def score(ranking: Ranking, item: Item, facts: Facts, its: Facts, own: Score, shared: Score) -> Score:
    """The candidate's score. A term that cannot be worked out, or is not a number, makes it unknown.

    `its`: the item's facts, with the subject's features of it.
    Multiplied in this order: the item's own terms, the request's, those that read both, the model.
    """
    if not ranking.terms and ranking.model is None and not ranking.learner and ranking.trained is None:
        priority = float(item.priority)
        return Score(priority, {"priority": priority})
    if own.unknown or shared.unknown:
        return own if own.unknown else shared
    value, terms = own.value * shared.value, {**own.terms, **shared.terms}
    if ranking.mixed:
        both = _product(ranking.mixed, facts, its)
        if both.unknown:
            return both
        value *= both.value
        terms.update(both.terms)
    if ranking.model is not None:
        unknown = _add_model(ranking.model, item, facts, its, terms)
        if unknown:
            return Score(0.0, terms, unknown, "model")
        value *= terms["model"]
    if not math.isfinite(value):
        return Score(0.0, terms, "not a finite number", ranking.id)
    return Score(value, terms)


def by_model(trained: Trained, facts: Facts, items: Sequence[Facts], scores: Sequence[Score]) -> list[Score]:
    """The scores multiplied by the model's, which scores all candidates at once; each as its own facts have it."""
    return [_times(trained, before, answer)
            for before, answer in zip(scores, trained.scores(facts, items), strict=True)]


def _times(trained: Trained, before: Score, answer: float | str) -> Score:
    if isinstance(answer, str):
        return Score(0.0, before.terms, answer, f"model {trained.id}")
    value, terms = before.value * answer, {**before.terms, "model": answer}
    if not math.isfinite(value):
        return Score(0.0, terms, "not a finite number", f"model {trained.id}")
    return Score(value, terms)


def _product(terms: Sequence[tuple[str, Number]], facts: Facts, item: Facts) -> Score:
    seen: dict[str, float] = {}
    product = 1.0
    for name, number in terms:
        try:
            value = float(number.fn(facts, item))
        except KeyError as missing:
            return Score(0.0, seen, str(missing.args[0]), number.text)
        except UNCOMPUTABLE as failed:
            return Score(0.0, seen, str(failed), number.text)
        except Exception as defect:
            defect.add_note(f"ranking term {name!r}: {number.text!r}")
            raise
        for read in number.reads:
            one = (item if read.startswith(CANDIDATE) else facts).get(read)
            if isinstance(one, (int, float)):
                seen[read] = float(one)
        seen[name] = value
        product *= value
    return Score(product, seen)


def _add_model(model: Model, item: Item, facts: Facts, its: Facts, terms: dict[str, float]) -> str:
    """Adds the model's probability to the terms; returns what was missing."""
    logit = model.intercept + model.items.get(item.id, 0.0)
    for path, coefficient in model.coefficients:
        value: Any = (its if path.startswith(CANDIDATE) else facts).get(path)
        if value is None:
            return path
        terms[path] = float(value)
        logit += coefficient * float(value)
    terms["model"] = 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, logit))))
    return ""

"""What a model would have earned in time that it did not learn from: off-policy, by the propensities logged. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.errors import AnalysisError
from analysis.off_policy.estimators import Declared, Estimate, Method, estimate
from analysis.off_policy.intervals import Bootstrap, bootstrap
from analysis.off_policy.log import CELLS_MAX, Bools, Floats, Log, refusals
from analysis.off_policy.reward_models import Means, cross_fitted
from analysis.off_policy.sufficiency import too_few
from analysis.training.learning import Model
from analysis.training.vectors import Rows

_HOW: Final = Bootstrap()
_METHODS: Final = (Method.SNIPS, Method.IPS, Method.DR)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`logged`: the mean reward that was earned, with its interval. `verdict`: higher, lower, not told apart, too few
    data, or no estimate; by SNIPS.
    """

    rows: int
    logged: tuple[float, float, float]
    estimates: tuple[Estimate, ...]
    verdict: str
    notes: tuple[str, ...]


def evaluate(model: Model, rows: Rows, epsilon: float, how: Bootstrap = _HOW) -> Evaluation:
    """The policy that shows the best candidate by the model, and any with probability `epsilon`, on these rows.

    Raises AnalysisError for no rows, or too many.
    """
    if not len(rows):
        raise AnalysisError("no row is held out: train on less (--held-out), or write newer training data")
    items = tuple(sorted({item for one in rows.candidates for item in one}))
    if len(rows) * len(items) > CELLS_MAX:
        raise AnalysisError(f"{len(rows)} rows times {len(items)} items are more than {CELLS_MAX}: take less time")
    number = {item: place for place, item in enumerate(items)}
    eligible = _eligible(rows, number)
    action = np.array([number[item] for item in rows.action], np.int64)
    log = Log(action, rows.reward, rows.pscore, len(items), rows.position, rows.group, eligible)
    target = greedy(model.scores(rows.x, items), eligible, epsilon)
    refused = refusals(log, target)
    table = target if refused or len(np.unique(rows.group)) < 2 else cross_fitted(log, Means(), 2)
    estimates = tuple(estimate(one, log, target, how, Declared(), table) for one in _METHODS)
    middle = bootstrap(rows.reward, np.ones(len(rows)), rows.group, how)
    logged = (float(rows.reward.mean()), middle.low, middle.high)
    few = "" if refused else too_few(log, target)
    notes = (*rows.notes, few) if few else rows.notes
    return Evaluation(len(rows), logged, estimates, _verdict(estimates[0], logged, few), notes)


def greedy(scores: Floats, eligible: Bools, epsilon: float) -> Floats:
    """Probabilities [n, items]: 1 - epsilon shared by the best eligible, epsilon by all eligible. Rows have one."""
    best = np.where(eligible, scores, -np.inf)
    top = best == best.max(axis=1, keepdims=True)
    share = top / top.sum(axis=1, keepdims=True)
    return np.asarray((1 - epsilon) * share + epsilon * eligible / eligible.sum(axis=1, keepdims=True), np.float64)


def _eligible(rows: Rows, number: dict[str, int]) -> Bools:
    table = np.zeros((len(rows), len(number)), np.bool_)
    for place, candidates in enumerate(rows.candidates):
        table[place, [number[item] for item in candidates]] = True
    return table


def _verdict(made: Estimate, logged: tuple[float, float, float], few: str) -> str:
    if made.value is None:
        return "no estimate"
    if few or made.low is None or made.high is None:
        return "too few data"
    if made.low > logged[2]:
        return "higher"
    return "lower" if made.high < logged[1] else "not told apart"

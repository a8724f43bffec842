"""Whether a model is well: how much it explores, whether its inputs drift, whether a snapshot earns less. Pure."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from pipeline.core.model.outcome_record import Outcome
from pipeline.core.model.values import Value, replaced
from pipeline.core.models.learner import Learner

#: Decisions of one of the two windows that are compared, at most and at least.
WINDOW_MAX: Final = 10_000
WINDOW_MIN: Final = 1_000
#: Bins of the population stability index: quantiles of the first window.
BINS: Final = 10
#: What was shown with less than this was not what the model would mostly have shown.
EXPLORED_BELOW: Final = 0.5

#: Showings of a snapshot that can raise the alarm, or be compared with, at least.
SHOWINGS_MIN: Final = 500
#: How many standard errors of the difference are too many.
ERRORS_MAX: Final = 3.0
#: Snapshots that sums are kept of: those that decided last, and besides the last of enough showings.
SNAPSHOTS_KEPT: Final = 3

_PROPENSITY: Final = "propensity"


class Drift(Value, frozen=True):
    """How far one input moved from the first window to the last. `psi`: population stability index; None: too few
    values in `first` or `last`, which count those that are known."""

    name: str
    first: int
    last: int
    psi: float | None


class Health(Value, frozen=True):
    """`showings`: closed ones with a propensity. `explored`: the share of them with one below 0.5; None: there are
    none. `drifts`: numeric features of subject and context, then the propensity itself."""

    showings: int
    explored: float | None
    drifts: list[Drift]


class _Window:
    """The `WINDOW_MAX` showings with the lowest keys, of which at most half of all are compared."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str, float]] = []

    def add(self, key: int, order: int, context: str, propensity: float) -> None:
        entry = (-key, order, context, propensity)
        if len(self._heap) < WINDOW_MAX:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def lowest(self, size: int) -> list[tuple[str, float]]:
        """So many of them: context and propensity."""
        return [(context, propensity) for _, _, context, propensity in heapq.nlargest(size, self._heap)]


class Readings:
    """Exploration and drift by a model's final outcomes, in any order; of others nothing.

    The first window are the showings that were decided first, the last those decided last: `WINDOW_MAX` each, or half
    of all where there are fewer. What is kept meanwhile is bounded by that.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._first, self._last = _Window(), _Window()
        self._showings = self._explored = 0

    def add(self, one: Outcome) -> None:
        """One record of the topic `outcomes`."""
        of_it = one.final and one.model == self._learner.id and one.outcome == self._learner.outcome
        if not of_it or one.pscore is None:
            return
        self._showings += 1
        self._explored += one.pscore < EXPLORED_BELOW
        at_ms = one.at_ms if one.decided_ms is None else one.decided_ms
        self._first.add(at_ms, self._showings, one.context, one.pscore)
        self._last.add(-at_ms, self._showings, one.context, one.pscore)

    def health(self) -> Health:
        """What they come to so far."""
        size = min(WINDOW_MAX, self._showings // 2)
        before, after = (_columns(self._learner, one.lowest(size)) for one in (self._first, self._last))
        return Health(self._showings, self._explored / self._showings if self._showings else None,
                      [drift(name, values, after[name]) for name, values in before.items()])


def _columns(learner: Learner, rows: Sequence[tuple[str, float]]) -> dict[str, list[float]]:
    """Values by input, as the model reads them; what is unknown is left out."""
    numeric = [one for one in learner.of_context if not one.values]
    found: dict[str, list[float]] = {one.path: [] for one in numeric}
    found[_PROPENSITY] = [propensity for _, propensity in rows]
    for context, _ in rows:
        facts = _facts(context) if numeric else {}
        for one in numeric:
            found[one.path] += one.read(facts) or ()
    return found


def _facts(context: str) -> Mapping[str, Any]:
    """Numbers and booleans of a context; of one that is no JSON object none."""
    try:
        facts = json.loads(context)
    except ValueError:
        return {}
    if not isinstance(facts, dict):
        return {}
    return {name: value for name, value in facts.items() if isinstance(value, int | float)}


def drift(name: str, first: Sequence[float], last: Sequence[float]) -> Drift:
    """The drift of one input between two windows, of which each needs `WINDOW_MIN` values."""
    enough = min(len(first), len(last)) >= WINDOW_MIN
    return Drift(name, len(first), len(last), psi(first, last) if enough else None)


def psi(first: Sequence[float], last: Sequence[float]) -> float:
    """Population stability index, at least 0: the sum over bins of (q - p) ln(q / p), with p and q the shares of the
    first and of the last (Siddiqi, "Credit risk scorecards", 2006).

    The bins are the deciles of the first. A value that more than a tenth of it has is a bin of its own, so that a move
    away from it is seen to either side. Half a value is added to every bin, so that an empty one has a share.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(last, dtype=np.float64)
    cuts = np.unique(np.quantile(one, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    values, counts = np.unique(one, return_counts=True)
    heavy = values[counts > len(one) / BINS]
    shares = []
    for each in (one, other):
        bins = 2 * np.searchsorted(cuts, each, side="left") + np.isin(each, heavy)
        shares.append(np.bincount(bins, minlength=2 * len(cuts) + 2).astype(np.float64))
    used = (shares[0] + shares[1]) > 0.0
    p, q = ((each[used] + 0.5) / (each[used] + 0.5).sum() for each in shares)
    return float(((q - p) * np.log(q / p)).sum())


class Earned(Value, frozen=True):
    """Rewards of closed showings that one snapshot chose: their number, mean, and sum of squared distances from it
    (Welford, 1962). `decided_ms`: when the last of them was decided."""

    snapshot: int
    decided_ms: int
    showings: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def with_one(self, reward: float, decided_ms: int) -> Earned:
        """With one more showing."""
        n, off = self.showings + 1, reward - self.mean
        mean = self.mean + off / n
        return replaced(self, decided_ms=max(self.decided_ms, decided_ms), showings=n, mean=mean,
                        squares=self.squares + off * (reward - mean))

    @property
    def error(self) -> float:
        """Standard error of the mean; 0 where there is one showing."""
        return math.sqrt(self.squares / (self.showings - 1) / self.showings) if self.showings > 1 else 0.0


def earned(known: Sequence[Earned], snapshot: int, reward: float, decided_ms: int) -> list[Earned]:
    """What a model's snapshots earned, with one more closed showing; the snapshot that decided last comes first."""
    found = {one.snapshot: one for one in known}
    found[snapshot] = found.get(snapshot, Earned(snapshot, decided_ms)).with_one(reward, decided_ms)
    order = sorted(found.values(), key=lambda one: (-one.decided_ms, -one.snapshot))
    full = next((one for one in order[SNAPSHOTS_KEPT:] if one.showings >= SHOWINGS_MIN), None)
    return [*order[:SNAPSHOTS_KEPT], *([] if full is None else [full])]


def fallen_from(known: Sequence[Earned]) -> Earned | None:
    """The earlier snapshot that the present one earns less than, by more than three standard errors of the difference;
    None: it does not, or one of both has too few showings. Takes the order of `earned`."""
    if not known or known[0].showings < SHOWINGS_MIN:
        return None
    now = known[0]
    before = next((one for one in known[1:] if one.showings >= SHOWINGS_MIN), None)
    if before is None:
        return None
    return before if before.mean - now.mean > ERRORS_MAX * math.hypot(now.error, before.error) else None

"""One place given to one of several items: the draw, and the probability with which it falls on each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.models.posterior import Posterior
from pipeline.core.models.randomness import Chance, Floats


@dataclass(frozen=True, slots=True)
class Drawn:
    """One place. `scores`: the draw of every row of the posterior. `propensities`: of those that could be shown, in
    their order; counted in so many `draws`, 0: exact."""

    #: Index among those that could be shown.
    pick: int
    scores: list[float]
    propensities: list[float]
    draws: int

    def error(self, propensity: float) -> float:
        """The standard error of a propensity; 0.0 where it is exact."""
        return math.sqrt(propensity * (1.0 - propensity) / self.draws) if self.draws else 0.0


def drawn(posterior: Posterior, rows: Sequence[int], epsilon: float, min_share: float, *seed: str) -> Drawn:
    """Draw one of the rows: with the explored share of all draws each alike, else the largest score.

    :param rows: those that could be shown, at least one.
    :param seed: decision, placement, model and place: the same give the same draw.
    """
    chance = Chance("model", *seed)
    explored, which = chance.two
    index = np.array(rows, dtype=np.intp)
    scores = posterior.sampled(chance)
    share = explored_share(len(index), epsilon, min_share)
    exact, draws = posterior.largest(index, "propensity", *seed)
    if explored < share:
        pick = int(which * len(index))
    else:
        ties = np.flatnonzero(scores[index] == scores[index].max())
        pick = int(ties[int(which * len(ties))])
    found = mixed(exact, share)
    if draws:
        # The draw that was made is one of those that are counted: what was chosen has a chance.
        found = found * (draws / (draws + 1.0))
        found[pick] += 1.0 / (draws + 1.0)
    return Drawn(pick, scores.tolist(), found.tolist(), draws)


def best(bounds: list[float], rows: Sequence[int], epsilon: float, min_share: float, *seed: str) -> Drawn:
    """As `drawn`, of a model that does not draw: its scores are the same at every place. In plain Python, as NumPy's
    calls would take longer than what they do here."""
    explored, which = Chance("model", *seed).two
    there = [bounds[row] for row in rows]
    most = max(there)
    ties = [index for index, score in enumerate(there) if score == most]
    share = explored_share(len(there), epsilon, min_share)
    least, own = share / len(there), (1.0 - share) / len(ties)
    pick = int(which * len(there)) if explored < share else ties[int(which * len(ties))]
    return Drawn(pick, bounds, [least + own if score == most else least for score in there], 0)


def explored_share(count: int, epsilon: float, min_share: float) -> float:
    """Of all draws the share in which each of `count` items has the same chance: epsilon, and what it takes for each to
    have at least `min_share`. Where there are too many items for that, all have the same."""
    return 1.0 - (1.0 - epsilon) * (1.0 - min(1.0, count * min_share))


def mixed(propensities: Floats, share: float) -> Floats:
    """The chance of each where a share of all draws is uniform. Sums to 1 as the propensities do."""
    return (1.0 - share) * propensities + share / len(propensities)

"""`python -m analysis.shop`: the models of the engine in a simulated shop. Everything here is simulated.

Subjects of four segments come one by one and are shown one of five items; each clicks with a probability of its
segment and item (`TASTES`). Half-way the taste changes: every segment likes another item from then on. The models are
the engine's own (`pipeline/core/models`), with snapshots, delayed rewards, decay and exploration as in a pipeline.
Regret is what the best item of each segment would have brought on average, less what the shown one does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table

from pipeline.core.model.learning import Observation
from pipeline.core.model.values import Value
from pipeline.core.models.learner import Feature, Learner
from pipeline.core.models.posterior import Posterior
from pipeline.core.models.randomness import Chance
from pipeline.core.models.selection import explored_share
from pipeline.core.models.snapshots import worked_out
from pipeline.core.models.statistics import Statistics

Floats = NDArray[np.float64]

SEGMENTS: Final = ("new", "bargain", "loyal", "expert")
ITEMS: Final = ("boots", "tents", "jackets", "maps", "lamps")
#: The probability of a click, by segment and item, before the change. No item is the best of two segments.
TASTES: Final[Floats] = np.array([
    [0.30, 0.10, 0.08, 0.05, 0.12],
    [0.08, 0.28, 0.12, 0.06, 0.10],
    [0.12, 0.06, 0.32, 0.10, 0.08],
    [0.06, 0.12, 0.10, 0.30, 0.14],
])
#: A snapshot is cut after so many showings, and a reward is known so many showings after its decision.
SNAPSHOT_EVERY: Final = 100
DELAY: Final = 50
#: What was learnt weighs half after so many showings.
HALF_LIFE: Final = 600
#: Two-sided 95 % of Student's t with 19 degrees of freedom, for 20 seeds; for others the normal's is too short, so
#: that no other number of seeds is offered.
SEEDS: Final = 20
T_95: Final = 2.093

_VECTORS: Final = tuple((1.0, *(1.0 if one == place else 0.0 for one in range(len(SEGMENTS))))
                        for place in range(len(SEGMENTS)))
_SEGMENT: Final = (Feature("profile.segment", SEGMENTS),)


class Run(Value, frozen=True):
    """One seed: the regret of each showing (clicks expected), and the clicks that came."""

    regret: tuple[float, ...]
    clicks: int


#: Which item is shown: from the showing's number, its segment and the chance's seed.
Choose = Callable[[int, int, str], int]
#: Told of a reward when it is known: the segment, the item, the reward.
Learn = Callable[[int, int, float], None]


def tastes(showing: int, showings: int) -> Floats:
    """The probabilities at a showing; from half-way on each segment likes what the next one liked before."""
    return TASTES if showing < showings // 2 else np.roll(TASTES, 1, axis=0)


def run(choose: Choose, learn: Learn, seed: int, showings: int) -> Run:
    """One shop with one way to choose. The same seed has the same subjects and the same luck for every way."""
    luck = Chance("shop", str(seed)).uniforms(2 * showings)
    regret, waiting, clicks = [], [], 0
    for showing in range(showings):
        segment = int(luck[2 * showing] * len(SEGMENTS))
        likes = tastes(showing, showings)[segment]
        item = choose(showing, segment, f"{seed}/{showing}")
        reward = float(luck[2 * showing + 1] < likes[item])
        clicks += int(reward)
        regret.append(float(likes.max() - likes[item]))
        waiting.append((segment, item, reward))
        if showing >= DELAY:
            learn(*waiting[showing - DELAY])
    return Run(tuple(regret), clicks)


class Learning:
    """A model of the engine, as its writer and its decisions have it: statistics, and the last snapshot of them."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._statistics = Statistics()
        self._posteriors = self._cut()

    def _cut(self) -> list[Posterior]:
        """What a new snapshot says of the items, by segment."""
        one = self._learner
        snapshot = worked_out(one, self._statistics)
        return [snapshot.posterior(one, ITEMS, [vector if one.columns else ()] * len(ITEMS)) for vector in _VECTORS]

    def choose(self, showing: int, segment: int, seed: str) -> int:
        """Index of the item that is shown."""
        if showing and showing % SNAPSHOT_EVERY == 0:
            self._statistics = self._statistics.decayed(0.5 ** (SNAPSHOT_EVERY / HALF_LIFE))
            self._posteriors = self._cut()
        posterior, chance = self._posteriors[segment], Chance("choose", seed)
        explored, which = chance.two
        if explored < explored_share(len(ITEMS), self._learner.epsilon, self._learner.min_share):
            return int(which * len(ITEMS))
        # As decisions choose; without the propensities, which nothing here reads and which take most of the time.
        scores = posterior.bounds() if posterior.family == "fixed" else posterior.sampled(chance)
        ties = np.flatnonzero(scores == scores.max())
        return int(ties[int(which * len(ties))])

    def learn(self, segment: int, item: int, reward: float) -> None:
        """Take one reward, when it is known."""
        vector = _VECTORS[segment] if self._learner.columns else ()
        self._statistics = self._statistics.updated(Observation(ITEMS[item], vector, reward), self._learner)


def learner(kind: str) -> Learner:
    """The model that is shown at work. Its width is that of rewards of 0 and 1, of which few are 1."""
    if kind == "beta":
        return Learner("shop", "beta", "click", epsilon=0.02, prior_mean=0.2)
    return Learner("shop", "linucb" if kind == "linucb" else "linear_thompson", "click", _SEGMENT, epsilon=0.02,
                   width=0.35)


def _nothing(segment: int, item: int, reward: float) -> None:
    """What does not learn."""


def _uniform(showing: int, segment: int, seed: str) -> int:
    return int(Chance("uniform", seed).uniforms(1)[0] * len(ITEMS))


def best_fixed(showings: int) -> int:
    """The item that would bring most, were it shown to everybody all the time; known to nobody beforehand."""
    half = showings // 2
    return int(np.argmax(half * tastes(0, showings).sum(axis=0) + (showings - half) *
                         tastes(showings, showings).sum(axis=0)))


def runs(kind: str, seeds: Sequence[int], showings: int) -> list[Run]:
    """Every seed with one way to choose: a kind of model, `uniform` or `best fixed`."""
    found, item = [], best_fixed(showings)

    def fixed(showing: int, segment: int, seed: str) -> int:
        return item

    for seed in seeds:
        if kind in ("uniform", "best fixed"):
            found.append(run(_uniform if kind == "uniform" else fixed, _nothing, seed, showings))
        else:
            one = Learning(learner(kind))
            found.append(run(one.choose, one.learn, seed, showings))
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval (Student's t over the seeds)."""
    return float(np.mean(values)), T_95 * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def by_block(found: Sequence[Run], blocks: int) -> list[tuple[float, float]]:
    """Regret per showing in equal parts of the time, with intervals over the seeds."""
    parts = np.array([np.array(one.regret).reshape(blocks, -1).mean(axis=1) for one in found])
    return [interval(parts[:, block].tolist()) for block in range(blocks)]


KINDS: Final = ("linucb", "linear_thompson", "beta", "best fixed", "uniform")


def main(
    showings: Annotated[int, typer.Option(min=800, help="Showings of one run; a multiple of 8.")] = 4_000,
) -> None:
    """Regret and clicks of every way to choose, over 20 seeds. Simulated."""
    if showings % 8:
        raise typer.BadParameter("a multiple of 8, so that its eighths are equal")
    found = {kind: runs(kind, range(SEEDS), showings) for kind in KINDS}
    console = Console(highlight=False, width=150)
    console.print(f"Simulated: {SEEDS} seeds, {showings:,} showings each, the taste changes after {showings // 2:,}. "
                  "Means with 95 % intervals.")
    regret = Table("regret per 1,000 showings", *(Column(f"{place}/8", justify="right") for place in range(1, 9)))
    total = Table("way", *(Column(name, justify="right")
                           for name in ("clicks", "more than best fixed", "than uniform")))
    for kind, own in found.items():
        regret.add_row(kind, *(f"{1_000 * mean:.0f} ± {1_000 * half:.0f}" for mean, half in by_block(own, 8)))
        total.add_row(kind, _text([one.clicks for one in own]), *(
            _text([one.clicks - other.clicks for one, other in zip(own, found[rival], strict=True)])
            for rival in ("best fixed", "uniform")))
    console.print(regret, total)


def _text(values: Sequence[float]) -> str:
    mean, half = interval(values)
    return f"{mean:,.0f} ± {half:,.0f}"


if __name__ == "__main__":
    typer.run(main)

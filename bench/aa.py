"""`python -m bench.aa`: false alarms of the experiment report over simulated A/A runs, each looked at twenty times.

Both variations are the same, so every alarm is a false one. Subjects are simulated: dealt by chance, with outcomes from
three distributions. The fixed interval is counted beside, as an experiment that is stopped at the first look it likes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import typer

from analysis.experiments.arms import Arm
from analysis.experiments.compare import LOOKS, Declared, looks
from analysis.experiments.sample_ratio import sample_ratio

Floats: TypeAlias = npt.NDArray[np.float64]
Chance: TypeAlias = np.random.Generator


def conversions(chance: Chance, n: int) -> Floats:
    """One subject in twenty converts."""
    return (chance.random(n) < 0.05).astype(np.float64)


def orders(chance: Chance, n: int) -> Floats:
    """Counts with a long tail: Poisson with a gamma-distributed mean."""
    return chance.poisson(chance.gamma(0.5, 2.0, n)).astype(np.float64)


def revenue(chance: Chance, n: int) -> Floats:
    """One in five buys, for a log-normal amount."""
    return np.where(chance.random(n) < 0.2, chance.lognormal(3.0, 0.8, n), 0.0)


OUTCOMES: Final[dict[str, Callable[[Chance, int], Floats]]] = {
    "conversions": conversions, "orders": orders, "revenue": revenue,
}


@dataclass(frozen=True, slots=True)
class Alarms:
    """Runs in which at least one of the looks raised an alarm. `fixed`: by the interval that is made for one look."""

    outcome: str
    runs: int
    looks: int
    subjects: int
    alpha: float
    sequential: int
    fixed: int
    sample_ratio: int


def alarms(outcome: str, runs: int, subjects: int, alpha: float = 0.05, seed: int = 0) -> Alarms:
    """Count them over `runs` simulated A/A experiments of `subjects` each, both variations together."""
    how = Declared(alpha=alpha, tuned_at=subjects)
    sequential = fixed = ratio = 0
    for run in range(runs):
        chance = np.random.Generator(np.random.Philox(key=[seed, run]))
        values, side = OUTCOMES[outcome](chance, subjects), chance.random(subjects) < 0.5
        arms = [_arm(name, values, np.flatnonzero(side == treated)) for name, treated in (("a", False), ("b", True))]
        seen = [look.effect for look in looks(arms[0], arms[1], how, alpha) if look.effect is not None]
        sequential += any(one.low > 0 or one.high < 0 for one in seen)
        fixed += any(one.once_low > 0 or one.once_high < 0 for one in seen)
        ends = np.linspace(0, subjects, LOOKS + 1)[1:].astype(int)
        dealt = [int(side[:end].sum()) for end in ends]
        counts = [(int(end) - inside, inside) for end, inside in zip(ends, dealt, strict=True)]
        ratio += any(sample_ratio(pair, (1, 1), alpha).alarm for pair in counts)
    return Alarms(outcome, runs, LOOKS, subjects, alpha, sequential, fixed, ratio)


def _arm(name: str, values: Floats, index: npt.NDArray[np.int64]) -> Arm:
    return Arm(name, values[index], np.ones(len(index)), index)


def main(
    runs: Annotated[int, typer.Option(min=1)] = 1000,
    subjects: Annotated[int, typer.Option(min=400)] = 4000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Print the share of runs with a false alarm. Ends with status 1 where one is above alpha."""
    made = [alarms(name, runs, subjects, seed=seed) for name in OUTCOMES]
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in made], indent=2))
    else:
        typer.echo(f"{runs:,} simulated A/A runs of {subjects:,} subjects, {LOOKS} looks each, alpha {made[0].alpha}")
        for one in made:
            typer.echo(
                f"{one.outcome:<12} sequential {one.sequential / runs:6.1%}   fixed interval {one.fixed / runs:6.1%}   "
                f"sample ratio {one.sample_ratio / runs:6.1%}"
            )
    if any(max(one.sequential, one.sample_ratio) > one.alpha * one.runs for one in made):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)

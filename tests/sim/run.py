"""One seed from start to verdict; used by `make sim`, by the tests and for planted bugs."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.sim.oracle import judge
from tests.sim.simulation import Simulation, StuckError


@dataclass(slots=True)
class Finding:
    """What is wrong with a seed; nothing, where every promise was kept."""

    seed: int
    wrong: list[str]
    trace: list[str] = field(default_factory=list)


def examine(seed: int, trace: bool = False) -> Finding:
    """Run a seed and judge it."""
    sim = Simulation(seed, trace)
    try:
        sim.run()
    except StuckError as error:
        wrong = [str(error)]
    else:
        wrong = judge(sim)
    return Finding(seed, wrong, sim.trace or [])


def examine_all(seeds: Iterable[int]) -> list[Finding]:
    """Run seeds; returns those with something wrong."""
    findings = []
    gc.disable()
    try:
        for number, seed in enumerate(seeds):
            finding = examine(seed)
            if finding.wrong:
                findings.append(finding)
            if number % 50 == 49:
                gc.collect()
    finally:
        gc.enable()
    return findings

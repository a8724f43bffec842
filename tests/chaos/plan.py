"""What is done to the installation and when: drawn from the seed beforehand, so that the same seed is the same plan."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

KILL: Final = "kill -9"
BROKER: Final = "broker restart"
FREEZE: Final = "freeze"
JOIN: Final = "join"
LEAVE: Final = "leave"

#: The load runs undisturbed for so long at its beginning, so that there is something to break.
CALM_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """One run, as asked for."""

    requests: int = 50_000
    kills: int = 20
    rate: float = 150.0
    seed: int = 1
    workers: int = 3
    bridges: int = 2
    freeze_s: float = 60.0
    #: Of the requests, the share that goes over the topics instead of HTTP.
    over_topics: float = 0.2
    #: How long a killed worker stays away at most.
    away_s: float = 3.0
    #: The share of the kills after which the group is told, as `nextbest up` does; of the others the session runs out.
    told: float = 0.7
    session_timeout_ms: int = 6_000
    #: A safeguard to take out of every worker (tests/sim/mutants.py), to see that it is noticed.
    mutant: str = ""

    @property
    def load_s(self) -> float:
        """How long the load takes."""
        return self.requests / self.rate


@dataclass(frozen=True, slots=True)
class Fault:
    """One act against the installation, `at_s` after the load began. `chance` picks its victim when it comes."""

    at_s: float
    kind: str
    chance: float
    #: How long the worker stays away (kill) or frozen.
    lasts_s: float = 0.0
    told: bool = False


def faults(options: Options) -> list[Fault]:
    """The plan, in order of time: every kill, one freeze, one broker restart, two workers that join and leave.

    Moments are spread over the load, each at random in its own share of it: a fault may well meet the one before it
    under way.
    """
    rng = random.Random(f"faults {options.seed}")
    kinds = [KILL] * options.kills + [BROKER, JOIN, JOIN]
    rng.shuffle(kinds)
    # Who joined leaves some time later.
    for place in sorted((place for place, kind in enumerate(kinds) if kind == JOIN), reverse=True):
        kinds.insert(rng.randint(min(place + 2, len(kinds)), len(kinds)), LEAVE)
    share_s = max(options.load_s - CALM_S, 1.0) / len(kinds)
    plan = [
        Fault(CALM_S + share_s * (place + rng.random() * 0.9), kind, rng.random(),
              rng.uniform(0.0, options.away_s) if kind == KILL else 0.0, kind == KILL and rng.random() < options.told)
        for place, kind in enumerate(kinds)
    ]
    latest_s = max(options.load_s - options.freeze_s, CALM_S)
    plan.append(Fault(rng.uniform(CALM_S, latest_s), FREEZE, rng.random(), options.freeze_s))
    return sorted(plan, key=lambda fault: fault.at_s)

"""`python -m bench.models`: models alone and in a decision, on one core. Statistics are simulated.

Predict and update: 10 arms, 20 features. Decide: 50 rules, 10 caps, 3 experiments, 100 candidates and 20 features,
every candidate explained; with a model beside the same decision without, by turns. No broker, no codecs.
"""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
import yaml
from rich.console import Console
from rich.table import Column, Table

from bench import offers
from bench.latencies import Latencies
from pipeline.core.decide.decision import decide
from pipeline.core.decide.live import Live, with_models
from pipeline.core.model.learning import ModelSnapshot, Observation
from pipeline.core.models.learner import Learner
from pipeline.core.models.randomness import Chance
from pipeline.core.models.snapshots import body_of, digest_of
from pipeline.core.models.statistics import Statistics, inverse_after
from pipeline.core.rules import segments

CANDIDATES: Final = 100
ARMS: Final = 10
FEATURES: Final = 20
UPDATE_TARGET_US: Final = 50.0
RATIO_TARGET: Final = 1.5
TURNS: Final = 20
SUBJECTS: Final = 50
#: The models that are compared: without any, and two whose other terms multiply their score.
KINDS: Final = ("none", "linucb", "linear_thompson")
#: Twenty columns of subject and context.
READ: Final[list[Any]] = [
    {"fact": "profile.age", "divide_by": 100.0}, {"fact": "profile.spent", "divide_by": 1_000.0},
    {"fact": "profile.orders", "divide_by": 10.0}, "profile.blocked", {"fact": "signals.visits", "divide_by": 10.0},
    {"fact": "context.basket", "divide_by": 100.0}, {"fact": "context.device", "values": ["phone", "desktop"]},
    "features.propensity", {"fact": "profile.country", "values": list(offers.COUNTRIES)},
    *(f"segment.group_{number}" for number in range(4)),
]


def predict_and_update(calls: int) -> list[float]:
    """µs of processor time of scoring 10 arms by LinUCB and learning one reward, by Sherman and Morrison."""
    chance = Chance("bench")
    inverse, b = np.tile(np.eye(FEATURES), (ARMS, 1, 1)), np.zeros((ARMS, FEATURES))
    times = []
    for _ in range(calls):
        x = chance.normals(FEATURES)
        began_ns = time.thread_time_ns()
        part = (inverse.reshape(-1, FEATURES) @ x).reshape(ARMS, FEATURES)
        # x A⁻¹ b, as A⁻¹ is symmetric.
        mean = np.einsum("ni,ni->n", part, b)
        arm = int(np.argmax(mean + np.sqrt(part @ x)))
        inverse[arm] = inverse_after(inverse[arm], x)
        b[arm] += x
        times.append((time.thread_time_ns() - began_ns) / 1_000)
    return times


def loop_s() -> float:
    """Seconds of ten million turns of an empty loop: in which phase the machine is."""
    began_s = time.thread_time()
    for _ in range(10_000_000):
        pass
    return time.thread_time() - began_s


def arranged(folder: Path, kind: str) -> Live:
    """The policy of `bench.decide` at 100 candidates, with a model of the kind that has learnt of each of them."""
    offers.write(folder, CANDIDATES, CANDIDATES)
    path = folder / "policy.yaml"
    policy = yaml.safe_load(path.read_text("utf-8"))
    if kind == "none":
        return offers.live(folder)
    policy["models"] = {"hero": {"kind": kind, "outcome": "click", "features": READ, "exploration": {"epsilon": 0.02}}}
    policy["outcomes"] = {"click": {"event": {"event": "click"}, "window": "1d"}}
    policy["rankings"]["arbitration"]["model"] = "hero"
    path.write_text(yaml.safe_dump(policy), "utf-8")
    live = offers.live(folder)
    learner = live.policy.models["hero"]
    body = body_of(_learnt(learner, live), ())
    return with_models(live, [ModelSnapshot(live.tenant, "hero", 1, 1, learner.form, 1, body, digest_of(body))])


def _learnt(learner: Learner, live: Live) -> Statistics:
    chance, found = Chance("simulated"), Statistics()
    for name in live.items:
        for _ in range(25):
            vector = (1.0, *chance.uniforms(learner.columns - 1).tolist())
            found = found.updated(Observation(name, vector, float(chance.uniforms(1)[0] < 0.1)), learner)
    return found


class Deciding:
    """One policy under measurement, in turns with the others."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._profiles = [segments.refresh(offers.profile(number), live.policy, offers.NOW_MS)[0]
                          for number in range(SUBJECTS)]
        self.times: list[float] = []

    def turn(self, seconds: float) -> None:
        """Some more calls, each with another request and subject."""
        gc.collect()
        gc.disable()
        end_s = time.perf_counter() + seconds
        while time.perf_counter() < end_s:
            number = len(self.times)
            request, profile = offers.request(number), self._profiles[number % SUBJECTS]
            began_ns = time.thread_time_ns()
            decide(request, profile, self._live, offers.NOW_MS)
            self.times.append((time.thread_time_ns() - began_ns) / 1_000)
        gc.enable()


def main(
    seconds: Annotated[float, typer.Option(help="How long each decision is measured.")] = 4.0,
    calls: Annotated[int, typer.Option(help="How often a model predicts and learns.")] = 5_000,
) -> None:
    """Models alone and in a decision."""
    console = Console(highlight=False)
    deciding = {}
    with tempfile.TemporaryDirectory(prefix="nextbest-bench-") as folder:
        for kind in KINDS:
            deciding[kind] = Deciding(arranged(Path(folder) / kind, kind))
    began = loop_s()
    predict_and_update(200)
    alone = Latencies(predict_and_update(calls)).percentile(50)
    for _ in range(TURNS):
        for one in deciding.values():
            one.turn(seconds / TURNS)
    ended = loop_s()
    table = Table(*(Column(name, justify="right") for name in ("model", "p50 µs", "p95 µs", "ratio")))
    without = Latencies(deciding["none"].times).percentile(50)
    for kind, one in deciding.items():
        times = Latencies(one.times)
        table.add_row(kind, f"{times.percentile(50):,.0f}", f"{times.percentile(95):,.0f}",
                      f"{times.percentile(50) / without:.2f}")
    console.print(table)
    console.print(f"{_held(alone, UPDATE_TARGET_US)}  predict and update: {alone:.1f} µs, at most "
                  f"{UPDATE_TARGET_US:g} µs")
    ratio = Latencies(deciding["linucb"].times).percentile(50) / without
    console.print(f"{_held(ratio, RATIO_TARGET)}  with LinUCB / without: {ratio:.2f}, at most {RATIO_TARGET:g}")
    console.print(f"10M empty loops took {began:.2f} s before and {ended:.2f} s after")


def _held(value: float, most: float) -> str:
    return "[green]holds[/]" if value <= most else "[red]broken[/]"


if __name__ == "__main__":
    typer.run(main)

"""`python -m bench.beside CHECKOUT`: the whole way through a real broker, beside another version of this project.

Each turn starts an installation of its own (broker, worker, bridge) with the code and the packages of one checkout, and
the checkouts take turns, so that a machine whose speed changes is the same to both. A ratio is the median over pairs of
turns. The first throughput run and the first latency round of a turn are not counted.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

SUBJECTS: Final = 10_000
REQUESTS: Final = 20_000
RUNS: Final = 2
RATE: Final = 200
ROUNDS: Final = 4
ROUND_S: Final = 8.0
WARM_S: Final = 2.0
READY_S_MAX: Final = 120.0
ROUND_S_MAX: Final = 90.0
TURN_S_MAX: Final = 900.0

#: What is measured, in this order.
FIGURES: Final = (
    "decisions/s, lying ready", "worker, µs each", "broker, µs each", f"p50 at {RATE}/s, ms", f"p95 at {RATE}/s, ms",
    f"worker at {RATE}/s, µs each", "not decided, of a thousand",
)


def work(directory: Path) -> list[float]:
    """One turn with the code of whichever checkout is imported: the median of each of FIGURES."""
    # Which need not be this one: only what an older version of the benchmark has too is called.
    from bench import run, throughput
    from bench.cluster import Cluster
    from bench.inputs import Subjects
    from bench.parts import Parts
    from bench.plan import FULL
    from pipeline.adapters.topic_admin import ensure_topics
    from pipeline.settings import Settings
    from topics.catalog import IDENTITY_EVENTS

    at_ms = time.time_ns() // 1_000_000
    with Parts(directory, lambda: None) as parts:
        broker = parts.start_broker(lambda _: None)
        cluster = Cluster(Settings(bootstrap=broker.bootstrap))
        ensure_topics(cluster.settings)
        run.publish(cluster, at_ms)
        worker = parts.start_worker()
        parts.start_bridge()
        cluster.send(IDENTITY_EVENTS.name, Subjects(cluster.settings, "asking", SUBJECTS).known(at_ms))
        parts.wait(
            "the subjects", lambda: not cluster.lag(cluster.settings.app_id, IDENTITY_EVENTS), READY_S_MAX)
        side = throughput.nextbest(cluster, worker)
        plan = replace(FULL, subjects=SUBJECTS, requests=REQUESTS, runs=RUNS)
        throughput.measure(parts, cluster, plan, [side], at_ms, lambda *_: None)
        rounds = [_round(parts, cluster, worker, number) for number in range(ROUNDS)]
    runs = side.runs[1:]
    return [
        statistics.median(one.per_s for one in runs),
        statistics.median(one.cpu_us or 0.0 for one in runs),
        statistics.median(one.broker_cpu_us or 0.0 for one in runs),
        *(statistics.median(column) for column in zip(*rounds[1:], strict=True)),
    ]


def _round(parts: Any, cluster: Any, worker: Any, number: int) -> tuple[float, float, float, float]:
    """p50 and p95 (ms) over HTTP, the worker's processor time for each request (µs), failures in a thousand."""
    from bench import client

    result = parts.directory / f"client-{number}.json"
    each = round(RATE * (ROUND_S + WARM_S) * 1.1)
    order = client.Order(
        client.BRIDGE, cluster.settings.bootstrap, parts.http_port, RATE, ROUND_S, WARM_S, SUBJECTS, number * each,
        number, str(result),
    )
    before_s = worker.cpu_s()
    parts.run("client", ["-m", "bench.client", json.dumps(asdict(order))], ROUND_S_MAX)
    used_s = worker.cpu_s() - before_s
    found = client.Result(**json.loads(result.read_text("utf-8")))
    percentiles = statistics.quantiles(found.latencies_ms, n=20)
    return (
        percentiles[9], percentiles[18], used_s / (RATE * (ROUND_S + WARM_S)) * 1e6,
        sum(found.errors.values()) / (RATE * ROUND_S) * 1000,
    )


def turn(checkout: Path) -> list[float]:
    """One turn in a process of its own, with the environment of the checkout. Ends the program where it fails."""
    with tempfile.TemporaryDirectory(prefix="nextbest-beside-") as directory:
        done = subprocess.run(
            [str(checkout / ".venv/bin/python"), "-P", __file__, "--work", directory, str(checkout)],
            cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)}, capture_output=True, text=True,
            timeout=TURN_S_MAX,
        )
    if done.returncode:
        sys.exit(f"nothing was measured in {checkout}:\n{done.stderr[-1500:]}")
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(own: list[list[float]], other: list[list[float]], checkout: Path, console: Console) -> None:
    """Every turn of both, and the median of the pairs' ratios."""
    table = Table("", f"in {checkout}", "here", "median of the ratios")
    for column, name in enumerate(FIGURES):
        pairs = [(one[column], two[column]) for one, two in zip(own, other, strict=True)]
        ratios = [one / two for one, two in pairs if two]
        table.add_row(
            name, ", ".join(f"{two:,.4g}" for _, two in pairs), ", ".join(f"{one:,.4g}" for one, _ in pairs),
            f"{statistics.median(ratios):.2f} ×" if ratios else "",
        )
    console.print(table)


def main(
    checkout: Annotated[Path, typer.Argument(help="Another version of this project, with its .venv.", exists=True)],
    turns: Annotated[int, typer.Option(help="Turns of each; about three minutes for one.")] = 5,
    directory: Annotated[Path | None, typer.Option("--work", hidden=True)] = None,
) -> None:
    """Throughput, latency and processor time of this version and another one, in turn."""
    if directory is not None:
        print(json.dumps(work(directory)))
        return
    console = Console()
    own: list[list[float]] = []
    other: list[list[float]] = []
    both = [(own, Path(__file__).absolute().parents[1]), (other, checkout.absolute())]
    for number in range(turns):
        for kept, where in both if number % 2 == 0 else reversed(both):
            kept.append(turn(where))
        show(own, other, checkout, console)


if __name__ == "__main__":
    typer.run(main)

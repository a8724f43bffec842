"""The results as a person reads them: tables, ratios, and whether the promises hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table

from bench.figures import ratio
from bench.plan import QUICK

#: What is promised, at the promised rate (docs/benchmarks.md).
P95_TO_ECHO_MAX: Final = 4.0
P99_MS_MAX: Final = 50.0
TO_QUIX_MIN: Final = 1.0
P95_TO_NULL_MAX: Final = 1.7

DIFFERENCE: Final = (
    "Nextbest's outputs become visible after the broker has acknowledged the state behind them; "
    "those of Quix Streams before, its state at the next checkpoint."
)

#: The share of the machine that others may take before the figures say more about them.
QUIET_MAX: Final = 0.1


def show(results: dict[str, Any], console: Console) -> None:
    """Print everything that a person wants to see of the results."""
    console.print(_latency(results))
    console.print(_throughput(results["throughput"]))
    console.print(f"[dim]{DIFFERENCE}[/]", highlight=False)
    console.print(recovery(results["recovery"]), highlight=False)
    if results["plan"] == QUICK.name:
        console.print("A quick run shows that everything works; its figures mean nothing.")
        return
    for said, held in promises(results):
        mark = {True: "[green]holds[/]", False: "[red]broken[/]", None: "[dim]not measured[/]"}[held]
        console.print(f"{mark}  {said}", highlight=False)
    console.print(weather(results["machine"]), highlight=False)


def recovery(figures: dict[str, Any]) -> str:
    """How fast state came back."""
    said = (
        f"Recovery of {figures['records']:,} changelog records by a worker without local state: "
        f"{figures['nextbest_s']:g} s, {figures['nextbest_per_s']:,}/s"
    )
    if figures["faust_s"] is None:
        return f"{said}."
    return f"{said}; by plain Faust: {figures['faust_s']:g} s, {figures['faust_per_s']:,}/s."


def weather(machine: dict[str, Any]) -> str:
    """How much of the machine was not ours."""
    others, stolen = machine["others_share"], machine["stolen_share"]
    if others is None or stolen is None:
        return "What else ran on this machine meanwhile is not known."
    said = f"Of {machine['cores']} processors others on this machine took {others:.0%}, its neighbours {stolen:.0%}"
    return f"{said}: measure again when it is quieter." if others + stolen > QUIET_MAX else f"{said}."


def promises(results: dict[str, Any]) -> Iterator[tuple[str, bool | None]]:
    """What is promised, with the measured value, and whether it holds; None where it was not measured."""
    decide, ratios = results["decide"], results["ratios"]
    errors = sum(decide["errors"].values())
    p95, quix = ratios["decide_p95_to_echo_p95"], ratios["nextbest_to_quix"]
    rate = f"at {decide['rate_per_s']}/s"
    yield f"p95 through the bridge {rate} is {p95} × the bare echo's, at most {P95_TO_ECHO_MAX:g} ×", (
        None if p95 is None else p95 <= P95_TO_ECHO_MAX)
    null = ratios.get("decide_p95_to_null_p95")
    yield f"it is {null} × the null worker's, at most {P95_TO_NULL_MAX:g} × (an aim)", (
        None if null is None else null <= P95_TO_NULL_MAX)
    p99 = decide.get("p99_ms")
    yield f"p99 through the bridge {rate} is {p99} ms, under {P99_MS_MAX:g} ms", (
        None if p99 is None else p99 < P99_MS_MAX)
    yield f"{errors} errors through the bridge {rate}", errors == 0
    yield f"throughput is {quix or '?'} × that of Quix Streams, at least {TO_QUIX_MIN:g} ×", (
        None if quix is None else quix >= TO_QUIX_MIN)


def _latency(results: dict[str, Any]) -> Table:
    names = ("/s", "p50", "p95", "p99", "max", "p95 × echo", "errors")
    table = Table("Latency, ms", *(Column(name, justify="right", no_wrap=True) for name in names))
    high = results["high"]
    for name, echo, one in (
        ("bare echo", results["echo"], results["echo"]),
        ("null worker", results["echo"], results.get("null_worker")),
        ("decide over topics", results["echo"], results["decide_over_topics"]),
        ("decide by bridge", results["echo"], results["decide"]),
        ("bare echo", high["echo"], high["echo"]),
        ("null worker", high["echo"], high.get("null_worker")),
        ("decide by bridge", high["echo"], high["decide"]),
    ):
        if one is None or "p50_ms" not in one:
            continue
        times = ratio(one["p95_ms"], echo.get("p95_ms"))
        table.add_row(
            name, str(one["rate_per_s"]), *(f"{one[key]:.1f}" for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms")),
            "" if times is None else f"{times:.1f}", str(sum(one["errors"].values())),
        )
    return table


def _throughput(figures: dict[str, Any]) -> Table:
    names = ("median", "runs", "CPU µs each", "broker's")
    table = Table("Requests/s", *(Column(name, justify="right") for name in names))
    for name, side in (("Nextbest", "nextbest"), ("Quix Streams", "quix")):
        if figures.get(f"{side}_per_s") is None:
            continue
        runs, own, broker = (
            " ".join("?" if value is None else f"{value:,.0f}" for value in figures[f"{side}_{what}"])
            for what in ("runs_per_s", "cpu_us_per_request", "broker_cpu_us_per_request")
        )
        table.add_row(name, f"{figures[f'{side}_per_s']:,}", runs, own, broker)
    return table

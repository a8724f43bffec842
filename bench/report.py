"""The results as a person reads them: tables, ratios, and whether the promises hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table

#: What is promised, at the promised rate (docs/benchmarks.md).
P95_TO_ECHO_MAX: Final = 4.0
P99_MS_MAX: Final = 50.0
TO_QUIX_MIN: Final = 1.0

#: The share of the machine that others may take before the figures say more about them.
QUIET_MAX: Final = 0.1


def show(results: dict[str, Any], console: Console) -> None:
    """Print everything that a person wants to see of the results."""
    console.print(_latency(results))
    console.print(_throughput(results["throughput"]))
    for said, held in promises(results):
        mark = {True: "[green]holds[/]", False: "[red]broken[/]", None: "[dim]not measured[/]"}[held]
        console.print(f"{mark}  {said}", highlight=False)
    console.print(weather(results["machine"]), highlight=False)


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
    p99 = decide.get("p99_ms")
    yield f"p99 through the bridge {rate} is {p99} ms, under {P99_MS_MAX:g} ms", (
        None if p99 is None else p99 < P99_MS_MAX)
    yield f"{errors} errors through the bridge {rate}", errors == 0
    yield f"throughput is {quix or '?'} × that of Quix Streams, at least {TO_QUIX_MIN:g} ×", (
        None if quix is None else quix >= TO_QUIX_MIN)


def _latency(results: dict[str, Any]) -> Table:
    names = ("/s", "requests", "p50", "p95", "p99", "max", "p95 ×", "errors")
    numbers = [Column(name, justify="right") for name in names]
    table = Table("Latency (ms from when due)", *numbers, "fallbacks")
    high = results.get("high", {})
    for name, echo, one in (
        ("bare echo", results["echo"], results["echo"]),
        ("decide over topics", results["echo"], results["decide_over_topics"]),
        ("decide through the bridge", results["echo"], results["decide"]),
        ("bare echo", high.get("echo"), high.get("echo")),
        ("decide through the bridge", high.get("echo"), high.get("decide")),
    ):
        if one is None or "p50_ms" not in one:
            continue
        fallbacks = ", ".join(f"{reason} {count}" for reason, count in one["fallbacks"].items())
        times = f"{one['p95_ms'] / echo['p95_ms']:.2f}"
        table.add_row(
            name, str(one["rate_per_s"]), str(one["requests"]),
            *(f"{one[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms")), times,
            str(sum(one["errors"].values())), fallbacks,
        )
    return table


def _throughput(figures: dict[str, Any]) -> Table:
    table = Table(
        "Throughput (requests/s)", *(Column(name, justify="right") for name in ("median", "runs", "µs of CPU each")),
        "outputs become visible", caption=figures["load"],
    )
    for name, side, visible in (
        ("Nextbest", "nextbest", "after their changelog is acknowledged"),
        ("Quix Streams", "quix", "before; the changelog follows at the next checkpoint"),
    ):
        if figures.get(f"{side}_per_s") is None:
            continue
        runs = " ".join(f"{rate:,}" for rate in figures[f"{side}_runs_per_s"])
        used = " ".join(str(round(us)) for us in figures[f"{side}_cpu_us_per_request"] if us is not None)
        table.add_row(name, f"{figures[f'{side}_per_s']:,}", runs, used, visible)
    return table

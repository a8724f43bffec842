"""`python -m bench.page`: writes the figures of the last runs into docs/benchmarks.md, so that nobody copies them.

Reads bench/results/latest.json (`make bench`), decide.json (`make bench-core`) and memory.json (`make bench-memory`);
the words around the figures are the page's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from bench import report
from bench.parts import ROOT

PAGE: Final = ROOT / "docs" / "benchmarks.md"
RESULTS: Final = ROOT / "bench" / "results"


def pipeline(results: dict[str, Any]) -> str:
    """The figures of `make bench`."""
    echo, high, machine = results["echo"], results["high"], results["machine"]
    # Runs of before it was measured have none.
    null = results.get("null_worker")
    rows = [
        _latency_row("bare echo", echo, echo),
        *([_latency_row("null worker through the bridge", null, echo)] if null is not None else []),
        _latency_row("decide over topics", results["decide_over_topics"], echo),
        _latency_row("decide through the bridge", results["decide"], echo),
    ]
    if high["echo"] is not None:
        rows += [
            _latency_row("bare echo", high["echo"], high["echo"]),
            *([_latency_row("null worker through the bridge", high["null_worker"], high["echo"])]
              if null is not None else []),
            _latency_row("decide through the bridge", high["decide"], high["echo"]),
        ]
    figures = results["throughput"]
    sides = [("Nextbest", "nextbest"), ("Quix Streams", "quix")]
    through = [
        [name, f"{figures[f'{side}_per_s']:,}", _all(figures[f"{side}_runs_per_s"]),
         _all(figures[f"{side}_cpu_us_per_request"]), _all(figures[f"{side}_broker_cpu_us_per_request"])]
        for name, side in sides if figures.get(f"{side}_per_s") is not None
    ]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    held = [[said, {True: "holds", False: "**broken**", None: "not measured"}[one]] for said, one in
            report.promises(results)]
    return "\n\n".join((
        f"`make bench`, {results['at'][:10]}, {results['plan']} run; {machine['cores']} cores "
        f"({machine['processor']}), {machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}, "
        f"Kafka {machine['kafka']}, "
        f"librdkafka {machine['librdkafka']}, {versions}. {report.weather(machine)}",
        _table(("promise", ""), held),
        _table(("latency, ms", "requests/s", "requests", "p50", "p95", "p99", "max", "p95 of each round",
                "p95 × echo", "errors", "fallbacks"), rows),
        _table(("throughput", "requests/s, median", "runs", "CPU µs each", "broker's CPU µs each"), through),
        f"Load of the throughput runs: {figures['load']}. Decisions compared and found the same on both sides: "
        f"{figures['same_decisions'] or 'not measured'}.",
        report.recovery(results["recovery"]),
    ))


def core(results: Sequence[dict[str, Any]]) -> str:
    """The figures of `make bench-core`."""
    rows = [
        [f"{one['offers']:,}", f"{one['candidates']:,}", f"{one['p50_us']:,.0f}", f"{one['p95_us']:,.0f}",
         f"{one['least_us']:,.0f}", f"{one['p50_us'] / one['candidates']:.1f}", f"{one['blocks']:,}",
         f"{one['peak_bytes'] / 1_000:,.0f}"]
        for one in results
    ]
    return _table(("offers", "on the placement", "p50 µs", "p95 µs", "least µs", "p50 µs per candidate", "blocks kept",
                   "peak kB"), rows)


def memory(results: dict[str, Any]) -> str:
    """The figures of `make bench-memory`."""
    names = (("empty_gib", "before the first"), ("filled_gib", "when all have come in"),
             ("asked_gib", "after decisions for 20,000 of them at random"),
             ("started_again_gib", "started again on its local state, after 20,000 more"))
    rows = [[said, f"{results[name]:.2f}"] for name, said in names]
    return "\n\n".join((
        _table((f"a worker with {results['profiles']:,} profiles", "resident, GiB"), rows),
        f"Local state on the disk: {results['local_state_gib']:.2f} GiB. Taken in at {results['profiles_per_s']:,} "
        "profiles/s.",
    ))


def _latency_row(name: str, one: dict[str, Any], echo: dict[str, Any]) -> list[str]:
    fallbacks = ", ".join(f"{reason} {count}" for reason, count in one["fallbacks"].items()) or "0"
    return [
        name, str(one["rate_per_s"]), f"{one['requests']:,}",
        *(f"{one[key]:.1f}" for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms")),
        " ".join(f"{ms:.1f}" for ms in one["rounds_p95_ms"]), f"{one['p95_ms'] / echo['p95_ms']:.1f}",
        str(sum(one["errors"].values())), fallbacks,
    ]


def _all(values: Iterable[float | None]) -> str:
    return " · ".join("?" if value is None else f"{value:,.0f}" for value in values)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(page: str, name: str, figures: str) -> str:
    """The page with the part between the marks of that name replaced. Raises ValueError where there are none."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    if not marks.search(page):
        raise ValueError(f"{PAGE} has no marks <!-- {name} --> … <!-- /{name} -->")
    return marks.sub(lambda match: f"{match[1]}{figures}\n{match[2]}", page)


def main() -> None:
    """Write what there are results of; say so."""
    text = PAGE.read_text("utf-8")
    for name, file, make in (("pipeline", "latest", pipeline), ("core", "decide", core), ("memory", "memory", memory)):
        path = RESULTS / f"{file}.json"
        if path.exists():
            text = filled(text, name, make(json.loads(path.read_text("utf-8"))))
            print(f"{PAGE}: {name} from {path}")
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()

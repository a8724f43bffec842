"""`python -m bench.decide [--profile]`: `decide()` alone, on one core: its time, what it allocates, how both grow.

50 rules, 10 caps, 3 experiments, every candidate explained. No broker, no codecs.
"""

from __future__ import annotations

import cProfile
import gc
import json
import pstats
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Column, Table

from bench import offers
from bench.latencies import Latencies
from bench.parts import ROOT
from pipeline.core.decide.decision import decide
from pipeline.core.decide.live import Live
from pipeline.core.rules import segments
from pipeline.core.subject import Person

RESULTS: Final = ROOT / "bench" / "results" / "decide.json"
#: Offers in the catalog, and how many of them are on the placement.
SIZES: Final = ((10, 10), (20, 20), (100, 100), (1_000, 1_000), (1_000, 20))
#: At 100 candidates, on one core.
TARGET_US: Final = 300.0
#: How long each size is measured, in turns of so many parts: the machine's good and bad timestamps come to all of them.
ROUND_S: Final = 4.0
TURNS: Final = 20
SUBJECTS: Final = 50


@dataclass(frozen=True, slots=True)
class Measured:
    """One size. Times are of one call, in µs of processor time: what others do on the machine is not in them."""

    offers: int
    candidates: int
    calls: int
    p50_us: float
    p95_us: float
    least_us: float
    #: Memory blocks that the result and the new profile hold, and the most bytes held at once during the call.
    blocks: int
    peak_bytes: int
    #: What became of the candidates of all calls, by outcome, in percent.
    outcomes: dict[str, float]


def _known(profile: Person, live: Live) -> Person:
    """As the table has it: its memberships are up to date since its last event."""
    return segments.refresh(profile, live.policy, offers.NOW_MS)[0]


class Size:
    """One catalog under measurement, in turns with the others."""

    def __init__(self, catalog: int, candidates: int, live: Live) -> None:
        self.catalog = catalog
        self.candidates = candidates
        self.live = live
        self._profiles = [_known(offers.profile(number), live) for number in range(SUBJECTS)]
        self._times: list[float] = []
        self._outcomes: Counter[str] = Counter()
        for number in range(SUBJECTS):
            result = decide(offers.request(number), self._profiles[number], live, offers.NOW_MS)
            self._outcomes.update(one.outcome.partition(":")[0] for one in result.candidates)

    def turn(self, seconds: float) -> None:
        """Some more calls, each with another request and subject."""
        gc.collect()
        gc.disable()
        end_s = time.perf_counter() + seconds
        while time.perf_counter() < end_s:
            number = len(self._times)
            request, profile = offers.request(number), self._profiles[number % SUBJECTS]
            began_ns = time.thread_time_ns()
            decide(request, profile, self.live, offers.NOW_MS)
            self._times.append((time.thread_time_ns() - began_ns) / 1_000)
        gc.enable()

    def measured(self) -> Measured:
        """What came out of all turns."""
        times = Latencies(self._times)
        blocks, peak = _allocated(self.live)
        explained = sum(self._outcomes.values())
        shares = {outcome: round(count * 100 / explained, 1) for outcome, count in self._outcomes.most_common()}
        return Measured(
            self.catalog, self.candidates, times.count, round(times.percentile(50), 1),
            round(times.percentile(95), 1), round(min(self._times), 1), blocks, peak, shares,
        )


def _allocated(live: Live) -> tuple[int, int]:
    request, profile = offers.request(1), _known(offers.profile(1), live)
    gc.collect()
    before = sys.getallocatedblocks()
    result = decide(request, profile, live, offers.NOW_MS)
    blocks = sys.getallocatedblocks() - before
    del result
    tracemalloc.start()
    decide(request, profile, live, offers.NOW_MS)
    tracemalloc.reset_peak()
    held = tracemalloc.get_traced_memory()[0]
    decide(request, profile, live, offers.NOW_MS)
    peak = tracemalloc.get_traced_memory()[1] - held
    tracemalloc.stop()
    return blocks, peak


def profiled(live: Live, calls: int = 500) -> Table:
    """Where the time goes: own time of the functions, each call of `decide` being 100 %."""
    profiles = [_known(offers.profile(number), live) for number in range(SUBJECTS)]
    profiler = cProfile.Profile()
    profiler.enable()
    for number in range(calls):
        decide(offers.request(number), profiles[number % SUBJECTS], live, offers.NOW_MS)
    profiler.disable()
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]  # there, but not in the stubs
    total_s = sum(own_s for _, _, own_s, _, _ in stats.values())
    numbers = [Column(name, justify="right") for name in ("own time %", "calls per decision")]
    table = Table("Function", *numbers, title="Own time at 100 candidates (the profiler weighs calls too heavily)")
    ordered = sorted(stats.items(), key=lambda entry: entry[1][2], reverse=True)
    for (file, line, name), (_, count, own_s, _, _) in ordered[:18]:
        where = f"{Path(file).name}:{line} {name}" if line else name
        table.add_row(where, f"{own_s * 100 / total_s:.1f}", f"{count / calls:.1f}")
    return table


def table_of(found: list[Measured]) -> Table:
    """One row for each size."""
    names = ("offers", "on the placement", "p50 µs", "p95 µs", "least µs", "µs per candidate", "blocks kept", "peak kB")
    table = Table(*(Column(name, justify="right") for name in names), "outcomes, %")
    for one in found:
        outcomes = ", ".join(f"{outcome} {share:g}" for outcome, share in one.outcomes.items())
        table.add_row(
            f"{one.offers:,}", f"{one.candidates:,}", f"{one.p50_us:,.0f}", f"{one.p95_us:,.0f}",
            f"{one.least_us:,.0f}", f"{one.p50_us / one.candidates:.2f}", f"{one.blocks:,}",
            f"{one.peak_bytes / 1_000:,.0f}", outcomes,
        )
    return table


def main(
    profile: Annotated[bool, typer.Option(help="Also show where the time goes.")] = False,
    seconds: Annotated[float, typer.Option(help="How long each size is measured.")] = ROUND_S,
    results: Annotated[Path, typer.Option(help="Where the results go, as JSON.")] = RESULTS,
) -> None:
    """decide() alone: 50 rules, 10 caps, 3 experiments, full explanation."""
    console = Console()
    sizes: list[Size] = []
    with tempfile.TemporaryDirectory(prefix="nextbest-bench-") as folder:
        for catalog, candidates in SIZES:
            path = Path(folder) / f"{catalog}-{candidates}"
            offers.write(path, catalog, candidates)
            sizes.append(Size(catalog, candidates, offers.live(path)))
    for _ in range(TURNS):
        for size in sizes:
            size.turn(seconds / TURNS)
    found = [size.measured() for size in sizes]
    table = profiled(next(size.live for size in sizes if size.candidates == 100)) if profile else None
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n", "utf-8")
    console.print(table_of(found))
    if table is not None:
        console.print(table)
    hundred = next(one for one in found if one.candidates == 100)
    held = "[green]holds[/]" if hundred.p50_us <= TARGET_US else "[red]broken[/]"
    console.print(f"{held}  {hundred.p50_us:g} µs at 100 candidates, at most {TARGET_US:g} µs", highlight=False)
    console.print(f"Written to {results}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)

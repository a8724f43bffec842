"""`python -m bench [--quick] [--no-quix]`: measures, writes bench/results/latest.json, prints tables."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from confluent_kafka import KafkaException
from rich.console import Console

from bench import report, run
from bench.parts import ROOT, BenchError
from bench.plan import FULL, QUICK
from bench.progress import Progress
from pipeline.cli.stopping import EXIT_INTERRUPTED, until_told_to_stop
from pipeline.local import parent
from pipeline.runtime.errors import StartupError

RESULTS: Final = ROOT / "bench" / "results" / "latest.json"


def main(
    quick: Annotated[bool, typer.Option(help="A short run that only shows that everything works.")] = False,
    quix: Annotated[bool, typer.Option(help="Measure Quix Streams beside (the full run).")] = True,
    results: Annotated[Path, typer.Option(help="Where the results go, as JSON.")] = RESULTS,
) -> None:
    """Latency and throughput beside a bare echo and Quix Streams, all in one run."""
    parent.end_with_it()
    # The defaults are measured, whatever this shell is set to.
    for name in [name for name in os.environ if name.startswith("NEXTBEST_") and name != parent.SETTING]:
        del os.environ[name]
    plan = QUICK if quick else replace(FULL, quix=quix)
    console = Console()
    directory = Path(tempfile.mkdtemp(prefix="nextbest-bench-"))
    # librdkafka's complaints belong beside the parts' logs, not into the progress bar.
    logging.basicConfig(filename=directory / "bench.log", force=True)
    measured: list[dict[str, Any]] = []
    with until_told_to_stop():
        try:
            with Progress(console, run.seconds(plan)) as progress:
                watcher = run.Watcher(progress.say, progress.begin, progress.tick)
                measured.append(run.run(plan, directory, watcher))
        except (BenchError, StartupError, KafkaException) as error:
            console.print(f"[red]Error:[/] {error}", highlight=False, soft_wrap=True)
            raise typer.Exit(1) from error
    shutil.rmtree(directory, ignore_errors=True)
    if not measured:
        raise typer.Exit(EXIT_INTERRUPTED)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(measured[0], indent=2) + "\n", "utf-8")
    report.show(measured[0], console)
    console.print(f"Written to {results}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)

"""`make chaos`: a real broker, workers and bridges under load and under attack; then everything is compared."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.parts import ROOT
from pipeline.local import parent
from pipeline.runtime.errors import StartupError
from tests.chaos import report
from tests.chaos.installation import ChaosError, StuckError
from tests.chaos.plan import Options
from tests.chaos.run import Watcher, run
from tests.sim.mutants import MUTANTS

RESULTS: Final = ROOT / "bench" / "results" / "chaos.json"

_HELP: Final = {
    "requests": "decide requests to send",
    "kills": "workers to kill",
    "rate": "decide requests per second; events come besides",
    "seed": "chooses load and faults",
    "workers": "workers to start with, two or more",
    "bridges": "bridges",
    "freeze_s": "how long a worker is frozen: longer than its session",
    "over_topics": "share of the requests and events that goes over the topics instead of HTTP",
    "away_s": "how long a killed worker stays away at most",
    "told": "share of the kills after which the group is told, as `nextbest up` does",
    "session_timeout_ms": "NEXTBEST_SESSION_TIMEOUT_MS of the workers",
    "mutant": "take this safeguard out of every worker; one of: " + "; ".join(MUTANTS),
}


def main() -> int:
    """Exit code 1 where a promise was broken, 2 where the run could not be carried out."""
    options, results = _options()
    parent.end_with_it()
    # What is tried is what everybody gets, whatever this shell is set to.
    for name in [name for name in os.environ if name.startswith("NEXTBEST_") and name != parent.SETTING]:
        del os.environ[name]
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="nextbest-chaos-"))
    logging.basicConfig(filename=folder / "chaos.log", force=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)

        def begin(what: str) -> None:
            bar.update(task, description=what, completed=0.0)
            if not console.is_terminal:
                console.print(what, highlight=False)

        try:
            found = run(options, folder, Watcher(begin, lambda share: bar.update(task, completed=share)))
        except (ChaosError, StartupError, KafkaException) as error:
            console.print(f"Error: {error}", highlight=False, soft_wrap=True)
            return 1 if isinstance(error, StuckError) else 2
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    report.show(found, console)
    console.print(f"Written to {results}", highlight=False, soft_wrap=True)
    if found["wrong"]:
        console.print(f"Logs and data are kept in {folder}", highlight=False, soft_wrap=True)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _options() -> tuple[Options, Path]:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    for field in fields(Options):
        kind = type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default,
                            help=f"{_HELP[field.name]} (default: {field.default})".replace("%", "%%"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the results go, as JSON")
    given = vars(parser.parse_args())
    results: Path = given.pop("results")
    options = Options(**given)
    if options.mutant and options.mutant not in MUTANTS:
        parser.error(f"--mutant: one of {'; '.join(MUTANTS)}")
    if options.workers < 2:
        parser.error("--workers: two or more, or nobody takes over")
    if options.freeze_s * 1000 <= options.session_timeout_ms:
        parser.error("--freeze-s: longer than the session, or the worker has lost nothing when it comes back")
    return options, results


if __name__ == "__main__":
    sys.exit(main())

"""`nextbest replay-log`: the command line's endpoint to `replay_log`; nothing is decided here."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from pipeline.adapters.system_clock import SystemClock
from pipeline.cli.cluster import AsJson, Bootstrap, answering, err, fail, out, settings_for
from replay_log.errors import ReplayError
from replay_log.mapping_file import load_mapping
from replay_log.progress import ShownProgress
from replay_log.render import render, wide_enough
from replay_log.session import Options, run_replay, stopping_on_signals

#: What a shell reports for a program that ended on Ctrl-C.
_INTERRUPTED = 130


def replay_log(
    file: Annotated[Path, typer.Argument(help="The log: .csv, .tsv, .jsonl (these also .gz) or .parquet.")],
    mapping: Annotated[Path, typer.Option(help="YAML that says which column means what; see docs/replay-log.md.")],
    rows: Annotated[int | None, typer.Option(min=1, help="Replay at most so many rows.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Rows per second; default: as fast as it goes.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.001, help="So many times the log's own pace.")] = None,
    skip: Annotated[int, typer.Option(min=0, help="Leave out the first rows, as after an interrupted run.")] = 0,
    run: Annotated[
        str | None, typer.Option(metavar="NAME", help="The run's name, part of every id: one name, no effect twice.")
    ] = None,
    window: Annotated[int, typer.Option(min=1, max=10_000, help="Requests that may be unanswered at once.")] = 256,
    max_bad: Annotated[int, typer.Option(min=0, help="Give up after so many rows that cannot be used.")] = 100,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Replay a log of impressions and clicks through the running pipeline, and sum up what came of it.

    Each row becomes a decision request; what the log says happened follows as feedback on the item shown then.
    """
    if rate is not None and speed is not None:
        raise typer.BadParameter("--rate and --speed exclude each other: give one")
    quiet_client()
    settings, clock = settings_for(bootstrap), SystemClock()
    options = Options(rows, skip, rate, speed, window, bad_rows_max=max_bad, run=run)
    try:
        located = load_mapping(mapping)
        with answering(settings), stopping_on_signals() as stopped, ShownProgress(err, clock) as progress:
            summary = run_replay(settings, file, located, options, clock, stopped, progress)
    except ReplayError as error:
        raise fail(str(error)) from error
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        render(wide_enough(out), summary)
    if summary["stopped"] is not None:
        raise typer.Exit(1 if summary["stopped"]["problem"] else _INTERRUPTED)


def quiet_client() -> None:
    """A broker that is away is told once, in the progress, and not by each of the client's attempts."""
    logging.getLogger("nextbest.kafka").setLevel(logging.CRITICAL)

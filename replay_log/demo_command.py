"""`nextbest demo`: the whole installation, a real log through it, a summary. The work is in `replay_log`."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from pydantic import SecretStr
from rich.console import Console

from pipeline.adapters.system_clock import SystemClock
from pipeline.cli import up
from pipeline.cli.cluster import fail
from pipeline.cli.options import DataDir, settings_with
from pipeline.cli.stopping import EXIT_INTERRUPTED, until_told_to_stop
from pipeline.local import lock_file
from pipeline.local.broker import EmbeddedBroker
from pipeline.local.stack import Stack
from replay_log.command import quiet_client
from replay_log.demo import LOCK, KeptRunning, empty_folder, further, kept_running, somebody
from replay_log.errors import ReplayError
from replay_log.mapping_file import load_mapping
from replay_log.open_bandit.dataset import CREDIT, Prepared, prepare
from replay_log.progress import ShownProgress
from replay_log.render import render, wide_enough
from replay_log.session import Options, run_replay, stopping_on_signals

LOOK_EVERY_S: Final = 0.2
RATE: Final = 100.0
ROWS: Final = 10_000


def demo(
    rows: Annotated[int, typer.Option(min=1, max=ROWS, help="How many rows of the log to replay.")] = ROWS,
    rate: Annotated[float, typer.Option(min=1, help="Rows per second.")] = RATE,
    workers: Annotated[int, typer.Option(min=1, max=8, help="How many workers.")] = 1,
    log: Annotated[
        Literal["random", "bts"], typer.Option(help="The logged policy: uniformly random, or Thompson sampling.")
    ] = "random",
    campaign: Annotated[Literal["all", "men", "women"], typer.Option(help="Which of the dataset's campaigns.")] = "all",
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    data_dir: DataDir = None,
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the HTTP endpoints; 0: any free one.")] = 0,
    dataset: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The dataset's package, where pip cannot fetch it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run the main job on real data: the Open Bandit Dataset through a broker, workers and a bridge of its own.

    Takes about two minutes with 10,000 rows; --rows for less. Everything it makes is in one folder.
    """
    settings = settings_with(http_port=http_port)
    # Keys of other installations must not lock the demo's own lines out.
    own = {"data_dir": data_dir or settings.data_dir / "demo", "api_keys": SecretStr("")}
    settings = settings.model_copy(update=own)
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    quiet_client()

    finished = False
    with until_told_to_stop(), lock_file.held(settings.data_dir / LOCK, "another demo or `nextbest up`", "--data-dir"):
        try:
            empty_folder(settings.data_dir)
            _tell(CREDIT)
            prepared = prepare(settings.data_dir / "open-bandit", log, campaign, dataset)
        except ReplayError as error:
            raise fail(str(error)) from error
        stack = Stack(settings, workers, EmbeddedBroker(settings.data_dir, 0, _tell), _tell)
        try:
            _start(stack, prepared)
            with kept_running(stack.supervisor) as kept:
                finished = _replay(stack, prepared, Options(rows, rate=rate, credit=CREDIT), kept, as_json)
                if finished:
                    _look_further(stack, prepared, keep, as_json)
                while finished and keep:
                    kept.check()
                    time.sleep(LOOK_EVERY_S)
        finally:
            stack.stop()
    if not finished:
        raise typer.Exit(EXIT_INTERRUPTED)


def _start(stack: Stack, prepared: Prepared) -> None:
    stack.start(lambda reached: up.prepare(reached, prepared.policy))
    while stack.not_ready() is not None:
        stack.supervisor.look()
        time.sleep(LOOK_EVERY_S)


def _replay(stack: Stack, prepared: Prepared, options: Options, kept: KeptRunning, as_json: bool) -> bool:
    """Whether it came to its end, which Ctrl-C may prevent. Whatever else does ends the command."""
    clock = SystemClock()
    try:
        with stopping_on_signals() as stopped, ShownProgress(Console(stderr=True), clock) as progress:
            summary = run_replay(
                stack.settings, prepared.log, load_mapping(prepared.mapping), options, clock,
                lambda: stopped() or kept.problem is not None, progress,
            )
    except ReplayError as error:
        kept.check()
        raise fail(str(error)) from error
    kept.check()
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        render(wide_enough(Console()), summary)
    if summary["stopped"] is not None and summary["stopped"]["problem"]:
        raise typer.Exit(1)
    return summary["stopped"] is None


def _look_further(stack: Stack, prepared: Prepared, keep: bool, as_json: bool) -> None:
    name, folder = _own_name(), shlex.quote(str(_short(stack.settings.data_dir)))
    if keep:
        url, bootstrap = stack.http_url, f" --bootstrap {stack.settings.bootstrap}"
        lines = ["# everything runs until Ctrl-C; in another terminal:"]
    else:
        later = settings_with()
        url, bootstrap = f"http://{later.http_host}:{later.http_port}", ""
        lines = ["# start it again in another terminal, with all it has learnt", f"{name} up --data-dir {folder}"]
    lines += further(somebody(prepared), stack.http_url, url)
    lines += ["# records that could not be used, and why", f"{name} dead-letters list{bootstrap}"]
    typer.echo("\n  ".join(["\nHow to look further", *lines]), err=as_json)


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _own_name() -> str:
    """How to call the next command: as this one was called."""
    here = Path(sys.argv[0])
    if here.name != "nextbest":
        return "nextbest"
    found = shutil.which("nextbest")
    return "nextbest" if found and Path(found).resolve() == here.resolve() else str(_short(here))


def _short(path: Path) -> Path:
    """Relative to where one stands, where it lies below."""
    whole = Path.cwd() / path
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole

"""How `nextbest up` shows what runs: a live table on a terminal, plain lines elsewhere. Shows only; starts nothing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from pipeline.local.supervisor import State, Watched
from pipeline.runtime import figures

FIGURES_EVERY_S: Final = 2.0
_STYLE: Final = {State.RUNNING: "green", State.CRASHED: "red", State.STOPPED: "dim"}


class View(Protocol):
    """Where news go."""

    def tell(self, line: str) -> None:
        """Something happened."""

    def ready(self, line: str) -> None:
        """The one line that says that everything is up."""

    def show(self, watched: Sequence[Watched]) -> None:
        """The parts as they are now; called a few times a second."""


class PlainView:
    """News on standard error, one line each; the ready line alone on standard output."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[State, int | None]] = {}

    def tell(self, line: str) -> None:
        typer.echo(line, err=True)

    def ready(self, line: str) -> None:
        typer.echo(line)

    def show(self, watched: Sequence[Watched]) -> None:
        for one in watched:
            seen = (one.state, one.part.pid)
            if self._shown.get(one.part.name) != seen:
                self._shown[one.part.name] = seen
                self.tell(_as_line(one))


class LiveView:
    """A table that is redrawn in place; news scroll above it."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live
        self._figures = Figures()

    def tell(self, line: str) -> None:
        self._console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)

    def ready(self, line: str) -> None:
        self._console.print(line, style="bold green", markup=False, highlight=False, soft_wrap=True)

    def show(self, watched: Sequence[Watched]) -> None:
        self._figures.follow(watched)
        table = Table("Part", "State", Column("Process", justify="right"), Column("For", justify="right"),
                      Column("Restarts", justify="right"), "Figures")  # fmt: skip
        for one in watched:
            table.add_row(
                one.part.name, f"[{_STYLE[one.state]}]{one.state}[/]", str(one.part.pid or ""),
                _duration(time.monotonic() - one.since_s), str(one.restarts.total or ""),
                self._figures.text(one.part.name),
            )  # fmt: skip
        self._live.update(table)


@contextmanager
def shown() -> Iterator[View]:
    """The view that fits where the output goes."""
    console = Console()
    if not (console.is_terminal and sys.stderr.isatty()):
        yield PlainView()
        return
    with Live(console=console, refresh_per_second=4, redirect_stdout=True, redirect_stderr=True) as live:
        yield LiveView(console, live)


class Figures:
    """Asks the parts for their figures in a thread of its own, so that a slow one holds up nothing."""

    def __init__(self) -> None:
        self._urls: dict[str, str] = {}
        self._found: dict[str, dict[str, int]] = {}
        self._thread: threading.Thread | None = None

    def follow(self, watched: Sequence[Watched]) -> None:
        """These parts from now on, those that have figures."""
        self._urls = {one.part.name: url for one in watched if (url := getattr(one.part, "metrics_url", ""))}
        if self._thread is None:
            self._thread = threading.Thread(target=self._ask, name="figures", daemon=True)
            self._thread.start()

    def text(self, name: str) -> str:
        return ", ".join(f"{value:,} {what}" for what, value in self._found.get(name, {}).items())

    def _ask(self) -> None:
        while True:
            for name, url in self._urls.items():
                self._found[name] = figures.look(url)
            time.sleep(FIGURES_EVERY_S)


def _as_line(one: Watched) -> str:
    if one.state is State.CRASHED:
        return f"{one.part.name} ended with status {one.exit_code} and is started again; its log: {one.part.log_path}"
    return f"{one.part.name} is {one.state} (process {one.part.pid})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"

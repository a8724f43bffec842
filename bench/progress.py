"""One bar over the whole run by expected time, or a line for each step where the output is no terminal."""

from __future__ import annotations

import time

from rich import progress as bars
from rich.console import Console


class Progress:
    """`begin` names the next step and how long it should take; `tick` lets the bar follow the clock."""

    def __init__(self, console: Console, total_s: float) -> None:
        self._console = console
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}"), bars.BarColumn(), bars.TaskProgressColumn(),
            bars.TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total_s)
        self._done_s = self._step_s = 0.0
        self._began_s = time.monotonic()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Above the bar."""
        self._console.print(line, highlight=False)

    def begin(self, what: str, seconds: float) -> None:
        """The step before is over."""
        self._done_s += self._step_s
        self._step_s = seconds
        self._began_s = time.monotonic()
        if self._console.is_terminal:
            self._bar.update(self._task, description=what, completed=self._done_s)
        else:
            self.say(what)

    def tick(self) -> None:
        """A step never shows more than its share, however long it takes."""
        at_s = min(self._step_s, time.monotonic() - self._began_s)
        self._bar.update(self._task, completed=self._done_s + at_s)

"""Shows how a load goes: a bar on a terminal, a plain line now and then where there is none."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.ports import Clock

PLAIN_EVERY_S: Final = 10.0


class LoadProgress:
    """A context manager. Writes to the console it is given and to nothing else."""

    def __init__(self, console: Console, clock: Clock, profiles: int, sent_before: int) -> None:
        """`profiles`: how many there are; `sent_before`: how many of them an earlier run sent."""
        self._console = console
        self._clock = clock
        self._profiles = profiles
        self._line_s = clock.monotonic_s()
        self._bar = Progress(
            TextColumn("loading"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=profiles, completed=sent_before)

    def __enter__(self) -> LoadProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def sent(self, sent: int) -> None:
        """So many of the profiles are sent by now."""
        self._bar.update(self._task, completed=sent)
        now_s = self._clock.monotonic_s()
        if not self._console.is_terminal and now_s - self._line_s >= PLAIN_EVERY_S:
            self._line_s = now_s
            self._console.print(f"loading: {sent:,} of {self._profiles:,} profiles", highlight=False, soft_wrap=True)

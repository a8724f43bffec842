"""How long work goes: a bar on a terminal, a plain line now and then where there is none."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn

from pipeline.ports import Clock

PLAIN_EVERY_S: Final = 10.0


class Shown:
    """A context manager. Writes to the console it is given and to nothing else."""

    def __init__(self, console: Console, clock: Clock, *columns: ProgressColumn) -> None:
        self._console = console
        self._clock = clock
        self._line_s = clock.monotonic_s()
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _plain(self, line: str, at_once: bool = False) -> None:
        if self._console.is_terminal:
            return
        now_s = self._clock.monotonic_s()
        if at_once or now_s - self._line_s >= PLAIN_EVERY_S:
            self._line_s = now_s
            self._console.print(line, highlight=False, soft_wrap=True)

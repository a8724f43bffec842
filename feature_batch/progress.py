"""Shows how a load goes."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.cli.progress import Shown
from pipeline.ports import Clock


class LoadProgress(Shown):
    """A bar of profiles."""

    def __init__(self, console: Console, clock: Clock, profiles: int, sent_before: int) -> None:
        """`profiles`: how many there are; `sent_before`: how many of them an earlier run sent."""
        super().__init__(console, clock, TextColumn("loading"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                         TimeRemainingColumn())
        self._profiles = profiles
        self._task = self._bar.add_task("", total=profiles, completed=sent_before)

    def sent(self, sent: int) -> None:
        """So many of the profiles are sent by now."""
        self._bar.update(self._task, completed=sent)
        self._plain(f"loading: {sent:,} of {self._profiles:,} profiles")

"""Shows how a replay goes: a progress bar on a terminal, a plain line now and then where there is none."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn

from pipeline.cli.progress import Shown
from pipeline.ports import Clock
from replay_log.session import Watcher
from replay_log.tally import Tally


class ShownProgress(Shown, Watcher):
    """A bar of rows, then one of audits."""

    def __init__(self, console: Console, clock: Clock) -> None:
        super().__init__(console, clock, TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                         TimeElapsedColumn(), TextColumn("{task.fields[figures]}"))
        self._began_s = clock.monotonic_s()
        self._replaying: TaskID | None = None
        self._answering = False
        self._explaining: TaskID | None = None

    def replaying(self, tally: Tally, rows: int | None) -> None:
        if self._replaying is None:
            self._replaying = self._bar.add_task("replaying", total=rows, figures="")
            self._began_s = self._clock.monotonic_s()
        figures = self._figures(tally)
        self._bar.update(self._replaying, completed=tally.rows, figures=figures)
        done = f"{tally.rows:,}" + ("" if rows is None else f" of {rows:,}")
        self._plain(f"replaying: {done} rows, {figures}", at_once=tally.answered > 0 and not self._answering)
        self._answering = tally.answered > 0

    def explaining(self, done: int, of: int) -> None:
        if self._explaining is None:
            self._explaining = self._bar.add_task("reading the audit", total=of, figures="")
            self._plain(f"reading back {of:,} audit records", at_once=True)
        self._bar.update(self._explaining, completed=done)

    def _figures(self, tally: Tally) -> str:
        elapsed_s = max(self._clock.monotonic_s() - self._began_s, 0.001)
        parts = [f"{tally.rows / elapsed_s:,.0f}/s"]
        if (p95 := tally.latencies.quantile(0.95)) is not None:
            parts.append(f"p95 {p95:.1f} ms")
        if tally.answered:
            parts.append(f"fallback {tally.fallbacks / tally.answered:.0%}")
        if tally.bad_rows:
            parts.append(f"{tally.bad_rows:,} bad rows")
        if tally.trouble is not None:
            parts.append(f"waiting for Kafka: {tally.trouble}")
        return ", ".join(parts)

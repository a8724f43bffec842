"""Keeps the parts of an installation running: starts them, starts crashed ones again, stops all in order.

As long as the installation was never ready, a part that crashes too often stops everything: that it cannot run is
said, with its last words, not hidden by restarts. From then on such a part stays down for a while and is tried again,
with an alarm in the log; the others stay, so that a bridge gives fallbacks whatever becomes of workers and broker.
Knows nothing of what parts do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pipeline.local.restarts import CRASHES_MAX, WINDOW_S, Restarts
from pipeline.runtime import logs
from pipeline.runtime.errors import StartupError

_log = logging.getLogger(__name__)


class State(StrEnum):
    """Where a part is in its life."""

    RUNNING = "running"
    CRASHED = "crashed"  # waits for its next start
    STOPPED = "stopped"


class Part(Protocol):
    """One process that is kept running."""

    name: str

    @property
    def pid(self) -> int | None:
        """The process id, None before the first start."""

    @property
    def log_path(self) -> Path:
        """Where its last words are."""

    def launch(self) -> None:
        """Start it without waiting. Raises StartupError."""

    def poll(self) -> int | None:
        """The exit code, None while it runs."""

    def ask_to_stop(self) -> None:
        """Ask, without waiting; it is killed after its grace."""

    def stop(self) -> None:
        """Ask and wait."""


@dataclass
class Watched:
    """A part with what the supervisor knows of it. Times are of the monotonic clock."""

    part: Part
    #: Whether it can do anything now; a crashed part is not started before.
    may_start: Callable[[], bool]
    #: Told at once when it has crashed; must not wait for anything.
    on_crash: Callable[[Part], None]
    restarts: Restarts = field(default_factory=Restarts)
    state: State = State.STOPPED
    since_s: float = 0.0
    start_at_s: float = 0.0
    exit_code: int | None = None

    def start(self, now_s: float) -> None:
        self.part.launch()
        self.state, self.since_s = State.RUNNING, now_s

    def look(self, now_s: float, settled: bool = False) -> None:
        """Notice a crash, or start again after one.

        Raises StartupError where it crashed too often before everything was `settled`.
        """
        if self.state is State.RUNNING and (code := self.part.poll()) is not None:
            ran_s = now_s - self.since_s
            delay_s = self.restarts.delay_s(now_s)
            self.state, self.since_s, self.exit_code = State.CRASHED, now_s, code
            self.on_crash(self.part)
            if delay_s is None and settled:
                delay_s = self.restarts.back_off_s(ran_s)
                _log.critical(
                    "%s ended %d times within %.0f s, at last with status %s; it is tried again in %.0f s, everything "
                    "else goes on; %s", self.part.name, CRASHES_MAX, WINDOW_S, code, delay_s,
                    logs.last_words(self.part.log_path))
            if delay_s is None:
                raise StartupError(
                    f"{self.part.name} ended {CRASHES_MAX} times within {WINDOW_S:.0f} s, at last with status {code}, "
                    f"so everything was stopped; {logs.last_words(self.part.log_path)}"
                )
            self.start_at_s = now_s + delay_s
        elif self.state is State.CRASHED and now_s >= self.start_at_s and self.may_start():
            try:
                self.start(now_s)
            except StartupError as error:
                if not settled:
                    raise
                self.start_at_s = now_s + self.restarts.back_off_s(0.0)
                _log.critical("%s cannot be started, and is tried again in %.0f s: %s", self.part.name,
                              self.start_at_s - now_s, error)


class Supervisor:
    """The parts in the order in which they start; they stop in the opposite order, those of one group together."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._groups: list[list[Watched]] = []
        #: Whether the installation was ready once.
        self.settled = False

    @property
    def watched(self) -> list[Watched]:
        """All parts, in order."""
        return [watched for group in self._groups for watched in group]

    def start(
        self, parts: Sequence[Part], may_start: Callable[[], bool] = lambda: True,
        on_crash: Callable[[Part], None] = lambda part: None,
    ) -> None:
        """Start a group of parts without waiting for them. Raises StartupError."""
        group = [Watched(part, may_start, on_crash) for part in parts]
        self._groups.append(group)
        for watched in group:
            watched.start(self._clock_s())

    def look(self) -> None:
        """Call it a few times a second. Raises StartupError where a part crashed too often before all was settled."""
        for watched in self.watched:
            watched.look(self._clock_s(), self.settled)

    def stop(self, tell: Callable[[str], None] = lambda line: None) -> None:
        """Stop the groups, the last first, and wait. Repeatable."""
        while self._groups:
            group = self._groups.pop()
            tell(f"Stopping {', '.join(watched.part.name for watched in group)}")
            for watched in group:
                watched.part.ask_to_stop()
            for watched in group:
                watched.part.stop()
                watched.state = State.STOPPED

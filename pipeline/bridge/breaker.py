"""A circuit breaker: after enough failures in a row nothing is sent for a while, then a few probes decide.

A pure state machine: time is an argument. One belongs to each partition of the requests, so that a worker that is gone
costs its own partitions' callers nothing but the first few waits, and the others nothing at all.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

FAILURES_MAX: Final = 5
#: One probe each time: little for a pipeline that is back, and who is back is found at once.
OPEN_S: Final = 0.25
PROBES_MAX: Final = 1


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Ask `admit` before each call and tell the outcome with the permit it gave.

    Outcomes of calls admitted under an earlier state say nothing about the present one and change nothing.
    """

    __slots__ = ("_failures", "_failures_max", "_open_s", "_opened_s", "_probes", "_probes_max", "_term", "state")

    def __init__(self, failures_max: int = FAILURES_MAX, open_s: float = OPEN_S, probes_max: int = PROBES_MAX) -> None:
        self._failures_max = failures_max
        self._open_s = open_s
        self._probes_max = probes_max
        self._failures = 0
        self._probes = 0
        self._opened_s = 0.0
        self._term = 0
        self.state = State.CLOSED

    def admit(self, now_s: float) -> int | None:
        """A permit for one call, or None where the circuit is open."""
        if self.state is State.CLOSED:
            return self._term
        if self.state is State.OPEN:
            if now_s - self._opened_s < self._open_s:
                return None
            self._enter(State.HALF_OPEN)
        if self._probes >= self._probes_max:
            return None
        self._probes += 1
        return self._term

    def succeeded(self, permit: int) -> None:
        """The call was answered in time."""
        if permit != self._term:
            return
        self._failures = 0
        if self.state is State.HALF_OPEN:
            self._enter(State.CLOSED)

    def failed(self, permit: int, now_s: float) -> None:
        """The call was not answered in time, or not sent."""
        if permit != self._term:
            return
        self._failures += 1
        if self.state is State.HALF_OPEN or self._failures >= self._failures_max:
            self._opened_s = now_s
            self._enter(State.OPEN)

    def withdrawn(self, permit: int) -> None:
        """The call ended without saying anything about the other side; a probe's place is free again."""
        if permit == self._term and self.state is State.HALF_OPEN:
            self._probes -= 1

    def _enter(self, state: State) -> None:
        self.state = state
        self._term += 1
        self._failures = 0
        self._probes = 0

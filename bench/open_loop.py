"""Open-loop load: every request is sent when it is due, however late the earlier answers are.

A latency runs from the moment the request was due, not from when it was sent, so that a stall of the system (or of
this client) counts against every request that it held up (no coordinated omission). Arrivals are a Poisson process, as
those of independent callers are.
"""

from __future__ import annotations

import gc
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Answers:
    """When each request was answered (seconds of `time.perf_counter`; 0.0: never) and with what."""

    at_s: list[float]
    bodies: list[bytes]
    errors: dict[str, int] = field(default_factory=dict)
    settled: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, count: int) -> Answers:
        return cls([0.0] * count, [b""] * count)

    def arrived(self, index: int, at_s: float, body: bytes) -> None:
        """From any thread; of two answers to the same request the first counts."""
        with self._lock:
            if not self.at_s[index]:
                self.at_s[index] = at_s
                self.bodies[index] = body
                self.settled += 1

    def failed(self, error: str) -> None:
        """From any thread: a request that will have no answer."""
        with self._lock:
            self.errors[error] = self.errors.get(error, 0) + 1
            self.settled += 1


class Target(Protocol):
    """Where requests go. `start` before, `stop` after; answers come in a thread of its own."""

    def start(self, answers: Answers) -> None: ...

    def send(self, index: int) -> None:
        """Send request `index`; never waits for an answer."""

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Driven:
    """What became of the requests after the warm-up."""

    latencies_ms: list[float]
    #: How late this client sent: what it adds to the latencies by itself.
    late_ms: list[float]
    bodies: list[bytes]
    errors: dict[str, int]


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Seconds from the start at which requests are due."""
    chance = random.Random(seed)
    due: list[float] = []
    at_s = chance.expovariate(rate)
    while at_s < seconds:
        due.append(at_s)
        at_s += chance.expovariate(rate)
    return due


def drive(target: Target, due: list[float], warm_s: float, drain_s: float = 5.0) -> Driven:
    """Send every request when due and wait for the answers; what was due in the first `warm_s` is not counted."""
    answers = Answers.of(len(due))
    target.start(answers)
    gc.collect()
    gc.disable()
    late = [0.0] * len(due)
    start_s = time.perf_counter() + 0.1
    try:
        for index, offset_s in enumerate(due):
            at_s = start_s + offset_s
            wait_s = at_s - time.perf_counter()
            if wait_s > 0:
                time.sleep(wait_s)
            late[index] = time.perf_counter() - at_s
            target.send(index)
        end_s = time.perf_counter() + drain_s
        while answers.settled < len(due) and time.perf_counter() < end_s:
            time.sleep(0.01)
    finally:
        gc.enable()
        target.stop()
    errors = dict(answers.errors)
    if answers.settled < len(due):
        errors["no answer"] = len(due) - answers.settled
    counted = [i for i, offset_s in enumerate(due) if offset_s >= warm_s]
    answered = [i for i in counted if answers.at_s[i]]
    return Driven(
        [(answers.at_s[i] - start_s - due[i]) * 1_000 for i in answered],
        [late[i] * 1_000 for i in counted],
        [answers.bodies[i] for i in answered],
        errors,
    )

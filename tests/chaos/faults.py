"""Carries the plan out beside the load, on a thread of its own, and writes down what it did to whom and when."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from tests.chaos.installation import Installation
from tests.chaos.plan import BROKER, FREEZE, JOIN, KILL, LEAVE, Fault
from tests.chaos.process import Process
from topics.catalog import SUBJECT_PARTITIONS

#: A fault that finds nobody for so long is left out, and the report says so.
POSTPONED_S_MAX: Final = 60.0

#: Longer than that nobody waits for a frozen worker's partitions to move.
FROZEN_S_MAX: Final = 180.0


@dataclass(slots=True)
class Done:
    """What was done. `until_ms`: when it was over (the worker thawed, the broker back)."""

    kind: str
    at_ms: float
    worker: str = ""
    partitions: list[int] = field(default_factory=list)
    until_ms: float = 0.0
    #: Of a kill: whether the group was told.
    told: bool = False


class Faults:
    """`start` with the load, `finish` after it. Raises in `finish` what went wrong on the thread."""

    def __init__(self, installation: Installation, plan: list[Fault]) -> None:
        self.done: list[Done] = []
        self._at = installation
        self._plan = plan
        #: What ends a fault later: when (monotonic), and how.
        self._later: list[tuple[float, partial[None]]] = []
        self._joined: list[Process] = []
        self._restart: threading.Thread | None = None
        self._error: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)

    def start(self) -> None:
        """Begin; the plan's times count from here."""
        self._began_s = time.monotonic()
        self._thread.start()

    def finish(self) -> None:
        """Let the rest of the plan be carried out, then end the thread."""
        while self._thread.is_alive() and (self._plan or self._later):
            time.sleep(0.05)
        self._stopping.set()
        self._thread.join()
        if self._restart is not None:
            self._restart.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._at.keep()
                now_s = time.monotonic()
                for when_s, what in [one for one in self._later if one[0] <= now_s]:
                    self._later.remove((when_s, what))
                    what()
                late_s = now_s - self._began_s - self._plan[0].at_s if self._plan else -1.0
                if late_s > POSTPONED_S_MAX:
                    self._note(Done(f"{self._plan.pop(0).kind}, not possible", _now_ms()))
                elif late_s >= 0.0 and self._possible(self._plan[0]):
                    self._do(self._plan.pop(0))
                time.sleep(0.02)
        except BaseException as error:
            self._error = error

    def _possible(self, fault: Fault) -> bool:
        """Whether there is somebody to do it to; else it comes a little later."""
        if fault.kind == FREEZE:
            # Frozen without a partition it would have nothing to lose.
            return any(worker.partitions() for worker in self._at.alive())
        return fault.kind not in (KILL, LEAVE) or bool(self._victims(fault))

    def _victims(self, fault: Fault) -> list[Process]:
        if fault.kind == LEAVE:
            # Who has nothing yet would leave without anybody noticing.
            return [one for one in self._at.alive() if one in self._joined and one.partitions()]
        return self._at.alive()

    def _do(self, fault: Fault) -> None:
        if fault.kind == JOIN:
            self._joined.append(self._at.add_worker())
            self._note(Done(JOIN, _now_ms(), self._joined[-1].worker))
        elif fault.kind == BROKER:
            self._restart = threading.Thread(target=self._restart_broker, name="broker", daemon=True)
            self._restart.start()
        elif fault.kind == FREEZE:
            self._freeze(fault)
        else:
            victims = self._victims(fault)
            self._end(fault, victims[int(fault.chance * len(victims))])

    def _end(self, fault: Fault, worker: Process) -> None:
        owned = worker.partitions()
        done = self._note(Done(fault.kind, _now_ms(), worker.worker, owned, told=fault.told))
        if fault.kind == KILL:
            self._at.kill(worker, fault.lasts_s, fault.told)
            done.until_ms = done.at_ms + fault.lasts_s * 1000
        else:
            worker.ask_to_stop()

    def _freeze(self, fault: Fault) -> None:
        owners = [(one, mine) for one in self._at.alive() if (mine := one.partitions())]
        if not owners:
            self._plan.insert(0, fault)
            return
        worker, owned = owners[int(fault.chance * len(owners))]
        worker.frozen = True
        worker.signal(signal.SIGSTOP)
        done = self._note(Done(FREEZE, _now_ms(), worker.worker, owned))
        self._later.append((time.monotonic() + fault.lasts_s, partial(self._thaw, worker, done)))

    def _thaw(self, worker: Process, done: Done) -> None:
        """Once its partitions have gone to others: before, there is nothing it could do wrong."""
        owned = {partition for other in self._at.alive() for partition in other.partitions()}
        if not owned.issuperset(done.partitions) and _now_ms() - done.at_ms < FROZEN_S_MAX * 1000:
            self._later.append((time.monotonic() + 0.5, partial(self._thaw, worker, done)))
            return
        done.until_ms = _now_ms()
        worker.signal(signal.SIGCONT)
        worker.frozen = False

    def _restart_broker(self) -> None:
        done = self._note(Done(BROKER, _now_ms(), partitions=list(range(SUBJECT_PARTITIONS))))
        try:
            self._at.restart_broker()
        except BaseException as error:
            self._error = error
        done.until_ms = _now_ms()

    def _note(self, done: Done) -> Done:
        self.done.append(done)
        return done


def _now_ms() -> float:
    return time.time() * 1000

"""The installation under attack: broker, workers, bridges as guarded processes; what ended is started again.

Knows how to hurt each; when, others say.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.parts import answers_ok
from pipeline.adapters.topic_admin import ensure_topics
from pipeline.local.broker import EmbeddedBroker
from pipeline.runtime import logs, membership
from pipeline.settings import Settings
from tests.chaos.families import TENANT
from tests.chaos.plan import Options
from tests.chaos.process import Process
from tests.sim.policies import POLICY
from tests.support import shop
from tests.support.stack import Client
from topics.catalog import BY_NAME, SUBJECT_PARTITIONS

READY_S_MAX: Final = 90.0


class ChaosError(RuntimeError):
    """The run could not be carried out; the text says what to look at."""


class StuckError(ChaosError):
    """The installation did not come to rest though nothing disturbed it: a promise is broken."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker that ended, by itself or not."""

    at_ms: float
    worker: str
    code: int
    words: str


class Installation:
    """Everything that runs. A context; `keep` is to be called a few times a second."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.broker = EmbeddedBroker(folder, 0)
        self.broker_up = threading.Event()
        self.workers: list[Process] = []
        self.bridges: list[Process] = []
        self.ended: list[Ended] = []
        self._stack = ExitStack()

    def __enter__(self) -> Installation:
        self._stack.callback(self.broker.stop)
        self.broker.start()
        self.broker_up.set()
        self.settings = Settings(bootstrap=self.broker.bootstrap, tenant=TENANT, app_id="chaos")
        ensure_topics(self.settings)
        self.client = Client(self.broker.bootstrap)
        for record in shop.publication(self.folder / "policy", POLICY, TENANT):
            self.client.send(BY_NAME[record.topic], record.key, record.value)
        self.client.flush()
        for _ in range(self.options.workers):
            self.add_worker()
        for number in range(self.options.bridges):
            self.bridges.append(self._start(f"bridge-{number}", ["pipeline.cli.main", "bridge"]))
        self.wait("a share of the partitions for every worker", lambda: self.shared(self.options.workers))
        self.wait("the bridges' readiness", lambda: all(answers_ok(bridge.port) for bridge in self.bridges))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def add_worker(self) -> Process:
        """One more worker, started."""
        mutant = self.options.mutant
        arguments = ["tests.chaos.mutated", mutant] if mutant else ["pipeline.cli.main", "worker"]
        self.workers.append(self._start(f"worker-{len(self.workers)}", arguments))
        return self.workers[-1]

    def _start(self, name: str, arguments: list[str]) -> Process:
        settings = {
            "bootstrap": self.broker.bootstrap, "tenant": TENANT, "app_id": "chaos",
            "session_timeout_ms": self.options.session_timeout_ms,
            # All callers are at one address here, as behind a proxy.
            "connections_per_address_max": 2_000,
        }
        process = Process(name, arguments, settings, self.folder)
        self._stack.callback(process.stop)
        process.start()
        return process

    def keep(self) -> None:
        """Note what ended, and start it again when it may. Raises ChaosError where a bridge ended: nobody hurts one."""
        now_s = time.monotonic()
        for worker in self.workers:
            code = worker.poll()
            if code is None or worker.leaving:
                continue
            if worker.start_at_s <= 0.0:
                self.ended.append(Ended(time.time() * 1000, worker.worker, code, worker.last_words()))
                worker.start_at_s = now_s
                membership.leave_soon(self._settings_of(worker))
            if now_s >= worker.start_at_s and self.broker_up.is_set():
                worker.start_at_s = 0.0
                worker.start()
        for bridge in self.bridges:
            if bridge.poll() is not None:
                raise ChaosError(f"{bridge.name} ended; {logs.last_words(bridge.log)}")

    def kill(self, worker: Process, away_s: float, tell: bool) -> None:
        """kill -9; it is started again after so long. `tell`: the group is told, as by a supervisor."""
        worker.signal(signal.SIGKILL)
        end_s = time.monotonic() + 5.0
        while worker.poll() is None and time.monotonic() < end_s:
            time.sleep(0.005)
        if tell:
            membership.leave_soon(self._settings_of(worker))
        worker.start_at_s = time.monotonic() + max(away_s, 0.001)

    def _settings_of(self, worker: Process) -> Settings:
        return self.settings.model_copy(update={"data_dir": worker.data_dir})

    def restart_broker(self) -> None:
        """Stop it and start it again. Blocks."""
        self.broker_up.clear()
        self.broker.stop()
        self.broker.start()
        self.broker_up.set()

    def alive(self) -> list[Process]:
        """The workers that run and are not frozen."""
        return [one for one in self.workers if one.poll() is None and not (one.frozen or one.leaving)]

    def shared(self, workers: int = 1) -> bool:
        """Whether all partitions have an owner, and so many workers have some."""
        owned = [mine for worker in self.alive() if (mine := worker.partitions())]
        return len(owned) >= workers and sorted(p for mine in owned for p in mine) == list(range(SUBJECT_PARTITIONS))

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = READY_S_MAX) -> None:
        """Until the condition holds, keeping everything up. Raises ChaosError where that takes too long."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            self.keep()
            if time.monotonic() > end_s:
                raise ChaosError(f"{what} did not come within {timeout_s:.0f} s; the logs are in {self.folder}")
            time.sleep(0.05)

    def stop_workers(self) -> dict[int, Process]:
        """An orderly end of workers and bridges; returns who owned what before. Raises ChaosError."""
        owners: dict[int, Process] = {}

        def all_owned() -> bool:
            """Not so while the last one that left is being replaced."""
            owners.clear()
            owners.update({p: worker for worker in self.alive() for p in worker.partitions()})
            return len(owners) == SUBJECT_PARTITIONS

        self.wait("an owner for every partition", all_owned)
        for process in (*self.bridges, *self.workers):
            process.ask_to_stop()
        for process in (*self.bridges, *self.workers):
            process.stop()
        return owners

"""One whole installation on this machine: broker (or an address), workers, bridge, as guarded processes.

What `nextbest up` shows and `nextbest demo` drives. Puts parts together; decides nothing about records.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from pipeline.local import parent
from pipeline.local.broker import EmbeddedBroker
from pipeline.local.supervisor import Part, Supervisor
from pipeline.runtime import logs, membership, ports
from pipeline.runtime.guarded import Guarded
from pipeline.settings import Settings

LOOPBACK: Final = "127.0.0.1"

#: Longer than a bridge drains its requests, and than a worker finishes its batch and leaves the group.
GRACE_S: Final = 15.0


class ProcessPart:
    """A command of ours as a guarded child process that writes to a log file of its own."""

    def __init__(self, name: str, command: str, settings: Settings, log_path: Path, metrics_url: str) -> None:
        self.name = name
        self.log_path = log_path
        self.metrics_url = metrics_url
        # -P: the caller's folder may hold a `pipeline` of its own.
        self._command = (sys.executable, "-P", "-m", "pipeline.cli.main", *command.split())
        self.settings = settings
        self._process: Guarded | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def launch(self) -> None:
        with logs.append_to(self.log_path) as log:
            self._process = Guarded.start(self._command, log=log, grace_s=GRACE_S, env=environment(self.settings))

    def poll(self) -> int | None:
        return self._process.poll() if self._process else None

    def ask_to_stop(self) -> None:
        if self._process:
            self._process.ask_to_stop()

    def stop(self) -> None:
        if self._process:
            self._process.stop()


def environment(settings: Settings) -> Mapping[str, str]:
    """This process's environment with the settings a child needs to have the same ones."""
    given = {
        f"NEXTBEST_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name in settings.model_fields_set
        if (value := getattr(settings, name)) is not None
    }
    # A child ends with its guard, which ends with this process.
    inherited = {name: value for name, value in os.environ.items() if name != parent.SETTING}
    return inherited | given


class Stack:
    """Broker, workers and bridge. `settings.bootstrap` is replaced by the broker's address where one is embedded."""

    def __init__(
        self, settings: Settings, workers: int, broker: EmbeddedBroker | None, tell: Callable[[str], None]
    ) -> None:
        self._broker = broker
        self._workers = workers
        self._tell = tell
        self.supervisor = Supervisor()
        self.settings = settings.model_copy(
            update={
                "data_dir": settings.data_dir.resolve(),
                "http_port": settings.http_port or ports.free_port(settings.http_host),
            }
        )

    @property
    def http_url(self) -> str:
        """Where the bridge answers, as seen from this machine."""
        host = self.settings.http_host
        return f"http://{LOOPBACK if host in ('0.0.0.0', '::') else host}:{self.settings.http_port}"  # noqa: S104

    def start(self, prepare: Callable[[Settings], None]) -> None:
        """Start everything; `prepare` makes the cluster ready for workers.

        Blocks until the broker answers, not until decisions are served (`not_ready`). Raises StartupError; after it,
        as after anything else, `stop` is due.
        """
        ports.check_free(self.settings.http_host, self.settings.http_port, "--http-port")
        if self._broker is not None:
            self._tell("Starting the Kafka broker")
            self.supervisor.start([self._broker])
            self._broker.wait_until_ready()
            self.settings = self.settings.model_copy(update={"bootstrap": self._broker.bootstrap})
        self._tell(f"Preparing topics and policy at {self.settings.bootstrap}")
        prepare(self.settings)
        self._tell(f"Starting the bridge and {self._workers} worker{'s' if self._workers > 1 else ''}")
        workers = [self._worker(number + 1) for number in range(self._workers)]
        self.supervisor.start(workers, self._broker_answers, self._leave_group)
        bridge = self._process("bridge", "bridge", self.settings, f"{self.http_url}/metrics")
        self.supervisor.start([bridge], self._broker_answers)
        if self.settings.logs:
            self.supervisor.start([self._log_sink()], self._broker_answers)

    def not_ready(self) -> str | None:
        """Why a decision could not be served now, in words; None where it could."""
        try:
            with urllib.request.urlopen(f"{self.http_url}/readyz", timeout=5):  # noqa: S310 - our own address
                return None
        except urllib.error.HTTPError as answer:
            return answer.read().decode("utf-8", "replace")
        except OSError:
            return "the bridge does not listen yet"

    def stop(self) -> None:
        """Stop the bridge, then the workers, then the broker. Repeatable."""
        self.supervisor.stop(self._tell)

    def _leave_group(self, worker: Part) -> None:
        """The others need not wait for the session of one that is known to be dead."""
        if isinstance(worker, ProcessPart):
            membership.leave_soon(worker.settings)

    def _broker_answers(self) -> bool:
        return self._broker is None or self._broker.answers()

    def _worker(self, number: int) -> ProcessPart:
        port = ports.free_port(LOOPBACK)
        own = {"data_dir": self.settings.data_dir / f"worker-{number}", "worker_port": port}
        name = f"worker-{number}"
        return self._process(name, "worker", self.settings.model_copy(update=own), f"http://{LOOPBACK}:{port}/metrics")

    def _log_sink(self) -> ProcessPart:
        port = ports.free_port(LOOPBACK)
        settings = self.settings.model_copy(update={"worker_host": LOOPBACK})
        return self._process("log-sink", f"logs sink --port {port}", settings, f"http://{LOOPBACK}:{port}/metrics")

    def _process(self, name: str, command: str, settings: Settings, metrics_url: str) -> ProcessPart:
        return ProcessPart(name, command, settings, self.settings.data_dir / "logs" / f"{name}.log", metrics_url)

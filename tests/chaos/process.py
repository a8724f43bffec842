"""One worker or bridge as a guarded process that may be started many times."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Final

from bench.parts import ROOT
from pipeline.runtime.guarded import Guarded
from pipeline.runtime.ports import free_port

HOST: Final = "127.0.0.1"
GRACE_S: Final = 20.0


class Process:
    """One worker or bridge, which may be started many times; its data and log stay."""

    def __init__(self, name: str, arguments: list[str], settings: dict[str, object], folder: Path) -> None:
        self.name = name
        self.port = free_port(HOST)
        self.data_dir = folder / name
        self.log = folder / f"{name}.log"
        self.frozen = False
        #: Told to stop, for good.
        self.leaving = False
        #: When it may be started again after its end (monotonic).
        self.start_at_s = 0.0
        self._command = [sys.executable, "-m", *arguments]
        self._env = os.environ | {
            "NEXTBEST_DATA_DIR": str(self.data_dir), "NEXTBEST_WORKER_PORT": str(self.port),
            "NEXTBEST_HTTP_PORT": str(self.port), **{f"NEXTBEST_{k.upper()}": str(v) for k, v in settings.items()},
        }
        self._process: Guarded | None = None
        #: Where its present life begins in the log.
        self._life_from = 0

    def start(self) -> None:
        """Start it; its former self must have ended."""
        with self.log.open("ab") as log:
            self._life_from = log.tell()
            self._process = Guarded.start(self._command, log=log, grace_s=GRACE_S, env=self._env, cwd=ROOT)

    @property
    def pid(self) -> int:
        """The process id of its present or last life."""
        return self._process.pid if self._process else 0

    @property
    def worker(self) -> str:
        """Its name as a worker gives it in its announcements."""
        return f"{socket.gethostname()}-{self.pid}"

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll() if self._process else 0

    def signal(self, number: int) -> None:
        """Send a signal to it alone."""
        os.kill(self.pid, number)

    def ask_to_stop(self) -> None:
        """For good; returns at once."""
        self.leaving = True
        if self._process:
            self._process.ask_to_stop()

    def stop(self) -> None:
        """End it and wait; repeatable."""
        if self.frozen:
            self.signal(signal.SIGCONT)
        if self._process:
            self._process.stop()

    def partitions(self) -> list[int]:
        """The partitions it decides for; none where it does not say."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/readyz", timeout=2.0) as answer:
                return list(json.load(answer)["partitions"])
        except (OSError, ValueError):
            return []

    def last_words(self) -> str:
        """Why it stopped, as far as it said."""
        lines = self.log.read_bytes()[self._life_from :].decode("utf-8", "replace").splitlines()
        said = [line for line in lines if "stopping:" in line] or lines
        return said[-1][-300:] if said else ""

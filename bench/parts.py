"""The processes that are measured, and the broker between them: started, watched, frozen and stopped here.

Every one is guarded: it ends with this process, however this one ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from pipeline.local.broker import EmbeddedBroker
from pipeline.runtime.guarded import Guarded
from pipeline.runtime.ports import free_port

ROOT: Final = Path(__file__).absolute().parents[1]
HOST: Final = "127.0.0.1"
READY_S_MAX: Final = 90.0
GRACE_S: Final = 10.0
#: No load explains a sleep so much longer than asked for; a suspended virtual machine does.
SUSPENDED_S: Final = 5.0
_LOOK_S: Final = 0.05


class BenchError(RuntimeError):
    """The benchmark could not be carried out; the text says what to look at."""


class Part:
    """One process under measurement."""

    def __init__(self, name: str, process: Guarded, log: Path) -> None:
        self.name = name
        self.log = log
        self.pid = process.pid
        self._process = process

    @classmethod
    def start(
        cls, name: str, arguments: Sequence[str], log_dir: Path, env: dict[str, str], python: str = sys.executable
    ) -> Part:
        """Run `python ARGUMENTS` in the checkout."""
        path = log_dir / f"{name.replace(' ', '-')}.log"
        with path.open("ab") as log:
            process = Guarded.start(
                [python, *arguments], log=log, grace_s=GRACE_S, env=os.environ | env, cwd=ROOT
            )
        return cls(name, process, path)

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    def require(self) -> None:
        """Raises BenchError where it has ended."""
        code = self.poll()
        if code is not None:
            words = "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-12:])
            raise BenchError(f"the {self.name} ended with {code}; its last words, from {self.log}:\n{words}")

    def stop(self) -> None:
        """Ask it to stop and wait; repeatable."""
        self._process.stop()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It does nothing at all meanwhile. Keep it short: its place in the group runs out."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def cpu_s(self) -> float | None:
        """Processor time it has taken so far; None where the system does not tell."""
        return cpu_s(self.pid)


class Parts:
    """The broker and everything on it, stopped in reverse order at the end."""

    def __init__(self, data_dir: Path, tick: Callable[[], None]) -> None:
        self._stack = ExitStack()
        #: Everything that is kept during the run: data and logs.
        self.directory = data_dir
        self._tick = tick
        self.parts: list[Part] = []
        self.http_port = free_port(HOST)

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def start_broker(self, say: Callable[[str], None]) -> EmbeddedBroker:
        """An embedded broker of its own."""
        self.broker = EmbeddedBroker(self.directory, 0, say)
        self.broker.start()
        self._stack.callback(self.broker.stop)
        return self.broker

    def start(
        self, name: str, arguments: Sequence[str], env: dict[str, str] | None = None, python: str = sys.executable
    ) -> Part:
        """One more process; the address of the broker is in its environment."""
        data_dir = self.directory / name.replace(" ", "-")
        own = {"NEXTBEST_BOOTSTRAP": self.broker.bootstrap, "NEXTBEST_DATA_DIR": str(data_dir)}
        part = Part.start(name, arguments, self.directory, own | (env or {}), python)
        self._stack.callback(part.stop)
        self.parts.append(part)
        return part

    def end_all(self) -> None:
        """Stop everything, the broker last."""
        self.parts.clear()
        self._stack.close()

    def end(self, part: Part) -> None:
        """Stop one part before the others."""
        self.parts.remove(part)
        part.stop()

    def start_worker(self, name: str = "worker", port: int = 0) -> Part:
        """One worker as it is run in earnest, ready to decide; each name has its own data."""
        port = port or free_port(HOST)
        worker = self.start(name, ["-m", "pipeline.cli.main", "worker"], {"NEXTBEST_WORKER_PORT": str(port)})
        self.wait("the worker's readiness", lambda: answers_ok(port))
        return worker

    def start_bridge(self) -> Part:
        """One bridge as it is run in earnest, ready to be asked."""
        bridge = self.start(
            "bridge", ["-m", "pipeline.cli.main", "bridge"], {"NEXTBEST_HTTP_PORT": str(self.http_port)}
        )
        self.wait("the bridge's readiness", lambda: answers_ok(self.http_port))
        return bridge

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = READY_S_MAX) -> None:
        """Until the condition holds. Raises BenchError where that takes too long or a part ends meanwhile."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            self.require()
            if time.monotonic() > end_s:
                raise BenchError(f"{what} did not come within {timeout_s:.0f} s; the logs are in {self.directory}")
            self.pause(_LOOK_S)

    def pause(self, seconds: float) -> None:
        """Let time pass, for the measured and for the progress bar. Raises BenchError after a suspension."""
        self._tick()
        before_s = time.monotonic()
        time.sleep(seconds)
        stood_still_s = time.monotonic() - before_s - seconds
        if stood_still_s > SUSPENDED_S:
            raise BenchError(f"this machine stood still for {stood_still_s:.0f} s: run it again, nothing counts")

    def require(self) -> None:
        """Raises BenchError where the broker or a part has ended."""
        if self.broker.poll() is not None:
            raise BenchError(f"the broker ended; see {self.broker.log_path}")
        for part in self.parts:
            part.require()

    def cpu_s(self) -> dict[str, float]:
        """Processor time of each part and the broker so far; empty where the system does not tell."""
        found = {"broker": cpu_s(self.broker.pid), **{part.name: part.cpu_s() for part in self.parts}}
        return {name: used_s for name, used_s in found.items() if used_s is not None}

    def run(self, name: str, arguments: Sequence[str], timeout_s: float) -> None:
        """Run a process to its end. Raises BenchError where it fails or takes too long."""
        part = Part.start(name, arguments, self.directory, {})
        end_s = time.monotonic() + timeout_s
        try:
            while (code := part.poll()) is None:
                self.require()
                if time.monotonic() > end_s:
                    raise BenchError(f"the {name} did not end within {timeout_s:.0f} s; see {part.log}")
                self.pause(_LOOK_S)
            if code != 0:
                part.require()
        finally:
            part.stop()


def answers_ok(port: int) -> bool:
    """Whether `/readyz` says yes."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=5) as answer:
            json.load(answer)
            return True
    except (OSError, urllib.error.URLError, ValueError):
        return False


def cpu_s(pid: int | None) -> float | None:
    """Processor time of a process so far, user and system; None where the system does not tell (not Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

"""Child processes that never outlive this one: every part that is started goes through `Guarded`.

Starts, signals and reaps; knows nothing of brokers and workers.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

GUARD: Final = Path(__file__).with_name("guard.py")


class Guarded:
    """One command under a guard (`guard.py`). Its end is this object's `stop`, or this process's own end."""

    def __init__(self, guard: subprocess.Popen[bytes], pid: int) -> None:
        self._guard = guard
        #: The command's own process id.
        self.pid = pid

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        log: IO[bytes] | int,
        grace_s: float,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Guarded:
        """Start `command`; both its outputs go to `log`. When asked to stop it has `grace_s` before it is killed."""
        read, write = os.pipe()
        try:
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), str(grace_s), str(write), *command],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, pass_fds=(write,),
                env=env, cwd=cwd, start_new_session=True,
            )
        finally:
            os.close(write)
        with os.fdopen(read) as report:
            return cls(guard, int(report.readline() or 0))

    @property
    def guard_pid(self) -> int:
        """The guard's process id."""
        return self._guard.pid

    def poll(self) -> int | None:
        """The exit code as a shell says it (128 + signal), None while the command runs."""
        return None if self._guard.poll() is None else self.stop()

    def ask_to_stop(self) -> None:
        """SIGTERM to the command and what it started, SIGKILL after its grace. Returns at once; repeatable."""
        if self._guard.stdin and not self._guard.stdin.closed:
            self._guard.stdin.close()

    def stop(self) -> int:
        """Ask to stop and wait for the end, which comes within the grace. Returns the exit code."""
        self.ask_to_stop()
        code = self._guard.wait()
        return code if code >= 0 else 128 - code

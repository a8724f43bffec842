"""Runs one command so that it never outlives whoever asked for it: `python guard.py GRACE_S REPORT_FD COMMAND…`.

A script of its own that imports the standard library only, to start in milliseconds; `guarded.py` is the side that
calls it. Standard input is a pipe that the caller holds open and never writes to: its end means that the caller is
gone, kill -9 included. The command runs in a session of its own, so that a terminal's Ctrl-C reaches the caller alone,
who then stops its parts in order.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from typing import Final

#: prctl(2): the signal a process gets when its parent dies. Linux only.
PR_SET_PDEATHSIG: Final = 1

EXIT_NOT_STARTED: Final = 127


def start(command: list[str]) -> int:
    """Fork and execute; returns the process id. The guard has one thread, so that forking is safe."""
    guard = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:  # it died before the call
                os._exit(EXIT_NOT_STARTED)
        os.execvp(command[0], command)  # noqa: S606 - the caller's own command
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(EXIT_NOT_STARTED)


def signal_group(child: int, number: int) -> None:
    """Signal the child and what it started in its session; a group that has ended is no error."""
    try:
        os.killpg(child, number)
    except ProcessLookupError:
        return
    except PermissionError:  # macOS says so about a group of which only zombies are left
        return


def reaped(child: int) -> int | None:
    """The child's exit code in the shell's convention (128 + signal), None while it runs."""
    done, status = os.waitpid(child, os.WNOHANG)
    if not done:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def watch(child: int, wake: int, asked_to_stop: list[int], grace_s: float) -> int:
    """Wait for the child's end; from the caller's end or a request to stop on, give it `grace_s` and then kill it."""
    caller = sys.stdin.fileno()
    sources = [wake, caller]
    kill_at_s: float | None = None
    while (code := reaped(child)) is None:
        stopping = bool(asked_to_stop) or caller not in sources
        if stopping and kill_at_s is None:
            signal_group(child, signal.SIGTERM)
            kill_at_s = time.monotonic() + grace_s
        wait_s = None if kill_at_s is None else kill_at_s - time.monotonic()
        if wait_s is not None and wait_s <= 0:
            signal_group(child, signal.SIGKILL)
            wait_s = 1.0
        ready = select.select(sources, [], [], wait_s)[0]
        if wake in ready:
            os.read(wake, 4096)
        if caller in ready and not os.read(caller, 4096):
            sources.remove(caller)
    signal_group(child, signal.SIGKILL)  # what it left behind in its session
    return code


def main(arguments: list[str]) -> int:
    grace_s, report, command = float(arguments[0]), int(arguments[1]), arguments[2:]
    wake, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_inheritable(report, False)
    asked_to_stop: list[int] = []
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    child = start(command)
    os.write(report, f"{child}\n".encode())
    os.close(report)
    return watch(child, wake, asked_to_stop, grace_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A guarded command ends with whoever started it, however that ends, and never before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.runtime.guarded import Guarded
from tests.support.processes import alive, wait_for

STUBBORN = "trap '' TERM INT; echo up; while :; do sleep 0.05; done"
POLITE = "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that starts one stubborn guarded command, says both process ids, and waits."""
    script = textwrap.dedent(f"""
        import os, signal, sys
        from pipeline.runtime.guarded import Guarded
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
        log = open({str(tmp_path / "log")!r}, "wb")
        child = Guarded.start(["sh", "-c", {STUBBORN!r}], log=log, grace_s=0.3)
        try:
            print(child.pid, child.guard_pid, flush=True)
            signal.pause()
        except KeyboardInterrupt:
            sys.exit(child.poll() is not None)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        wait_for(lambda: said(tmp_path) == "up\n")
        yield parent
        parent.kill()


def said(tmp_path: Path) -> str:
    log = tmp_path / "log"
    return log.read_text() if log.exists() else ""


def pids(parent: subprocess.Popen[str]) -> tuple[int, int]:
    assert parent.stdout is not None
    child, guard = parent.stdout.readline().split()
    return int(child), int(guard)


def test_kill_9_of_the_parent_ends_command_and_guard(parent: subprocess.Popen[str]) -> None:
    child, guard = pids(parent)
    assert alive(child)
    parent.kill()
    wait_for(lambda: not alive(child) and not alive(guard))


if sys.platform == "linux":  # nowhere else is a child told that its parent died

    def test_kill_9_of_the_guard_ends_the_command(parent: subprocess.Popen[str]) -> None:
        child, guard = pids(parent)
        os.kill(guard, signal.SIGKILL)
        wait_for(lambda: not alive(child))


def test_ctrl_c_reaches_the_parent_alone(parent: subprocess.Popen[str]) -> None:
    child, guard = pids(parent)
    os.killpg(parent.pid, signal.SIGINT)  # what a terminal does
    assert parent.wait(10) == 0, "the command was gone when the parent heard of the Ctrl-C"
    wait_for(lambda: not alive(child) and not alive(guard))


def test_stop_asks_first(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = Guarded.start(["sh", "-c", POLITE], log=log, grace_s=10)
        wait_for(lambda: said(tmp_path) == "up\n")
        started = time.monotonic()
        assert child.stop() == 7
        assert time.monotonic() - started < 5


def test_stop_kills_after_the_grace(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = Guarded.start(["sh", "-c", STUBBORN], log=log, grace_s=0.2)
        wait_for(lambda: said(tmp_path) == "up\n")
        assert child.stop() == 128 + signal.SIGKILL


def test_what_the_command_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = Guarded.start(["sh", "-c", "sleep 300 & echo $!; exit 3"], log=log, grace_s=1)
        wait_for(lambda: child.poll() is not None)
    assert child.poll() == 3
    left = int(said(tmp_path))
    wait_for(lambda: not alive(left))


def test_a_command_that_is_not_there_is_said_in_the_log(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = Guarded.start(["/nowhere/at/all"], log=log, grace_s=1)
        wait_for(lambda: child.poll() is not None)
    assert child.stop() == 127
    assert said(tmp_path) == "cannot start /nowhere/at/all: No such file or directory\n"


def test_a_command_has_no_standard_input(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = Guarded.start(["sh", "-c", "cat; echo done"], log=log, grace_s=1)
        wait_for(lambda: child.poll() is not None)
    assert said(tmp_path) == "done\n"

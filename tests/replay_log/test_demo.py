"""The demo's folder is its own, its parts are kept running, and what it tells one to type works."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.local.supervisor import Supervisor
from pipeline.runtime.errors import StartupError
from replay_log.demo import MARKER, curl, empty_folder, kept_running
from tests.support.stack import free_port, wait_until

ROOT = Path(__file__).parents[2]
ROWS = 150


def test_a_folder_that_an_earlier_demo_made_is_emptied(tmp_path: Path) -> None:
    empty_folder(tmp_path)
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "log").write_text("x")
    (tmp_path / "up.lock").write_text("1")
    (tmp_path / "elsewhere").symlink_to(ROOT)
    empty_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MARKER, "up.lock"]
    assert (ROOT / "pyproject.toml").exists()


def test_a_folder_with_anything_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StartupError, match=r"holds thesis\.txt, which no demo made.*--data-dir"):
        empty_folder(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


class Failing(Supervisor):
    """Parts that crash too often at the second look."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = threading.Semaphore(0)
        self.looked = 0

    def look(self) -> None:
        self.looked += 1
        self.looks.release()
        if self.looked == 2:
            raise StartupError("the worker ended five times")


def test_parts_are_looked_after_until_they_cannot_be_kept_running() -> None:
    supervisor = Failing()
    with kept_running(supervisor) as kept:
        kept.check()
        for _ in range(2):
            assert supervisor.looks.acquire(timeout=10)
        wait_until(lambda: kept.problem is not None, 10)
        with pytest.raises(StartupError, match="five times"):
            kept.check()
    assert supervisor.looked == 2


def test_a_line_for_the_shell_survives_any_text() -> None:
    body = {"subject": {"id": "it's $HOME `x` \"y\""}}
    words = shlex.split(curl("http://h:1/p", body))
    assert words[:3] == ["curl", "-s", "http://h:1/p"]
    assert json.loads(words[-1]) == body


class Running:
    """A `nextbest` command in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.port = free_port()
        self.environment = os.environ | {"NEXTBEST_HTTP_PORT": str(self.port), "PYTHONPATH": str(ROOT)}
        self.out, self.err = folder / "out.txt", folder / "err.txt"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli.main", *arguments], cwd=folder, env=self.environment,
                stdout=out, stderr=err,
            )

    def said(self, text: str) -> bool:
        """Whether it has, on standard output; fails where it ended instead."""
        assert self.process.poll() is None, self.out.read_text() + self.err.read_text()
        return text in self.out.read_text()

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def type(self, line: str) -> str:
        """What a person sees who types the line in the same place."""
        line = line.replace("nextbest ", f"{shlex.quote(sys.executable)} -m pipeline.cli.main ", 1)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], env=self.environment, capture_output=True, text=True, timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def lines_to_type(told: str) -> list[str]:
    return [line.strip() for line in told.splitlines() if line.startswith(("  curl ", "  nextbest "))]


def check_lines(running: Running, told: str) -> None:
    decide, click, letters = lines_to_type(told)
    answer: dict[str, Any] = json.loads(running.type(decide))
    assert answer["decisions"][0]["placement"] in ("left", "center", "right")
    assert json.loads(running.type(click))["accepted"] == 1
    running.type(letters)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[list[Running]]:
    """Whatever a test starts ends with it."""
    started: list[Running] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.end()


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_the_demo_runs_and_what_it_says_to_type_works(tmp_path: Path, running: list[Running]) -> None:
    demo = Running(tmp_path, "demo", "--rows", str(ROWS), "--keep")
    running.append(demo)
    wait_until(lambda: demo.said("dead-letters list"), 150, "the demo's summary")
    told = demo.out.read_text()
    for part in (f"{ROWS} answered", "no_consent", "latency", "95 % interval", "ours, SNIPS estimate",
                 "A policy that learns", "CC BY 4.0"):
        assert part in told, told
    check_lines(demo, told)
    with (tmp_path / ".nextbest" / "demo" / "up.lock").open("a") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert demo.end() == 0

    # Later, as the demo says without --keep: the same folder, brought up again.
    later = Running(tmp_path, "up", "--data-dir", ".nextbest/demo", "--kafka-port", str(kafka_port := free_port()))
    running.append(later)
    wait_until(lambda: later.said("is ready"), 120, "`nextbest up`")
    port = told.split("127.0.0.1:")[1].split("/")[0]
    told = told.replace(f"127.0.0.1:{port}/", f"127.0.0.1:{later.port}/")
    bootstrap = told.split("--bootstrap ")[1].split()[0]
    check_lines(later, told.replace(bootstrap, f"127.0.0.1:{kafka_port}"))
    assert later.end() == 0


@pytest.mark.broker
@pytest.mark.timeout(200)
def test_ctrl_c_in_the_middle_ends_with_the_summary_so_far(tmp_path: Path, running: list[Running]) -> None:
    demo = Running(tmp_path, "demo", "--rate", "50", "--json")
    running.append(demo)
    lock = tmp_path / ".nextbest" / "demo" / "up.lock"
    wait_until(lambda: "bridge" in demo.err.read_text(), 120, "the bridge")
    wait_until(lambda: replaying(demo), 60, "the replay")
    assert demo.end() == 130
    summary = json.loads(demo.out.read_text())
    assert 0 < summary["stopped"]["resume_after"] == summary["requests"]["answered"] < 10_000
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def replaying(demo: Running) -> bool:
    assert demo.process.poll() is None, demo.out.read_text() + demo.err.read_text()
    return "replaying:" in demo.err.read_text()

"""`nextbest up` from start to end: ready, crashed parts, a second start, Ctrl-C, kill -9, and on where it was."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.processes import alive, wait_for

COMMAND = [sys.executable, "-P", "-m", "pipeline.cli.main", "up", "--kafka-port", "0", "--http-port", "0"]
READY_S = 90.0


class Up:
    """One running `nextbest up`; its standard output and error are files."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        self._out, self._err = data_dir / "out", data_dir / "err"
        root = str(Path(__file__).parents[2])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXTBEST_")}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*COMMAND, "--data-dir", str(data_dir), *options], stdout=out, stderr=err, cwd=data_dir,
                env=environment | {"PYTHONPATH": root}, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        wait_for(lambda: not any(map(alive, self.parts().values())), timeout_s=40)

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def wait_until_ready(self) -> str:
        """The bridge's address."""
        wait_for(lambda: bool(self.out) or self.process.poll() is not None, READY_S)
        found = re.fullmatch(r"Nextbest is ready: (\S+) \(API: .*\n", self.out)
        assert found, f"{self.out}\n{self.err}"
        return found[1]

    def parts(self) -> dict[str, int]:
        """The newest process id of each part."""
        return {name: int(pid) for name, pid in re.findall(r"^(\S+) is running \(process (\d+)\)$", self.err, re.M)}

    def interrupt(self) -> int:
        """What a terminal's Ctrl-C does."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def is_ready(url: str) -> bool:
    try:
        return bool(get(f"{url}/readyz") == {"status": "ready"})
    except OSError:
        return False


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_up_from_start_to_end(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with Up(data_dir, "--workers", "2") as up:
        url = up.wait_until_ready()
        assert is_ready(url)
        assert set(up.parts()) == {"broker", "worker-1", "worker-2", "bridge"}
        assert "is live for default" in up.err  # the example policy

        second = subprocess.run([*COMMAND, "--data-dir", str(data_dir)], capture_output=True, text=True)
        assert second.returncode == 1
        assert f"another `nextbest up` runs on {data_dir} already (process {up.process.pid})" in second.stderr

        killed = up.parts()["worker-1"]
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: up.parts()["worker-1"] != killed, timeout_s=20)
        wait_for(lambda: is_ready(url), timeout_s=30)

        before = up.parts()
        assert up.interrupt() == 0
        assert not any(map(alive, before.values()))
        assert len(up.out.splitlines()) == 1
        stopping = [line for line in up.err.splitlines() if line.startswith("Stopping")]
        assert stopping == ["Stopping bridge", "Stopping worker-1, worker-2", "Stopping broker"]
        assert "Traceback" not in up.err

    with Up(data_dir) as again:
        again.wait_until_ready()
        assert "is live for default" not in again.err  # it was live already
        again.process.kill()
        wait_for(lambda: not any(map(alive, again.parts().values())), timeout_s=40)


@pytest.mark.broker
def test_ctrl_c_while_starting_leaves_nothing(tmp_path: Path) -> None:
    with Up(tmp_path / "data") as up:
        wait_for(lambda: "Starting the Kafka broker" in up.err, timeout_s=20)
        started = time.monotonic()
        assert up.interrupt() == 0
        assert time.monotonic() - started < 25
        assert up.out == ""
        assert "Traceback" not in up.err
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in processes

"""`nextbest up` from start to end: ready, crashed parts, a second start, Ctrl-C, kill -9, and on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.processes import alive, wait_for
from tests.support.up import COMMAND, Up, is_ready


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

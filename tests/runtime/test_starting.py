"""What guards a start: one process per data directory, free ports, bounded logs, the right settings for children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.local import lock_file, parent
from pipeline.local.stack import environment
from pipeline.runtime import logs
from pipeline.runtime.errors import StartupError
from pipeline.settings import Settings
from tests.support.processes import alive, wait_for


def test_a_second_holder_is_told_who_is_first(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "up.lock"
    with lock_file.held(lock, "another one", "--data-dir"):
        sentence = rf"another one runs on .*new already \(process {os.getpid()}\); .*--data-dir"
        with pytest.raises(StartupError, match=sentence), lock_file.held(lock, "another one", "--data-dir"):
            pass
    with lock_file.held(lock, "another one", "--data-dir"):
        pass


def test_a_lock_ends_with_its_holder_even_if_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pipeline.local import lock_file\n"
        f"with lock_file.held(Path({str(tmp_path / 'up.lock')!r}), 'x', 'y'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StartupError), lock_file.held(tmp_path / "up.lock", "x", "y"):
            pass
        holder.kill()
    with lock_file.held(tmp_path / "up.lock", "x", "y"):
        pass


def test_a_large_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BYTES_MAX", 10)
    path = tmp_path / "logs" / "worker.log"
    for line in (b"first, long\n", b"second\n", b"third\n"):
        with logs.append_to(path) as log:
            log.write(line)
    assert path.read_bytes() == b"second\nthird\n"
    assert path.with_suffix(".log.1").read_bytes() == b"first, long\n"


def test_last_words_are_the_end_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert logs.last_words(path).splitlines()[1:] == [f"line {number}" for number in range(99_988, 100_000)]


def test_a_child_gets_the_same_settings_secrets_included(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_TENANT_KEY", "from the environment")
    monkeypatch.setenv(parent.SETTING, "1")
    given = environment(Settings(http_port=8081, data_dir=Path("/data")))
    assert given["NEXTBEST_HTTP_PORT"] == "8081"
    assert given["NEXTBEST_DATA_DIR"] == "/data"
    assert given["NEXTBEST_TENANT_KEY"] == "from the environment"
    assert "NEXTBEST_DEADLINE_MS" not in given
    assert parent.SETTING not in given
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert Settings() == Settings(http_port=8081, data_dir=Path("/data"))


@pytest.mark.parametrize("asked", [True, False])
def test_a_command_ends_with_its_parent_where_that_is_asked_for(asked: bool) -> None:
    child = "import time; from pipeline.local import parent; parent.end_with_it(); print(flush=True); time.sleep(60)"
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)"
    )
    environment = os.environ | {parent.SETTING: "1" if asked else "0"}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as middle:
        assert middle.stdout is not None
        pid = int(middle.stdout.readline())
        middle.kill()
    if asked:
        wait_for(lambda: not alive(pid))
    else:
        with pytest.raises(AssertionError):
            wait_for(lambda: not alive(pid), timeout_s=1.5)
        os.kill(pid, signal.SIGKILL)

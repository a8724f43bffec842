"""A running `nextbest up` for tests: its words, its parts, its end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

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
        return self._ready_line()[1]

    @property
    def bootstrap(self) -> str:
        """The broker's address; once ready."""
        return self._ready_line()[2]

    def _ready_line(self) -> re.Match[str]:
        found = re.fullmatch(r"Nextbest is ready: (\S+) \(API: .*\), Kafka at (\S+), data in .*\n", self.out)
        assert found, f"{self.out}\n{self.err}"
        return found

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

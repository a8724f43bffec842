"""The environment of the Quix Streams app: it pins other versions than ours, so it gets one of its own, on demand."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from typing import Final

from bench.parts import ROOT, BenchError

HOME: Final = ROOT / ".venv-quix"
LOCK: Final = ROOT / "bench" / "requirements-quix.lock"
_STAMP: Final = "installed.lock"


def ensure(say: Callable[[str], None]) -> str:
    """Make the environment where it is missing or its lock has changed; returns its Python. Raises BenchError."""
    python = HOME / "bin" / "python"
    stamp = HOME / _STAMP
    if stamp.exists() and stamp.read_bytes() == LOCK.read_bytes() and python.exists():
        return str(python)
    say(f"Making {HOME.name} for Quix Streams, once, about a minute")
    shutil.rmtree(HOME, ignore_errors=True)
    venv.create(HOME, symlinks=True, with_pip=False)
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input",
            "install", "--quiet", "--only-binary", ":all:", "--require-hashes", "-r", str(LOCK),
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    if done.returncode != 0:
        raise BenchError(f"{HOME.name} could not be made, see below; or run with --no-quix\n{done.stdout[-2_000:]}")
    shutil.copyfile(LOCK, stamp)
    return str(python)


def version() -> str:
    """Of Quix Streams, as locked."""
    lines = LOCK.read_text("utf-8").splitlines()
    return next(line.split("==")[1].split()[0] for line in lines if line.startswith("quixstreams=="))

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
    if not (stamp.exists() and stamp.read_bytes() == LOCK.read_bytes() and python.exists()):
        say(f"Making {HOME.name} for Quix Streams, once, about a minute")
        shutil.rmtree(HOME, ignore_errors=True)
        venv.create(HOME, symlinks=True, with_pip=False)
        said = _failed(
            sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input",
            "install", "--quiet", "--only-binary", ":all:", "--require-hashes", "-r", str(LOCK),
        )
        if said is not None:
            raise BenchError(f"{HOME.name} could not be made, see below; or run with --no-quix\n{said}")
        shutil.copyfile(LOCK, stamp)
    # What the app imports of ours may have come to need more: said now, not after a quarter of an hour.
    said = _failed(str(python), "-c", "import bench.quix_app")
    if said is not None:
        raise BenchError(f"{LOCK.name} lacks something: add it to requirements-quix.in and run `make lock`\n{said}")
    return str(python)


def _failed(*command: str) -> str | None:
    """What a command said last before it failed; None: it did not."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    return done.stdout[-2_000:] if done.returncode else None


def version() -> str:
    """Of Quix Streams, as locked."""
    lines = LOCK.read_text("utf-8").splitlines()
    return next(line.split("==")[1].split()[0] for line in lines if line.startswith("quixstreams=="))

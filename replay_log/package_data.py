"""Fetches one wheel with pip as plain data: pinned, verified, kept in the user's cache, never installed or executed.

Knows nothing of what is inside. Works offline once the file is in the cache. By pip, not by an address: it asks the
index, and goes by the proxy, that the user's Python packages come from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from replay_log.errors import ReplayError

_FETCH_S: Final = 180


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel for every platform, by name, version and the SHA-256 of its file."""

    name: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}-py3-none-any.whl"


def fetch(package: Package, cache: Path) -> Path:
    """The wheel's file, from the cache or else by pip. Raises `ReplayError` where neither has it."""
    kept = cache / package.file
    if kept.is_file() and sha256_of(kept) == package.sha256:
        return kept
    with tempfile.TemporaryDirectory(prefix="nextbest-fetch-") as folder:
        fetched = _download(package, Path(folder))
        verify(fetched, package)
        cache.mkdir(parents=True, exist_ok=True)
        # Beside its place first: another process must never see half a file.
        part = cache / f"{package.file}.{os.getpid()}.part"
        shutil.copyfile(fetched, part)
        part.replace(kept)
    return kept


def verify(path: Path, package: Package) -> Path:
    """The path, if it holds exactly the pinned file. Raises `ReplayError` where it does not."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ReplayError(f"{path} cannot be read: {error}") from error
    if found != package.sha256:
        raise ReplayError(f"{path} is not {package.file} as pinned: its SHA-256 is {found}, not {package.sha256}")
    return path


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(package: Package, folder: Path) -> Path:
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    # A wheel is not built: nothing of it runs.
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
        "--only-binary", ":all:", "--require-hashes", "--dest", str(folder),
        "--requirement", str(wanted),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ReplayError(_unfetched(package, f"pip took longer than {_FETCH_S} s")) from error
    fetched = folder / package.file
    if done.returncode or not fetched.is_file():
        said = (done.stderr.strip() or done.stdout.strip() or "pip said nothing").splitlines()
        raise ReplayError(_unfetched(package, " / ".join(line.strip() for line in said[-3:])))
    return fetched


def _unfetched(package: Package, why: str) -> str:
    return (
        f"{package.file} could not be fetched with pip ({why}). Check the network and pip's settings, or fetch this "
        "wheel elsewhere and name it with --dataset FILE"
    )

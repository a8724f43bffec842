"""Log files of the parts: appended to, bounded, and quoted from where a part ended."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Final

BYTES_MAX: Final = 10_000_000
LINES_QUOTED: Final = 12


def append_to(path: Path) -> IO[bytes]:
    """Open a log for appending; one that has grown large is put aside first, over the one put aside before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > BYTES_MAX:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def last_words(path: Path) -> str:
    """The end of a log, and where the rest is."""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 20_000))
        lines = log.read().decode("utf-8", "replace").splitlines()[-LINES_QUOTED:]
    return f"its last words, from {path}:\n" + ("\n".join(lines) or "(none)")

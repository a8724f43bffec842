"""One process at a time: a lock on a file that ends with its holder, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.runtime.errors import StartupError


@contextmanager
def held(path: Path, what: str, option: str) -> Iterator[None]:
    """Hold the lock, or raise StartupError that says who does: `what` runs there, `option` names elsewhere."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise StartupError(
            f"cannot write to {path.parent}: {error.strerror}; name another folder by {option}"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StartupError(
                f"{what} runs on {path.parent} already (process {holder}); stop it, or name another folder by {option}"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield

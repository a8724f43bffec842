"""How a command that runs until it is told to stop hears of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The shell's status for a program that Ctrl-C ended.
EXIT_INTERRUPTED: Final = 130


class _ToldToStop(BaseException):
    """Unwinds the block, whose `finally` stops the parts in order."""


@contextmanager
def until_told_to_stop() -> Iterator[None]:
    """The block ends, without an error, at the first Ctrl-C, SIGTERM or SIGHUP.

    A second one ends the process at once; guarded parts end with it then (`runtime/guard.py`).
    """

    def told(number: int, frame: FrameType | None) -> None:
        for repeated in SIGNALS:
            signal.signal(repeated, lambda *_: os._exit(EXIT_INTERRUPTED))
        raise _ToldToStop

    before = {number: signal.signal(number, told) for number in SIGNALS}
    try:
        yield
    except _ToldToStop:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

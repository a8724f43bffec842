"""Crash-only stopping (Candea and Fox, "Crash-Only Software", HotOS 2003): the one way a worker ends on a fault.

Every acknowledged effect is on the broker and everything else is read again, so leaving at once is always safe, and
safer than an orderly shutdown in an unknown state.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from typing import NoReturn

log = logging.getLogger(__name__)

EXIT_CODE = 70


def stop(reason: str, error: BaseException | None = None) -> None:
    """Say why, and end the process without another effect. Never returns."""
    log.critical("stopping: %s%s", reason, f": {error!r}" if error else "")
    if error is not None:
        traceback.print_exception(error, file=sys.stderr)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(EXIT_CODE)


def end_within(seconds: float) -> None:
    """From now on, end the process after so long at the latest, whatever its orderly stop still waits for."""

    def end() -> None:
        time.sleep(seconds)
        stop(f"no orderly end within {seconds:g} s of being told to")

    threading.Thread(target=end, name="end", daemon=True).start()


def leave(code: int) -> NoReturn:
    """The end of an orderly stop. A client's thread that still waits for a broker does not hold the process."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

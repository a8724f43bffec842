"""Crash-only stopping (Candea and Fox, "Crash-Only Software", HotOS 2003): the one way a worker ends on a fault.

Every acknowledged effect is on the broker and everything else is read again, so leaving at once is always safe, and
safer than an orderly shutdown in an unknown state.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback

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

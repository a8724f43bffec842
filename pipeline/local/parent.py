"""With NEXTBEST_DIE_WITH_PARENT=1 in its environment a command stops when the process that started it is gone.

make sets it, so that kill -9 of make leaves nothing behind. Children of our own need no such thing: see `guarded.py`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Final

SETTING: Final = "NEXTBEST_DIE_WITH_PARENT"
_LOOK_EVERY_S: Final = 0.5


def end_with_it() -> None:
    """From now on, send this process SIGTERM once its parent has ended. Nothing unless the environment asks for it."""
    if os.environ.get(SETTING) == "1":
        threading.Thread(target=_watch, args=(os.getppid(),), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)

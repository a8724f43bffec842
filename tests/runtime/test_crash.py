"""A worker that is told to stop ends, whatever one of its clients still waits for."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

#: What a client's thread does whose broker is away: it is no daemon, and waits.
STUCK = """
import threading
threading.Thread(target=threading.Event().wait).start()
from pipeline.runtime import crash
"""


@pytest.mark.parametrize(
    ("then", "code", "words"),
    [("crash.leave(3)", 3, ""), ("crash.end_within(0.2)", 70, "no orderly end within 0.2 s of being told to")],
)
def test_a_thread_that_waits_for_ever_does_not_hold_the_process(then: str, code: int, words: str) -> None:
    started_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", STUCK + then], capture_output=True, text=True, timeout=30)
    assert done.returncode == code
    assert words in done.stderr
    assert time.monotonic() - started_s < 20

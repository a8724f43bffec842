"""How the interpreter is set for processes that answer within milliseconds. Measured: docs/benchmarks.md."""

from __future__ import annotations

import gc
import sys

#: A thread that has work (a reply, a delivery report) waits at most so long for one that computes. Python's own 5 ms
#: would be most of a decision's time.
SWITCH_INTERVAL_S = 0.0005

#: Collections of the youngest generation come after so many new containers, of the oldest after so many of those:
#: profiles are kept by the thousands, hold no cycles, and looking through all of them takes longer than a decision.
GC_THRESHOLDS = (50_000, 20, 100)


def set_for_latency() -> None:
    """Call once, when everything that lives as long as the process has been made."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)

"""How the interpreter is set for processes that answer within milliseconds."""

from __future__ import annotations

import gc
import sys

#: A thread that has work (a reply, a delivery report) waits at most so long for one that computes. Python's own 5 ms
#: would be most of a decision's time.
SWITCH_INTERVAL_S = 0.0005

#: Collections of the youngest generation come after so many new containers, of the next after so many of those: many
#: short ones (half a millisecond each; with ten times as many it was 14 ms, up to 35), and few of what has lived
#: longer, which holds no cycles.
GC_THRESHOLDS = (1_000, 1_000, 100)


def set_for_latency() -> None:
    """Call once, when everything that lives as long as the process has been made."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)

"""Whether a log says enough about a policy for an estimate to be read. Pure.

Kish's effective size of all weights, and of those of the rows that earned something: an interval by resampling a
handful of rewarded rows says nothing about the rewards that were not seen.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from analysis.off_policy.estimators import effective_size
from analysis.off_policy.log import Floats, Log

#: Rows, and rewarded rows, that must carry an estimate.
ROWS_NEEDED: Final = 50
REWARDED_NEEDED: Final = 10


def too_few(log: Log, target: Floats) -> str:
    """Why the data are too few to judge the policy `target` [n, n_actions] by, in words; "" where they are not."""
    if not log.rows:
        return "too few data: no row"
    weights = log.taken(target) / log.pscore
    rows, rewarded = effective_size(weights), effective_size(weights[np.nonzero(log.reward)])
    if rows < ROWS_NEEDED:
        return f"too few data: worth {rows:.0f} rows of this policy's own, and {ROWS_NEEDED} are needed"
    if rewarded < REWARDED_NEEDED:
        return (
            f"too few data: worth {rewarded:.1f} rewarded rows of this policy's own, and {REWARDED_NEEDED} are needed"
        )
    return ""

"""A log of decisions as arrays, and the reasons for which no estimate is made from it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

#: Fewer rows than this say nothing that an interval of large samples could bound.
ROWS_MIN: Final = 50
#: Rows times actions of one table of probabilities: 400 MB.
CELLS_MAX: Final = 50_000_000
_SUM_TOLERANCE: Final = 1e-6
#: A logged probability above this left no room for another action.
_CERTAIN: Final = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Log:
    """Rows of one logging policy, in the Open Bandit Pipeline's field names.

    `action` int [n], 0 <= action < n_actions; `reward` float [n]; `pscore` float [n], the logged probability of the
    action at its position; `position` int [n]; `group` int [n]: rows of one group (a subject) depend on each other, and
    are resampled together; `eligible` bool [n, n_actions]: what the logging policy could have shown; `context` float
    [n, d]. Raises ValueError where the shapes do not fit: that is the caller's mistake and not the data's.
    """

    action: Ints
    reward: Floats
    pscore: Floats
    n_actions: int
    position: Ints | None = None
    group: Ints | None = None
    eligible: Bools | None = None
    context: Floats | None = None
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.action)
        for name in ("reward", "pscore", "position", "group", "context"):
            given = getattr(self, name)
            if given is not None and len(given) != n:
                raise ValueError(f"{name} has {len(given)} rows and action {n}")
        if self.eligible is not None and self.eligible.shape != (n, self.n_actions):
            raise ValueError(f"eligible has the shape {self.eligible.shape}, not {(n, self.n_actions)}")
        object.__setattr__(self, "rows", n)

    def positions(self) -> Ints:
        """The position of each row; 0 where none is logged."""
        return np.zeros(self.rows, np.int64) if self.position is None else self.position

    def taken(self, table: Floats) -> Floats:
        """The entry of each row's own action in a table [n, n_actions]."""
        return np.asarray(table[np.arange(self.rows), self.action], np.float64)


def refusals(log: Log, target: Floats, rows_min: int = ROWS_MIN) -> tuple[str, ...]:
    """Why no estimate can be made of the policy `target` [n, n_actions] from this log; none where one can.

    Without `eligible`, what the logging policy could show is what it did show at that position.
    """
    if log.rows < max(2, rows_min):
        return (f"too few rows: {log.rows}, and at least {max(2, rows_min)} are needed",)
    if log.rows * log.n_actions > CELLS_MAX:
        return (f"too large: {log.rows} rows times {log.n_actions} actions are more than {CELLS_MAX}; take fewer rows",)
    if target.shape != (log.rows, log.n_actions):
        raise ValueError(f"the evaluated policy has the shape {target.shape}, not {(log.rows, log.n_actions)}")
    found = [why for check in _CHECKS if (why := check(log, target))]
    return tuple(found) if found else _without_support(log, target)


def _actions(log: Log, _: Floats) -> str:
    wrong = int(np.count_nonzero((log.action < 0) | (log.action >= log.n_actions)))
    return f"{wrong} rows name an action that is none of the {log.n_actions}" if wrong else ""


def _rewards(log: Log, _: Floats) -> str:
    wrong = int(np.count_nonzero(~np.isfinite(log.reward)))
    return f"{wrong} rewards are missing or no number" if wrong else ""


def _contexts(log: Log, _: Floats) -> str:
    wrong = 0 if log.context is None else int(np.count_nonzero(~np.isfinite(log.context)))
    return f"{wrong} values of the context are missing or no number" if wrong else ""


def _propensities(log: Log, _: Floats) -> str:
    missing = int(np.count_nonzero(np.isnan(log.pscore)))
    if missing:
        return f"propensity missing in {missing} of {log.rows} rows: the logging policy must record it"
    wrong = int(np.count_nonzero(~((log.pscore > 0) & (log.pscore <= 1))))
    return f"{wrong} propensities are not above 0 and at most 1" if wrong else ""


def _probabilities(log: Log, target: Floats) -> str:
    if not np.isfinite(target).all() or (target < 0).any():
        return "the evaluated policy has probabilities that are negative or no number"
    wrong = int(np.count_nonzero(np.abs(target.sum(axis=1) - 1) > _SUM_TOLERANCE))
    return f"the evaluated policy's probabilities do not add up to 1 in {wrong} rows" if wrong else ""


_CHECKS: Final[tuple[Callable[[Log, Floats], str], ...]] = (
    _actions, _rewards, _contexts, _propensities, _probabilities,
)


def _without_support(log: Log, target: Floats) -> tuple[str, ...]:
    reasons = []
    certain = int(np.count_nonzero((log.pscore > _CERTAIN) & (log.taken(target) < _CERTAIN)))
    if certain:
        reasons.append(
            f"support missing: in {certain} rows the logging policy could show one action only, and the evaluated "
            "policy shows others"
        )
    outside = int(np.count_nonzero((target > 0) & ~_possible(log)))
    if outside:
        what = "was never logged at that position" if log.eligible is None else "was not eligible"
        reasons.append(
            f"support missing: the evaluated policy gives probability to an action that {what}, in {outside} cells of "
            "rows and actions"
        )
    return tuple(reasons)


def _possible(log: Log) -> Bools:
    if log.eligible is not None:
        return log.eligible
    places, at = np.unique(log.positions(), return_inverse=True)
    seen = np.zeros((len(places), log.n_actions), np.bool_)
    seen[at, log.action] = True
    return np.asarray(seen[at], np.bool_)

"""Policies to evaluate, and the log they are evaluated on, from final outcomes. Pure but for a file that is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.errors import AnalysisError
from analysis.off_policy.log import CELLS_MAX, Floats, Log
from analysis.outcomes import Outcomes

#: Salt of the split of subjects between choosing the best item and judging it.
_SPLIT_SEED: Final = 17


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A log, the policy on it [rows, actions], the items by number, and what a reader should know."""

    log: Log
    target: Floats
    items: tuple[str, ...]
    notes: tuple[str, ...]


def evaluated(rows: Outcomes, policy: str, outcome: str | None, placement: str | None) -> Evaluated:
    """The rows of one outcome on one placement, and a policy on them.

    `policy`: `uniform` over what was logged at each position; `best-fixed`, the item that earned most in one half of
    the subjects, judged by the other half; `item:ID`; or a JSON file, item -> probability. Raises AnalysisError.
    """
    rows = rows.where(rows.outcome == _one(rows.outcome, outcome, "outcome"))
    rows = rows.where(rows.placement == _one(rows.placement, placement, "placement"))
    named = np.array([action is not None for action in rows.action], np.bool_)
    rows = rows.where(named)
    items, action = np.unique(rows.action.astype(str), return_inverse=True)
    if not len(items) or len(rows) * len(items) > CELLS_MAX:
        raise AnalysisError(f"{len(rows)} rows times {len(items)} items: at least 1 and at most {CELLS_MAX} are read")
    group = np.unique(rows.profile_id.astype(str), return_inverse=True)[1]
    log = Log(
        action.astype(np.int64), rows.reward, rows.pscore, len(items), position=rows.position,
        group=group.astype(np.int64),
    )
    notes = list(rows.notes)
    if left_out := int(np.count_nonzero(~named)):
        notes.append(f"{left_out} rows without an item are left out")
    names = tuple(str(item) for item in items)
    if policy == "best-fixed":
        return _best_fixed(log, names, notes)
    return Evaluated(log, _target(log, names, policy), names, tuple(notes))


def _one(column: npt.NDArray[np.object_], wanted: str | None, what: str) -> str:
    found = sorted({str(value) for value in column if value is not None})
    if wanted is None and len(found) == 1:
        return found[0]
    if wanted is None:
        raise AnalysisError(f"name one {what} with --{what}: {', '.join(found) or 'there is none'}")
    if wanted not in found:
        raise AnalysisError(f"there is no {what} {wanted}; there are: {', '.join(found) or 'none'}")
    return wanted


def _target(log: Log, items: tuple[str, ...], policy: str) -> Floats:
    if policy == "uniform":
        return _uniform(log)
    if policy.startswith("item:"):
        return _fixed(log, items, {policy.removeprefix("item:"): 1.0})
    return _fixed(log, items, _shares(Path(policy)))


def _uniform(log: Log) -> Floats:
    places, at = np.unique(log.positions(), return_inverse=True)
    seen = np.zeros((len(places), log.n_actions))
    seen[at, log.action] = 1.0
    return np.asarray((seen / seen.sum(axis=1, keepdims=True))[at], np.float64)


def _fixed(log: Log, items: tuple[str, ...], shares: Mapping[str, float]) -> Floats:
    if unknown := sorted(set(shares) - set(items)):
        raise AnalysisError(f"support missing: the log never showed {', '.join(unknown[:10])}")
    row = np.array([shares.get(item, 0.0) for item in items])
    return np.tile(row, (log.rows, 1))


def _shares(file: Path) -> dict[str, float]:
    try:
        given: Any = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise AnalysisError(
            f"the policy {file} cannot be read ({error.strerror}): give uniform, best-fixed, item:ID, or a JSON file"
        ) from error
    except ValueError as error:
        raise AnalysisError(f"{file} is no JSON: {error}") from error
    if not isinstance(given, dict) or not all(
        isinstance(share, (int, float)) and not isinstance(share, bool) for share in given.values()
    ):
        raise AnalysisError(f"{file} must map each item to its probability")
    return {str(item): float(share) for item, share in given.items()}


def _best_fixed(log: Log, items: tuple[str, ...], notes: list[str]) -> Evaluated:
    if log.group is None:
        raise ValueError("best-fixed splits subjects: the log must have groups")
    count = int(log.group.max()) + 1
    order = np.random.Generator(np.random.Philox(_SPLIT_SEED)).permutation(count)
    chooses = (order % 2 == 0)[log.group]
    weight = np.where(chooses & (log.pscore > 0), 1.0 / np.where(log.pscore > 0, log.pscore, 1.0), 0.0)
    shown = np.bincount(log.action, weights=weight, minlength=log.n_actions)
    earned = np.bincount(log.action, weights=weight * log.reward, minlength=log.n_actions)
    if not shown.sum() > 0:
        raise AnalysisError("no item can be chosen: no row of that half has a propensity")
    best = int(np.argmax(np.where(shown > 0, earned / np.where(shown > 0, shown, 1.0), -np.inf)))
    kept = ~chooses
    position = None if log.position is None else log.position[kept]
    half = Log(
        log.action[kept], log.reward[kept], log.pscore[kept], log.n_actions, position=position, group=log.group[kept]
    )
    notes.append(f"best-fixed is {items[best]}: chosen by one half of the subjects, and judged by the other")
    return Evaluated(half, _fixed(half, items, {items[best]: 1.0}), items, tuple(notes))

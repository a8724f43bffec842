"""What a snapshot says of each item, and what was earned under each snapshot, for people to read. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pipeline.core.model.outcome_record import Outcome
from pipeline.core.model.values import Value
from pipeline.core.models.learner import Learner
from pipeline.core.models.snapshots import Snapshot


class ItemTold(Value, frozen=True):
    """One item of a snapshot. `showings`: as decay left them; `mean`: the mean reward, in the outcome's unit."""

    item_id: str
    showings: float
    mean: float


def by_item(learner: Learner, snapshot: Snapshot) -> list[ItemTold]:
    """The items that were shown, the most shown first; without the prior."""
    low, high = learner.reward_range
    found = []
    for name, row in snapshot.rows.items():
        n, s, _ = snapshot.counts[row].tolist()
        if n > 0.0:
            # Beta and logistic statistics hold rewards as a place within the range.
            mean = low + s / n * (high - low) if learner.kind in ("beta", "logistic") else s / n
            found.append(ItemTold(name, n, mean))
    return sorted(found, key=lambda one: (-one.showings, one.item_id))


class SnapshotTold(Value, frozen=True):
    """Closed windows of what one snapshot chose. `mean`: reward of a showing, in the outcome's unit, with its standard
    `error`; showings of one subject are taken for independent. `propensity`: mean probability of what was shown."""

    snapshot: int
    showings: int
    mean: float
    error: float
    propensity: float


def by_snapshot(learner: Learner, outcomes: Iterable[Outcome]) -> list[SnapshotTold]:
    """The model's final outcomes by the snapshot that chose, in their order; of others nothing."""
    sums: dict[int, tuple[int, float, float, float]] = {}
    for one in outcomes:
        if one.final and one.model == learner.id and one.outcome == learner.outcome:
            n, s, q, p = sums.get(one.snapshot, (0, 0.0, 0.0, 0.0))
            sums[one.snapshot] = n + 1, s + one.reward, q + one.reward**2, p + (one.pscore or 0.0)
    return [SnapshotTold(number, n, s / n, math.sqrt(max(0.0, q / n - (s / n) ** 2) / n), p / n)
            for number, (n, s, q, p) in sorted(sums.items())]

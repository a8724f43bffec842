"""What a policy that learns would have earned on a log: learnt from its first half, judged by its second. Pure.

Thompson sampling of the click rate by item (Thompson 1933; Chapelle and Li, NIPS 2011), its probabilities counted in
draws by the counter-based generator Philox; it is judged off-policy by the logged propensities.
"""

from __future__ import annotations

from array import array
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from analysis.off_policy.estimators import Declared, Method, estimate
from analysis.off_policy.intervals import bootstrap
from analysis.off_policy.log import CELLS_MAX, Bools, Floats, Ints, Log, refusals
from analysis.off_policy.reward_models import Means, cross_fitted
from analysis.off_policy.sufficiency import too_few
from replay_log.rewards import resampled
from replay_log.rows import Impression

#: Rows that are kept to learn from and to judge by.
ROWS_KEPT: Final = 500_000
#: Impressions at the mean rate that each item begins with.
PRIOR_IMPRESSIONS: Final = 50.0
_DRAWS: Final = 20_000
_DRAWN_MAX: Final = 20_000_000
_METHODS: Final = (Method.IPS, Method.SNIPS, Method.DR)
POLICY: Final = "Thompson sampling of click rates by item"


@dataclass(slots=True)
class Learning:
    """The log's rows, as far as a policy learns from them. Past `ROWS_KEPT` they are left out."""

    left_out: int = 0
    without_propensity: int = 0
    _items: array[int] = field(default_factory=lambda: array("q"))
    _places: array[int] = field(default_factory=lambda: array("q"))
    _subjects: array[int] = field(default_factory=lambda: array("q"))
    _clicks: array[float] = field(default_factory=lambda: array("d"))
    _propensities: array[float] = field(default_factory=lambda: array("d"))
    _numbers: tuple[dict[str, int], dict[str, int], dict[str, int]] = field(default_factory=lambda: ({}, {}, {}))

    def add(self, impression: Impression) -> None:
        """One logged row."""
        if len(self._items) >= ROWS_KEPT:
            self.left_out += 1
            return
        if impression.propensity is None:
            self.without_propensity += 1
            return
        texts = (impression.item_id, impression.placement, impression.subject)
        for text, numbers, column in zip(
            texts, self._numbers, (self._items, self._places, self._subjects), strict=True
        ):
            column.append(numbers.setdefault(text, len(numbers)))
        self._clicks.append(float(impression.clicked))
        self._propensities.append(impression.propensity)

    def summary(self) -> dict[str, Any] | None:
        """The estimates in plain data; None where no row has a propensity. `too_few`: why they say nothing."""
        rows, count = len(self._items), len(self._numbers[0])
        if not rows:
            return None
        half = rows // 2
        told: dict[str, Any] = {
            "policy": POLICY, "learnt_from": half, "judged_by": rows - half, "estimates": [], "logged": None,
            "too_few": "", "reasons": [],
        }
        if half < 1 or (rows - half) * count > CELLS_MAX or count * 1_000 > _DRAWN_MAX:
            return told | {"too_few": "not estimated: no rows to learn from, or too many rows times items"}
        items, places, subjects = (
            np.frombuffer(column, np.int64) for column in (self._items, self._places, self._subjects))
        clicks = np.frombuffer(self._clicks, np.float64)
        shown_at = np.zeros((len(self._numbers[1]), count), np.bool_)
        shown_at[places, items] = True
        shares = thompson(items[:half], clicks[:half], shown_at)
        log = Log(
            items[half:], clicks[half:], np.frombuffer(self._propensities, np.float64)[half:], count, places[half:],
            subjects[half:], shown_at[places[half:]])
        return told | _judged(log, shares[places[half:]])


def thompson(items: Ints, clicks: Floats, shown_at: Bools, seed: int = 0) -> Floats:
    """[places, items]: how often each item's drawn click rate is the highest of those that are shown at the place.

    :param shown_at: bool [places, items].
    """
    count = shown_at.shape[1]
    shown = np.bincount(items, minlength=count)
    clicked = np.bincount(items, weights=clicks, minlength=count)
    mean = min(max(float(clicks.mean()), 1e-6), 1 - 1e-6)
    chance = np.random.Generator(np.random.Philox(seed))
    draws = min(_DRAWS, _DRAWN_MAX // count)
    drawn = chance.beta(
        PRIOR_IMPRESSIONS * mean + clicked, PRIOR_IMPRESSIONS * (1 - mean) + shown - clicked, (draws, count))
    best = [np.bincount(np.where(there, drawn, -1.0).argmax(axis=1), minlength=count) for there in shown_at]
    return np.asarray(np.array(best) / draws, np.float64)


def _judged(log: Log, target: Floats) -> dict[str, Any]:
    how = resampled(np.zeros(0, np.int64) if log.group is None else log.group)
    if refused := refusals(log, target):
        return {"too_few": f"too few data: {refused[0]}", "reasons": list(refused)}
    groups = 0 if log.group is None else len(np.unique(log.group))
    table = cross_fitted(log, Means(), 2) if groups > 1 else None
    methods = _METHODS if table is not None else _METHODS[:2]
    made = [estimate(one, log, target, how, Declared(), table) for one in methods]
    middle = bootstrap(log.reward, np.ones(log.rows), log.group, how)
    return {
        "estimates": [asdict(one) for one in made],
        "logged": {"mean": float(log.reward.mean()), "low": middle.low, "high": middle.high},
        "too_few": too_few(log, target),
        "reasons": list(dict.fromkeys(reason for one in made for reason in one.reasons)),
    }

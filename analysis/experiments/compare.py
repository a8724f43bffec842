"""Compares a variation with the control: difference, lift, looks, segments, and what may be concluded. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from analysis.experiments import effects
from analysis.experiments.arms import Arm
from analysis.experiments.corrections import benjamini_yekutieli, holm
from analysis.experiments.effects import Estimated
from analysis.experiments.sequential import SUBJECTS_MIN, Sequence

LOOKS: Final = 20
#: Values of all segments that are compared at most.
SEGMENTS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Declared:
    """How an experiment is read; chosen before it is.

    `metric`: mean per subject, or ratio of outcome to decisions. `winsorise`: a quantile, or none. `alpha` holds for
    all variations together. `tuned_at`: subjects at which the intervals are narrowest. Raises ValueError for what does
    not go together.
    """

    metric: Literal["mean", "ratio"] = "mean"
    alpha: float = 0.05
    tuned_at: int = 10_000
    cuped: bool = False
    winsorise: float | None = None
    correction: Literal["holm", "benjamini-yekutieli"] = "holm"
    subjects_min: int = SUBJECTS_MIN

    def __post_init__(self) -> None:
        Sequence(self.alpha, self.tuned_at)
        if self.metric == "ratio" and (self.cuped or self.winsorise is not None):
            raise ValueError("CUPED and winsorising are for the mean per subject, and not for a ratio")
        if self.winsorise is not None and not 0.5 < self.winsorise < 1:
            raise ValueError("winsorise at a quantile between 0.5 and 1")
        if self.subjects_min < 2:
            raise ValueError("a variance needs at least two subjects in each variation")


@dataclass(frozen=True, slots=True)
class Effect:
    """A variation less the control. Intervals and `p_always` hold at every look; `once_low` and `once_high` at one
    only.

    `lift`: relative, None where the control is not above 0. `theta`, `reduction`: CUPED's; `cut_at`: where outcomes
    were winsorised.
    """

    control: float
    treated: float
    n: int
    difference: float
    low: float
    high: float
    p_always: float
    once_low: float
    once_high: float
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    theta: float | None = None
    reduction: float | None = None
    cut_at: float | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What was known at a moment; `effect` None where the subjects were too few."""

    at_ms: int
    n: int
    effect: Effect | None


@dataclass(frozen=True, slots=True)
class SegmentEffect:
    """One value of a segment; `p_adjusted` for all values of all segments and variations that are read."""

    variation: str
    segment: str
    value: str
    n: int
    effect: Effect | None
    p_adjusted: float | None


def effect(control: Arm, treated: Arm, how: Declared, alpha: float) -> Effect | None:
    """The effect at this look; None where either variation has too few subjects, or a ratio no denominator."""
    if min(len(control), len(treated)) < how.subjects_min:
        return None
    if how.metric == "ratio":
        if not (control.exposures.sum() > 0 and treated.exposures.sum() > 0):
            return None
        pair = effects.ratio(control.outcome, control.exposures), effects.ratio(treated.outcome, treated.exposures)
        return _effect(*pair, how, alpha)
    values, cut_at = [control.outcome, treated.outcome], None
    if how.winsorise is not None:
        values, cut_at = effects.winsorised(values, how.winsorise)
    adjusted = None
    if how.cuped and control.covariate is not None and treated.covariate is not None:
        adjusted = effects.cuped(values[0], values[1], control.covariate, treated.covariate)
    if adjusted is not None:
        values = [adjusted.control, adjusted.treated]
    theta, reduction = (None, None) if adjusted is None else (adjusted.theta, adjusted.reduction)
    return _effect(effects.mean(values[0]), effects.mean(values[1]), how, alpha, theta, reduction, cut_at)


def _effect(
    control: Estimated, treated: Estimated, how: Declared, alpha: float, theta: float | None = None,
    reduction: float | None = None, cut_at: float | None = None,
) -> Effect:
    sequence = Sequence(alpha, how.tuned_at)
    difference = effects.difference(control, treated)
    low, high = sequence.interval(difference)
    once_low, once_high = effects.fixed_interval(difference, alpha)
    lift = effects.relative_lift(control, treated)
    lift_low, lift_high = (None, None) if lift is None else sequence.interval(lift)
    return Effect(
        control.value, treated.value, difference.n, difference.value, low, high, sequence.p_value(difference), once_low,
        once_high, None if lift is None else lift.value, lift_low, lift_high, theta, reduction, cut_at,
    )


def looks(control: Arm, treated: Arm, how: Declared, alpha: float, count: int = LOOKS) -> list[Look]:
    """Up to `count` looks at the subjects that were complete by then, about as many new ones at each; the last is
    now.
    """
    times = np.sort(np.concatenate([control.complete_ms, treated.complete_ms]))
    if not len(times):
        return []
    at = np.unique(times[np.ceil(np.linspace(0, len(times), count + 1)[1:]).astype(int) - 1])
    found = []
    for moment in at:
        then = control.where(control.complete_ms <= moment), treated.where(treated.complete_ms <= moment)
        found.append(Look(int(moment), len(then[0]) + len(then[1]), effect(*then, how, alpha)))
    return found


def segment_effects(control: Arm, treated: Iterable[Arm], how: Declared) -> list[SegmentEffect]:
    """Every value of every segment in every variation, adjusted together. Intervals are each at `alpha`, unadjusted."""
    cells = [
        (arm, name, value) for arm in treated for name in sorted(control.segments)
        for value in sorted(set(control.segments[name]) | set(arm.segments[name]))
    ][:SEGMENTS_MAX]
    found = [
        (arm.name, name, str(value), chosen, effect(*chosen, how, how.alpha)) for arm, name, value in cells
        for chosen in [(control.where(control.segments[name] == value), arm.where(arm.segments[name] == value))]
    ]
    adjust = holm if how.correction == "holm" else benjamini_yekutieli
    adjusted = iter(adjust([one.p_always for *_, one in found if one is not None]))
    return [
        SegmentEffect(variation, name, value, len(pair[0]) + len(pair[1]), one, None if one is None else next(adjusted))
        for variation, name, value, pair, one in found
    ]

"""The whole reading of one experiment, as data for JSON and for a page. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from analysis.errors import AnalysisError
from analysis.experiments.assignment import Assigned
from analysis.experiments.compare import (
    SEGMENTS_MAX,
    Declared,
    Effect,
    Look,
    SegmentEffect,
    effect,
    looks,
    segment_effects,
)
from analysis.experiments.sample_ratio import SampleRatio, sample_ratio


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variation beside the control: the effect, its looks, and the verdict in words with reasons."""

    variation: str
    effect: Effect | None
    looks: tuple[Look, ...]
    verdict: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """`subjects`: by variation, all; `complete`: those whose window is over and who are compared."""

    experiment: str
    outcome: str
    control: str
    window_days: float
    declared: Declared
    subjects: Mapping[str, int]
    complete: Mapping[str, int]
    sample_ratio: SampleRatio
    comparisons: tuple[Comparison, ...]
    segments: tuple[SegmentEffect, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values; no number is infinite or NaN."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


def read_experiment(
    found: Assigned, experiment: str, control: str, shares: Mapping[str, float] | None, window_days: float,
    how: Declared,
) -> Report:
    """Raises AnalysisError where control or shares do not fit the variations that were seen."""
    ratio = _ratio(found, control, shares)
    treated = [arm for name, arm in found.arms.items() if name != control]
    # Bonferroni: what is said of any variation holds for all of them together.
    alpha = how.alpha / len(treated)
    comparisons = tuple(_compare(found, control, arm.name, ratio, how, alpha) for arm in treated)
    segments = segment_effects(found.arms[control], treated, how)
    notes = list(found.notes)
    if shares is None:
        notes.append("no shares were declared: the sample ratio is checked against equal ones")
    if len(segments) == SEGMENTS_MAX:
        notes.append(f"no more than the first {SEGMENTS_MAX} segments are read")
    if len(treated) > 1:
        notes.append(f"{len(treated)} variations are compared with the control: each interval is at alpha {alpha:g}")
    complete = {name: len(arm) for name, arm in found.arms.items()}
    return Report(
        experiment, found.outcome, control, window_days, how, found.counts, complete, ratio, comparisons,
        tuple(segments), tuple(notes),
    )


def _ratio(found: Assigned, control: str, shares: Mapping[str, float] | None) -> SampleRatio:
    seen = sorted(found.counts)
    if control not in seen:
        raise AnalysisError(f"there is no variation {control} to compare with; there are {', '.join(seen)}")
    if shares is None:
        if len(seen) < 2:
            raise AnalysisError(f"only {seen[0]} was seen: there is nothing to compare")
        return sample_ratio([found.counts[name] for name in seen], [1.0] * len(seen))
    if unknown := set(seen) - set(shares):
        raise AnalysisError(f"no share is declared for {', '.join(sorted(unknown))}")
    if missing := set(shares) - set(seen):
        raise AnalysisError(f"nobody was seen in {', '.join(sorted(missing))}, of which shares are declared")
    if len(seen) < 2:
        raise AnalysisError(f"only {seen[0]} was seen: there is nothing to compare")
    return sample_ratio([found.counts[name] for name in seen], [shares[name] for name in seen])


def _compare(found: Assigned, control: str, name: str, ratio: SampleRatio, how: Declared, alpha: float) -> Comparison:
    pair = found.arms[control], found.arms[name]
    now = effect(*pair, how, alpha)
    verdict, reasons = _verdict(now, ratio, how, min(len(arm) for arm in pair))
    return Comparison(name, now, tuple(looks(*pair, how, alpha)), verdict, reasons)


def _verdict(now: Effect | None, ratio: SampleRatio, how: Declared, smaller: int) -> tuple[str, tuple[str, ...]]:
    if ratio.alarm:
        why = (
            f"the variations have {_list(ratio.counts)} subjects where {_list(ratio.expected)} were expected "
            f"(p = {ratio.p_always:.2g} at any number of looks): find out who is missing first"
        )
        return "sample ratio alarm: do not trust", (why,)
    if now is None:
        return "too few", (f"{smaller} complete subjects in the smaller variation; {how.subjects_min} are needed",)
    reasons = [f"the interval of the difference is {now.low:.6g} to {now.high:.6g}, at any number of looks"]
    if how.cuped and now.theta is None:
        reasons.append("CUPED was not applied: nothing from before the first exposure varies between subjects")
    if now.low == now.high:
        return "cannot be said", ("the outcome does not vary between subjects",)
    if now.low > 0:
        return "higher than the control", tuple(reasons)
    if now.high < 0:
        return "lower than the control", tuple(reasons)
    return "no difference shown yet", (*reasons, "it holds 0: look again when there are more subjects")


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


def _finite(given: Any) -> Any:
    if isinstance(given, dict):
        return {name: _finite(value) for name, value in given.items()}
    if isinstance(given, (list, tuple)):
        return [_finite(value) for value in given]
    return None if isinstance(given, float) and not math.isfinite(given) else given

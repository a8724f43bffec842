"""From final outcomes to one row per subject: who was in which variation, what they did, what is not known yet. Pure.

The unit is the subject: decisions of one subject depend on each other, and the experiment dealt subjects. Each subject
counts with what they did in a window of declared length from their first exposure, once all of it is known. So a
subject's value never changes from one look to the next, which the confidence sequences need.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.errors import AnalysisError
from analysis.experiments.arms import Arm
from analysis.off_policy.log import Floats, Ints
from analysis.outcomes import Outcomes, Texts

UNKNOWN: Final = "(unknown)"
OTHERS: Final = "(others)"
#: Values of a segment that are told apart, by number of subjects; the rest is one.
SEGMENT_VALUES_MAX: Final = 20
#: A row of another experiment or of none; a row that names two variations.
_NONE: Final = -1
_TWO: Final = -2


@dataclass(frozen=True, slots=True)
class Assigned:
    """`outcome`: its name. `arms`: the complete subjects by variation. `counts`: all of them, complete or not."""

    outcome: str
    arms: dict[str, Arm]
    counts: dict[str, int]
    in_two: int
    incomplete: int
    notes: tuple[str, ...]


def assigned(
    rows: Outcomes, experiment: str, outcome: str | None, window_ms: int, segments: tuple[str, ...]
) -> Assigned:
    """Raises AnalysisError where the experiment or the outcome is not in the rows, or the outcome must be named."""
    variations, code = _variations(rows.experiments, experiment)
    outcome = _outcome(rows, code, outcome)
    wanted = rows.outcome == outcome
    names, subject = np.unique(rows.profile_id.astype(str), return_inverse=True)
    enrolled = code != _NONE
    low, high = np.full(len(names), np.iinfo(np.int64).max), np.full(len(names), np.iinfo(np.int64).min)
    np.minimum.at(low, subject[enrolled], code[enrolled])
    np.maximum.at(high, subject[enrolled], code[enrolled])
    first = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(first, subject[enrolled], rows.decided_ms[enrolled])
    member = (low == high) & (low >= 0)
    in_two = int(np.count_nonzero((low < high) | (low == _TWO))) if enrolled.any() else 0
    lag_ms = int((rows.at_ms - rows.decided_ms)[wanted & enrolled].max(initial=0))
    # What nobody enrolled must not overflow.
    complete_ms = np.where(member, first, 0) + window_ms + lag_ms
    complete = member & (complete_ms <= int(rows.at_ms.max()))
    since = rows.decided_ms - np.where(member, first, 0)[subject]
    counted = wanted & enrolled & member[subject] & (since < window_ms)
    before = wanted & ~enrolled & (rows.at_ms <= first[subject])
    columns = _Columns(
        _sums(rows.reward, subject, counted, len(names)),
        _sums(np.ones(len(rows)), subject, counted, len(names)),
        _sums(rows.reward, subject, before, len(names)),
        complete_ms,
        {name: _at_first(rows, name, subject, enrolled, len(names)) for name in segments},
    )
    arms = {name: columns.arm(name, complete & (low == number)) for number, name in enumerate(variations)}
    counts = {name: int(np.count_nonzero(member & (low == number))) for number, name in enumerate(variations)}
    incomplete = int(np.count_nonzero(member & ~complete))
    notes = (*rows.notes, *_notes(in_two, incomplete, window_ms, lag_ms))
    return Assigned(outcome, arms, counts, in_two, incomplete, notes)


@dataclass(frozen=True, slots=True)
class _Columns:
    outcome: Floats
    exposures: Floats
    covariate: Floats
    complete_ms: Ints
    segments: dict[str, npt.NDArray[np.str_]]

    def arm(self, name: str, chosen: npt.NDArray[np.bool_]) -> Arm:
        """The subjects that are chosen, in the order in which they were complete."""
        index = np.flatnonzero(chosen)
        index = index[np.argsort(self.complete_ms[index], kind="stable")]
        segments = {key: values[index] for key, values in self.segments.items()}
        return Arm(
            name, self.outcome[index], self.exposures[index], self.complete_ms[index], self.covariate[index], segments
        )


def _variations(experiments: Texts, experiment: str) -> tuple[list[str], Ints]:
    """The variations in the rows, and each row's: its number, or that it has none, or two."""
    prefix, found = f"{experiment}:", set[str]()
    of: dict[tuple[str, ...], tuple[str, ...]] = {}
    for given in set(experiments):
        of[given] = tuple(sorted({one.removeprefix(prefix) for one in given if one.startswith(prefix)}))
        found.update(of[given])
    if not found:
        others = sorted({one.partition(":")[0] for given in of for one in given})
        raise AnalysisError(f"no outcome names the experiment {experiment}; there are: {', '.join(others) or 'none'}")
    names = sorted(found)
    numbers = {
        given: _TWO if len(held) > 1 else names.index(held[0]) if held else _NONE for given, held in of.items()
    }
    return names, np.fromiter((numbers[given] for given in experiments), np.int64, len(experiments))


def _outcome(rows: Outcomes, code: Ints, outcome: str | None) -> str:
    found = sorted(set(rows.outcome[code != _NONE]))
    if outcome is None and len(found) == 1:
        return str(found[0])
    if outcome is None:
        raise AnalysisError(f"name one of the outcomes with --outcome: {', '.join(found)}")
    if outcome not in found:
        raise AnalysisError(f"the experiment has no outcome {outcome}; it has {', '.join(found)}")
    return outcome


def _sums(values: Floats, subject: Ints, chosen: npt.NDArray[np.bool_], count: int) -> Floats:
    return np.asarray(np.bincount(subject[chosen], weights=values[chosen], minlength=count), np.float64)


def _at_first(
    rows: Outcomes, segment: str, subject: Ints, enrolled: npt.NDArray[np.bool_], count: int
) -> npt.NDArray[np.str_]:
    """The segment's value of each subject, as at the first exposure: later ones may be caused by it."""
    index = np.flatnonzero(enrolled)
    index = index[np.argsort(rows.decided_ms[index], kind="stable")]
    who, at = np.unique(subject[index], return_index=True)
    values = np.full(count, UNKNOWN, dtype=object)
    values[who] = list(_values(rows, segment, index[at]))
    seen, sizes = np.unique(values[who].astype(str), return_counts=True)
    kept = set(seen[np.argsort(-sizes, kind="stable")[:SEGMENT_VALUES_MAX]])
    return np.array([value if value in kept else OTHERS for value in values.astype(str)], dtype=str)


def _values(rows: Outcomes, segment: str, index: Ints) -> Iterable[str]:
    if segment in ("channel", "placement"):
        return (UNKNOWN if value is None else str(value) for value in getattr(rows, segment)[index])
    head, _, key = segment.partition(".")
    if head != "context" or not key:
        raise AnalysisError(f"no segment {segment}: there are channel, placement and context.KEY")
    return (_of_context(text, key) for text in rows.context[index])


def _of_context(text: str | None, key: str) -> str:
    if text is None:
        return UNKNOWN
    try:
        given: Any = json.loads(text)
    except ValueError as error:
        raise AnalysisError(f"the column context holds what is no JSON: {text[:60]}") from error
    value = given.get(key) if isinstance(given, dict) else None
    if value is None:
        return UNKNOWN
    return value if isinstance(value, str) else json.dumps(value)


def _notes(in_two: int, incomplete: int, window_ms: int, lag_ms: int) -> Iterable[str]:
    if in_two:
        yield f"{in_two} subjects were seen in two variations and are left out"
    if incomplete:
        days = (window_ms + lag_ms) / 86_400_000
        yield f"{incomplete} subjects are not complete yet ({days:.2f} days after the first exposure) and wait"

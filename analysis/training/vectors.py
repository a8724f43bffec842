"""Training data as arrays: the rows of one placement and outcome, with the vectors that a model reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.errors import AnalysisError
from analysis.off_policy.log import Bools, Floats, Ints
from analysis.training.write import FEATURE, REWARD, ROWS_MAX

#: Columns of a vector, the intercept included: the models that learn take no more.
VECTOR_MAX: Final = 64
_FRAME: Final = ("decided_ms", "placement", "action", "pscore", "position", "group", "candidates")


@dataclass(frozen=True, slots=True)
class Feature:
    """A fact, and what its number is divided by."""

    fact: str
    divide_by: float


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in the order of their decisions. `x` float [n, 1 + features]: 1, then the features, divided; `candidates`
    object [n], a tuple of item ids each; `group` int [n] per subject.
    """

    decided_ms: Ints
    action: npt.NDArray[np.object_]
    reward: Floats
    pscore: Floats
    position: Ints
    group: Ints
    candidates: npt.NDArray[np.object_]
    x: Floats
    features: tuple[Feature, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.reward)

    def where(self, chosen: Bools) -> Rows:
        """The rows that are chosen [n]."""
        arrays = ("decided_ms", "action", "reward", "pscore", "position", "group", "candidates", "x")
        return Rows(**{name: getattr(self, name)[chosen] for name in arrays}, features=self.features, notes=self.notes)


def read_table(file: Path, outcome: str, placement: str | None) -> pa.Table:
    """The rows of an outcome on a placement (None: the only one). Raises AnalysisError."""
    try:
        source = pq.ParquetFile(file)
        if source.metadata.num_rows > ROWS_MAX:
            raise AnalysisError(f"{file} has {source.metadata.num_rows} rows, more than {ROWS_MAX}")
        table = source.read()
    except (OSError, pa.ArrowException) as error:
        raise AnalysisError(f"{file} cannot be read as Parquet: {error}") from error
    if missing := [name for name in _FRAME if name not in table.column_names]:
        raise AnalysisError(f"{file} lacks {', '.join(missing)}: `nextbest training-data write` makes training data")
    if REWARD + outcome not in table.column_names:
        known = ", ".join(one.removeprefix(REWARD) for one in table.column_names if one.startswith(REWARD))
        raise AnalysisError(f"{file} has no outcome {outcome}; there are: {known or 'none'}")
    places = sorted(pc.unique(table["placement"]).to_pylist())
    if placement is None and len(places) > 1:
        raise AnalysisError(f"name one placement with --placement: {', '.join(places)}")
    if placement is not None and placement not in places:
        raise AnalysisError(f"there is no placement {placement}; there are: {', '.join(places)}")
    table = table.filter(pc.equal(table["placement"], placement or (places[0] if places else "")))
    return table.filter(pc.is_valid(table[REWARD + outcome])).sort_by("decided_ms")


def numbers(table: pa.Table) -> list[str]:
    """The facts about subject and moment that are numbers or truths and known in every row: what a model reads unless
    told otherwise.
    """
    return [
        field.name.removeprefix(FEATURE) for field in table.schema
        if field.name.startswith(FEATURE) and not field.name.startswith(f"{FEATURE}candidate.")
        and _number(field.type) and table[field.name].null_count == 0
    ]


def scaled(table: pa.Table, facts: Sequence[str]) -> tuple[Feature, ...]:
    """Each fact with the largest size that it has in these rows, so that no column goes beyond 1 there."""
    found = []
    for fact in facts:
        values = _floats(table, fact)
        largest = float(np.nanmax(np.abs(values), initial=0.0))
        found.append(Feature(fact, largest if largest > 0 else 1.0))
    if len(found) >= VECTOR_MAX:
        raise AnalysisError(f"{len(found)} features: name at most {VECTOR_MAX - 1} with --feature")
    return tuple(found)


def rows_of(table: pa.Table, outcome: str, features: Sequence[Feature]) -> Rows:
    """The rows whose features are all known; the notes say how many were not. Raises AnalysisError."""
    columns = [_floats(table, one.fact) / one.divide_by for one in features]
    x = np.column_stack([np.ones(table.num_rows), *columns])
    known = np.isfinite(x).all(axis=1)
    left_out = int(np.count_nonzero(~known))
    notes = (f"{left_out} rows left out: a feature was not known",) if left_out else ()
    candidates = np.empty(table.num_rows, np.object_)
    candidates[:] = [tuple(one) for one in table["candidates"].to_pylist()]
    rows = Rows(
        _column(table, "decided_ms", np.int64), _column(table, "action", np.object_),
        _column(table, REWARD + outcome, np.float64), _column(table, "pscore", np.float64),
        _column(table, "position", np.int64),
        np.unique(_column(table, "group", np.object_).astype(str), return_inverse=True)[1].astype(np.int64),
        candidates, x, tuple(features), notes,
    )
    return rows.where(known)


def _number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _floats(table: pa.Table, fact: str) -> Floats:
    name = FEATURE + fact
    if name not in table.column_names:
        known = ", ".join(numbers(table)) or "none"
        raise AnalysisError(f"no decision saw {fact}; numbers that every one saw: {known}")
    if not _number(table.schema.field(name).type):
        raise AnalysisError(f"{fact} is {table.schema.field(name).type}: a vector is made of numbers and truths")
    return np.asarray(pc.fill_null(pc.cast(table[name], pa.float64()), float("nan")), np.float64)


def _column(table: pa.Table, name: str, kind: Any) -> Any:
    return np.array(table[name].to_pylist(), dtype=kind)

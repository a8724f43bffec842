"""Reads final outcomes from Parquet files, a folder of them, or a DuckDB connection, into columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from analysis.errors import AnalysisError
from analysis.off_policy.log import Floats, Ints

Texts = npt.NDArray[np.object_]

#: Rows that are read at most: some 6 GB with every column.
ROWS_MAX: Final = 20_000_000
_VIEW: Final = "outcomes"
#: Without these a record counts for nobody, or twice.
_NEEDED: Final = ("outcome_id", "profile_id", "outcome", "decided_ms", "at_ms", "reward")


class Connection(Protocol):
    """A DuckDB connection, of which one call is used."""

    def sql(self, _query: str, /) -> Any:
        """A query; its result has `to_arrow_table`."""


def _text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _texts(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _text(kind.value_type)


def _number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


#: What each column must be, and in words.
COLUMNS: Final[dict[str, tuple[Callable[[pa.DataType], bool], str]]] = {
    "outcome_id": (_text, "text"),
    "outcome": (_text, "text"),
    "decision_id": (_text, "text"),
    "profile_id": (_text, "text"),
    "action": (_text, "text"),
    "reward": (_number, "a number"),
    "pscore": (_number, "a number"),
    "position": (pa.types.is_integer, "a whole number"),
    "placement": (_text, "text"),
    "channel": (_text, "text"),
    "decided_ms": (pa.types.is_integer, "a whole number of milliseconds"),
    "at_ms": (pa.types.is_integer, "a whole number of milliseconds"),
    "final": (pa.types.is_boolean, "true or false"),
    "experiments": (_texts, "a list of texts"),
    "context": (_text, "text (JSON)"),
}


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Final outcomes, one row each: what one decision earned of one outcome, in full.

    Text columns are objects [n] (None: not known, as after an erasure); `reward` and `pscore` float [n], NaN where not
    known; `decided_ms`, `at_ms` int [n]. `experiments`: per row, its `name:variation`. `notes` say what was left out.
    """

    outcome: Texts
    profile_id: Texts
    action: Texts
    reward: Floats
    pscore: Floats
    position: Ints
    placement: Texts
    channel: Texts
    decided_ms: Ints
    at_ms: Ints
    experiments: Texts
    context: Texts
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.reward)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Outcomes:
        """The rows that are chosen [n]."""
        columns = {name: getattr(self, name)[chosen] for name in self.__slots__ if name != "notes"}
        return Outcomes(**columns, notes=self.notes)


def read_outcomes(source: Path | Connection) -> Outcomes:
    """Read the final outcomes. Raises AnalysisError where a column is missing or has another type, or nothing is
    there.
    """
    table = _from_files(source) if isinstance(source, Path) else _from_view(source)
    if table.num_rows > ROWS_MAX:
        raise AnalysisError(f"{table.num_rows} outcomes are more than {ROWS_MAX}: choose fewer days")
    return outcomes_of(table)


def _from_files(path: Path) -> pa.Table:
    if not path.exists():
        raise AnalysisError(f"{path}: there is no such file or folder")
    try:
        found = ds.dataset(path, format="parquet")
        _check(found.schema, str(path))
        rows = found.count_rows(filter=ds.field("final"))
        if rows > ROWS_MAX:
            raise AnalysisError(f"{path} holds {rows} final outcomes, more than {ROWS_MAX}: name fewer files")
        return found.to_table(columns=list(COLUMNS), filter=ds.field("final"))
    except (pa.ArrowException, OSError) as error:
        raise AnalysisError(f"{path} cannot be read as Parquet: {error}") from error


def _from_view(connection: Connection) -> pa.Table:
    table = connection.sql(f"SELECT * FROM {_VIEW} WHERE final LIMIT {ROWS_MAX + 1}").to_arrow_table()  # noqa: S608
    _check(table.schema, f"the view {_VIEW}")
    return table.select(list(COLUMNS))


def _check(schema: pa.Schema, where: str) -> None:
    missing = [name for name in COLUMNS if name not in schema.names]
    if missing:
        raise AnalysisError(f"{where} lacks the columns {', '.join(missing)}: these are no outcomes")
    for name, (fits, meant) in COLUMNS.items():
        kind = schema.field(name).type
        if not fits(kind):
            raise AnalysisError(f"{where}: the column {name} is {kind}, and must be {meant}")


def outcomes_of(table: pa.Table, told: tuple[str, ...] = ()) -> Outcomes:
    """Final outcomes of a table with the columns `COLUMNS`, each counted once. `told`: what was left out before."""
    table = table.combine_chunks()
    valid = {name: np.asarray(pc.is_valid(table[name])) for name in _NEEDED}
    known = np.logical_and.reduce([*valid.values(), np.isfinite(_floats(table["reward"]))])
    notes = list(told)
    if unknown := int(np.count_nonzero(~known)):
        notes.append(f"{unknown} records left out: no id, no subject (erased or unmatched), no time or no reward")
    table = table.filter(pa.array(known))
    _, first = np.unique(_objects(table["outcome_id"]).astype(str), return_index=True)
    if doubles := table.num_rows - len(first):
        notes.append(f"{doubles} records came twice and are counted once")
    rows = table.take(pa.array(np.sort(first)))
    return Outcomes(
        outcome=_objects(rows["outcome"]),
        profile_id=_objects(rows["profile_id"]),
        action=_objects(rows["action"]),
        reward=_floats(rows["reward"]),
        pscore=_floats(rows["pscore"]),
        position=_ints(pc.fill_null(rows["position"], 0)),
        placement=_objects(rows["placement"]),
        channel=_objects(rows["channel"]),
        decided_ms=_ints(rows["decided_ms"]),
        at_ms=_ints(rows["at_ms"]),
        context=_objects(rows["context"]),
        experiments=_lists(rows["experiments"]),
        notes=tuple(notes),
    )


def _objects(column: pa.ChunkedArray) -> Texts:
    values = np.empty(len(column), np.object_)
    values[:] = column.to_pylist()
    return values


def _lists(column: pa.ChunkedArray) -> Texts:
    values = np.empty(len(column), np.object_)
    for row, given in enumerate(column.to_pylist()):
        values[row] = tuple(given or ())
    return values


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(pc.fill_null(pc.cast(column, pa.float64()), float("nan")), np.float64)


def _ints(column: pa.ChunkedArray) -> Ints:
    return np.asarray(pc.cast(column, pa.int64()), np.int64)

"""Columns of values of any type that grow row by row, packed as Arrow now and then. A type is never guessed."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from analysis.errors import AnalysisError

#: Rows that wait as Python's values.
_PACKED: Final = 5_000
#: Features of one file.
COLUMNS_MAX: Final = 1_000

_TYPES: Final[dict[type, pa.DataType]] = {
    bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string(), date: pa.date32(),
    datetime: pa.timestamp("ms", "UTC"), timedelta: pa.duration("ms"), tuple: pa.list_(pa.string()),
    list: pa.list_(pa.string()),
}
_NUMBERS: Final = {pa.int64(), pa.float64()}


class Columns:
    """Rows of dicts as columns. What a row lacks is null. Raises AnalysisError past `COLUMNS_MAX`, or where one name
    has values of several types; whole and other numbers together are doubles.
    """

    def __init__(self) -> None:
        self._waiting: list[dict[str, Any]] = []
        self._chunks: dict[str, list[pa.Array]] = {}
        self._rows = 0

    def add(self, row: dict[str, Any]) -> None:
        """One more row."""
        self._waiting.append(row)
        if len(self._waiting) >= _PACKED:
            self._pack()

    def table(self) -> pa.Table:
        """Every row so far, the columns by name."""
        self._pack()
        return pa.table({name: _unified(name, chunks) for name, chunks in self._chunks.items()})

    def _pack(self) -> None:
        for name in dict.fromkeys(name for row in self._waiting for name in row):
            self._chunks.setdefault(name, [pa.nulls(self._rows)])
        if len(self._chunks) > COLUMNS_MAX:
            raise AnalysisError(f"the decisions saw more than {COLUMNS_MAX} features: name a placement, or less time")
        for name, chunks in self._chunks.items():
            chunks.append(_packed(name, [row.get(name) for row in self._waiting]))
        self._rows += len(self._waiting)
        self._waiting = []


def _packed(name: str, values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if unknown := [kind.__name__ for kind in kinds if kind not in _TYPES]:
        raise AnalysisError(f"{name} is a {unknown[0]}, which has no column")
    return pa.array(values, _type_of(name, {_TYPES[kind] for kind in kinds}))


def _unified(name: str, chunks: list[pa.Array]) -> pa.ChunkedArray:
    kind = _type_of(name, {chunk.type for chunk in chunks if not pa.types.is_null(chunk.type)})
    try:
        return pa.chunked_array([chunk.cast(kind) for chunk in chunks], kind)
    except pa.ArrowInvalid as error:
        raise AnalysisError(f"{name} has whole numbers that are no doubles: {error}") from error


def _type_of(name: str, types: set[pa.DataType]) -> pa.DataType:
    if not types:
        return pa.null()
    if types == _NUMBERS:
        return pa.float64()
    if len(types) > 1:
        raise AnalysisError(
            f"{name} was {' and '.join(sorted(map(str, types)))}: the policy changed its type; write the times before "
            "and after apart, with --since and --until"
        )
    return types.pop()

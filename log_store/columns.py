"""Columns of the files and of the views: Arrow types from the Avro schemas, and values into them.

A record is a struct, an array a list. A map of texts or numbers is a map; a map whose values are scalars of any type is
JSON text, as no column has several types. The personal fields are in the files only encrypted, together.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pyarrow as pa

from pipeline.codecs.personal import ENCRYPTED, personal_fields
from pipeline.codecs.plain import SCALAR
from pipeline.codecs.registry import NEWEST
from topics.catalog import TOPICS, Topic

Convert = Callable[[Any], Any]

#: What is logged, by the name of its view.
LOGGED: Final[dict[str, Topic]] = {topic.logged_as: topic for topic in TOPICS if topic.logged_as is not None}

#: Where a record lay, and how it is encrypted: before its own columns in every file.
FRAME: Final = pa.schema(
    [
        pa.field("_partition", pa.int32(), nullable=False),
        pa.field("_offset", pa.int64(), nullable=False),
        pa.field("received_ms", pa.int64(), nullable=False),
        pa.field("_schema", pa.int32()),
        pa.field("_pseudonym", pa.string()),
        pa.field("_sealed", pa.string()),
        pa.field(ENCRYPTED, pa.binary()),
    ]
)
UNREADABLE: Final = pa.schema([*FRAME, pa.field("reason", pa.string(), nullable=False)])

FRAME_DOCS: Final[dict[str, str]] = {
    "tenant": "The tenant, of the record's key.",
    "day": "The UTC day of `received_ms`.",
    "_partition": "The topic's partition.",
    "_offset": "The record's offset there.",
    "received_ms": "The broker's timestamp (arrival), epoch milliseconds.",
    "_pseudonym": "Whose it is: the subject's pseudonym where the topic is encrypted, else one of the subject in one "
    "batch; null: nobody's any more.",
    "_opened": "Whether the personal columns could be opened; they are NULL where it is false.",
}

#: Of where the file lies: a record's field of that name says the same.
_OF_THE_PLACE: Final = ("tenant", "day")

_PRIMITIVES: Final = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
}


class Columns:
    """One topic's. `open`: in the clear; `personal`: encrypted."""

    def __init__(self, topic: Topic) -> None:
        if topic.schema is None:
            raise TypeError(f"{topic.name} carries opaque bytes: it cannot be logged")
        definition = NEWEST[topic.schema].definition
        marked = personal_fields(definition)
        self.topic = topic
        self.docs: dict[str, str] = {field["name"]: field.get("doc", "") for field in definition["fields"]}
        self._converts: dict[str, Convert | None] = {}
        named: dict[str, Any] = {}
        open_: list[pa.Field] = []
        personal: list[pa.Field] = []
        for field in definition["fields"]:
            name = field["name"]
            if name in (ENCRYPTED, *_OF_THE_PLACE):
                continue
            type_, self._converts[name] = _column(field["type"], named)
            (personal if name in marked else open_).append(pa.field(name, type_))
        self.open: Final = tuple(open_)
        self.personal: Final = tuple(personal)
        self.stored: Final = pa.schema([*FRAME, *open_])

    def open_values(self, plain: dict[str, Any]) -> dict[str, Any]:
        """The values of the open columns."""
        return {field.name: self._value(field.name, plain) for field in self.open}

    def personal_values(self, plain: dict[str, Any]) -> dict[str, Any]:
        """The values of the personal columns."""
        return {field.name: self._value(field.name, plain) for field in self.personal}

    def _value(self, name: str, plain: dict[str, Any]) -> Any:
        convert, value = self._converts[name], plain[name]
        return value if convert is None or value is None else convert(value)


def _column(schema: Any, named: dict[str, Any]) -> tuple[pa.DataType, Convert | None]:
    """The column's type, and how to make its value; None: as it is. Raises TypeError for what has no column."""
    if isinstance(schema, list):
        branches = [branch for branch in schema if branch != "null"]
        if len(branches) != 1:
            raise TypeError(f"{schema} has several types: a column has one")
        return _column(branches[0], named)
    if isinstance(schema, str):
        return (_PRIMITIVES[schema], None) if schema in _PRIMITIVES else _column(named[schema], named)
    kind = schema["type"]
    if kind == "record":
        return _struct(schema, named)
    if kind == "array":
        item, convert = _column(schema["items"], named)
        return pa.list_(item), None if convert is None else partial(_all, convert)
    if kind == "map":
        if schema["values"] == SCALAR:
            return pa.string(), _json
        item, convert = _column(schema["values"], named)
        return pa.map_(pa.string(), item), partial(_pairs, convert)
    return _column(kind, named)


def _struct(schema: Any, named: dict[str, Any]) -> tuple[pa.DataType, Convert | None]:
    named[schema["name"]] = named[f"{schema.get('namespace', '')}.{schema['name']}"] = schema
    parts = {field["name"]: _column(field["type"], named) for field in schema["fields"]}
    type_ = pa.struct([pa.field(name, part) for name, (part, _) in parts.items()])
    converts = {name: convert for name, (_, convert) in parts.items() if convert is not None}
    if not converts:
        return type_, None
    return type_, lambda value: value | {name: _each(inner, value[name]) for name, inner in converts.items()}


def _all(convert: Convert, values: list[Any]) -> list[Any]:
    return [_each(convert, value) for value in values]


def _pairs(convert: Convert | None, values: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(values.items()) if convert is None else [(name, _each(convert, one)) for name, one in values.items()]


def _each(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def sql_type(type_: pa.DataType) -> str:
    """The type as DuckDB writes it."""
    if pa.types.is_struct(type_):
        return f"STRUCT({', '.join(f'{_quoted(part.name)} {sql_type(part.type)}' for part in type_)})"
    if pa.types.is_list(type_):
        return f"{sql_type(type_.value_type)}[]"
    if pa.types.is_map(type_):
        return f"MAP({sql_type(type_.key_type)}, {sql_type(type_.item_type)})"
    return _SQL[type_]


def _quoted(name: str) -> str:
    return f'"{name}"'


_SQL: Final = {
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
}

_COLUMNS: dict[str, Columns] = {}


def columns_of(topic: Topic) -> Columns:
    """Made at first use."""
    if topic.name not in _COLUMNS:
        _COLUMNS[topic.name] = Columns(topic)
    return _COLUMNS[topic.name]

"""Stored rows back as the values that the topics carried: the inverse of `columns.py`. Reads nothing by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.codecs import avro
from pipeline.codecs.personal import ENCRYPTED
from pipeline.codecs.plain import SCALAR
from pipeline.codecs.registry import NEWEST
from topics.catalog import Topic

Restore = Callable[[Any], Any]


def restorer(topic: Topic) -> Callable[[Mapping[str, Any]], Any]:
    """What makes a record's value of a row as `read.table` gives it (`to_pylist`), with every column of the record.

    The row must be opened (`_opened`). Raises TypeError for a topic of opaque bytes; what it returns raises CodecError
    for a row that is no record.
    """
    if topic.schema is None:
        raise TypeError(f"{topic.name} carries opaque bytes: it is not logged")
    named: dict[str, Any] = {}
    fields = NEWEST[topic.schema].definition["fields"]
    restores = {field["name"]: _restore(field["type"], named) for field in fields if field["name"] != ENCRYPTED}

    def restored(row: Mapping[str, Any]) -> Any:
        plain = {name: None if row[name] is None else restore(row[name]) for name, restore in restores.items()}
        return avro.value_of(topic, plain | {ENCRYPTED: None})

    return restored


def _restore(schema: Any, named: dict[str, Any]) -> Restore:
    if isinstance(schema, list):
        return _restore(next(branch for branch in schema if branch != "null"), named)
    if isinstance(schema, str):
        return _restore(named[schema], named) if schema in named else _as_it_is
    kind = schema["type"]
    if kind == "record":
        return _record(schema, named)
    if kind == "array":
        item = _restore(schema["items"], named)
        return lambda values: [None if value is None else item(value) for value in values]
    if kind == "map":
        if schema["values"] == SCALAR:
            return json.loads
        one = _restore(schema["values"], named)
        return lambda pairs: {name: one(value) for name, value in dict(pairs).items()}
    return _restore(kind, named)


def _record(schema: Any, named: dict[str, Any]) -> Restore:
    named[schema["name"]] = named[f"{schema.get('namespace', '')}.{schema['name']}"] = schema
    parts = {field["name"]: _restore(field["type"], named) for field in schema["fields"]}
    return lambda value: {
        name: None if value[name] is None else restore(value[name]) for name, restore in parts.items()
    }


def _as_it_is(value: Any) -> Any:
    return value

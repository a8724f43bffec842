"""Whether a reader with one Avro schema can read every record written with another (Avro specification, resolution)."""

from __future__ import annotations

from typing import Any

_PROMOTED = {"int": {"long", "float", "double"}, "long": {"float", "double"}, "float": {"double"}}

Names = dict[str, dict[str, Any]]


def problems(reader: Any, writer: Any) -> list[str]:
    """Why some record of `writer` cannot be read with `reader`; empty where all can."""
    return _problems(reader, writer, _named(reader, {}, ""), _named(writer, {}, ""), "")


def _named(schema: Any, names: Names, space: str) -> Names:
    if isinstance(schema, list):
        for branch in schema:
            _named(branch, names, space)
    elif isinstance(schema, dict):
        if schema["type"] == "record":
            space = schema.get("namespace", space)
            names[f"{space}.{schema['name']}"] = names[schema["name"]] = schema
            for field in schema["fields"]:
                _named(field["type"], names, space)
        else:
            for part in ("items", "values", "type"):
                _named(schema.get(part), names, space)
    return names


def _problems(reader: Any, writer: Any, readers: Names, writers: Names, path: str) -> list[str]:
    reader = readers.get(reader, reader) if isinstance(reader, str) else reader
    writer = writers.get(writer, writer) if isinstance(writer, str) else writer
    if isinstance(writer, list):
        return [found for branch in writer for found in _problems(reader, branch, readers, writers, path)]
    if isinstance(reader, list):
        tried = [_problems(branch, writer, readers, writers, path) for branch in reader]
        return [] if [] in tried else [f"{path}: {_kind(writer)} is none of the reader's types"]
    kind, written = _kind(reader), _kind(writer)
    if kind != written:
        return [] if kind in _PROMOTED.get(written, ()) else [f"{path}: {written} cannot be read as {kind}"]
    if kind == "array":
        return _problems(reader["items"], writer["items"], readers, writers, path + "[]")
    if kind == "map":
        return _problems(reader["values"], writer["values"], readers, writers, path + "{}")
    if kind == "record":
        return _record_problems(reader, writer, readers, writers, path)
    return []


def _record_problems(
    reader: dict[str, Any], writer: dict[str, Any], readers: Names, writers: Names, path: str
) -> list[str]:
    if reader["name"] != writer["name"]:
        return [f"{path}: record {writer['name']} cannot be read as {reader['name']}"]
    written = {field["name"]: field for field in writer["fields"]}
    found = []
    for field in reader["fields"]:
        inner = f"{path}.{field['name']}"
        if field["name"] in written:
            found += _problems(field["type"], written[field["name"]]["type"], readers, writers, inner)
        elif "default" not in field:
            found.append(f"{inner}: missing in the records and without a default")
    return found


def _kind(schema: Any) -> str:
    kind: str = schema["type"] if isinstance(schema, dict) else schema
    return kind

"""Turns one Avro record schema and its dataclass into a writer and a reader: straight-line Python, compiled once.

Only the newest schema of a subject is read this way. A general Avro library interprets the schema for every record,
which costs several times as much. Tests compare every byte with fastavro. Knows no topics and no registry.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from pipeline.codecs import binary, containers
from pipeline.codecs.opaque import OPAQUE

SCALAR: Final = ["null", "boolean", "long", "double", "string"]

#: What a map's values may be, and the name of the functions in `containers`.
_ENTRIES: Final = {str(SCALAR): "scalars", "string": "strings", "double": "doubles", str(["null", "bytes"]): "blobs"}

Write = Callable[[bytearray, Any], None]
Read = Callable[[bytes, int], tuple[Any, int]]


class InvalidValueError(ValueError):
    """The bytes are right, the value is not one of those allowed."""


class _Source:
    """The functions' text as it grows; remembers which line handles which field, to name it in an error."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.lines: list[str] = []
        self.field_of_line: dict[int, str] = {}
        self.records: set[str] = set()
        self.names: dict[str, Any] = {**vars(binary), **vars(containers), "InvalidValueError": InvalidValueError}

    def add(self, text: str, field: str = "") -> None:
        for line in text.splitlines():
            self.lines.append(line)
            if field:
                self.field_of_line[len(self.lines)] = field


@dataclasses.dataclass(frozen=True, slots=True)
class Compiled:
    """A record type's writer and reader."""

    write: Write
    read: Read
    filename: str
    field_of_line: dict[int, str]

    def where(self, error: BaseException) -> str:
        """The field at which reading or writing stopped, as `decisions.item_id`; empty if unknown."""
        path: list[str] = []
        step = error.__traceback__
        while step is not None:
            if step.tb_frame.f_code.co_filename == self.filename:
                path.append(self.field_of_line.get(step.tb_lineno, ""))
            step = step.tb_next
        return ".".join(part for part in path if part)


def compile_record(schema: dict[str, Any], type_: type) -> Compiled:
    """Raises TypeError where schema and dataclass differ: a field that does not travel would be lost silently."""
    source = _Source(f"<avro {schema['name']}>")
    _record(source, schema, type_)
    # The text is made of field names in our own schema files only.
    exec(compile("\n".join(source.lines), source.filename, "exec"), source.names)  # noqa: S102
    names = source.names
    return Compiled(
        names[f"write_{type_.__name__}"], names[f"read_{type_.__name__}"], source.filename, source.field_of_line
    )


def _record(source: _Source, schema: dict[str, Any], type_: type) -> None:
    """Adds `write_X` and `read_X`, nested records first. A type met again is already there."""
    name = type_.__name__
    if name in source.records:
        return
    source.records.add(name)
    source.names[name] = type_
    hints = typing.get_type_hints(type_)
    fields = [field.name for field in dataclasses.fields(type_)]
    if set(fields) != {field["name"] for field in schema["fields"]}:
        raise TypeError(
            f"{name} has the fields {sorted(fields)}, its schema {sorted(f['name'] for f in schema['fields'])}: "
            "add a version of the schema that has them all"
        )
    write: list[tuple[str, str]] = []
    read: list[tuple[str, str]] = []
    for field in schema["fields"]:
        shape = _Shape(source, field["type"], hints[field["name"]])
        write.append((field["name"], shape.write(f"v.{field['name']}")))
        read.append((field["name"], shape.read(f"f_{field['name']}")))
    source.add(f"def write_{name}(out, v):")
    for field_name, text in write:
        source.add(_indent(text), field_name)
    source.add(f"def read_{name}(data, p):")
    for field_name, text in read:
        source.add(_indent(text), field_name)
    _construct(source, type_, fields)


def _construct(source: _Source, type_: type, fields: list[str]) -> None:
    """Fills the slots of a new object directly: a frozen dataclass's own constructor takes twice as long."""
    source.names["new"] = object.__new__
    source.add(f"    o = new({type_.__name__})")
    for field in fields:
        setter = f"set_{type_.__name__}_{field}"
        source.names[setter] = type_.__dict__[field].__set__
        source.add(f"    {setter}(o, f_{field})")
    source.add("    return o, p")


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())


class _Shape:
    """One field's type, in Avro and in Python, and the statements that move it."""

    def __init__(self, source: _Source, schema: Any, hint: Any) -> None:
        self.source = source
        self.optional = isinstance(schema, list) and schema != SCALAR
        if self.optional:
            schema = next(branch for branch in schema if branch != "null")
            hint = next((arm for arm in _arms(hint) if arm is not types.NoneType), hint)
        self.schema = schema
        self.hint = hint
        self.kind: str = schema["type"] if isinstance(schema, dict) else schema

    def write(self, value: str) -> str:
        if not self.optional:
            return self._write(value)
        return f"x = {value}\nif x is None: out += b'\\0'\nelse:\n    out += b'\\2'\n" + _indent(self._write("x"))

    def read(self, target: str) -> str:
        if not self.optional:
            return self._read(target)
        return (
            "n = data[p]; p += 1\n"
            f"if n == 0: {target} = None\n"
            "elif n != 2: raise ValueError('holds neither null nor a value')\n"
            f"else:\n" + _indent(self._read(target))
        )

    def _write(self, value: str) -> str:
        match self.kind:
            case "string":
                return f"t = {value}.encode(); n = len(t)\nout += SMALL[n] if n < 8192 else long_bytes(n)\nout += t"
            case "boolean":
                return f"out += b'\\1' if {value} else b'\\0'"
            case "int" | "long":
                return f"out += {self.kind}_bytes({value})"
            case "double":
                return f"out += pack_double({value})"
            case "bytes":
                opaque = self._opaque()
                encoded = f"encode_{opaque}({value})" if opaque else value
                return f"t = {encoded}\nout += long_bytes(len(t))\nout += t"
            case "map":
                return f"write_map_of_{self._entries()}(out, {value})"
            case "array" if self.schema["items"] == "string":
                return f"write_strings(out, {value})"
            case "array":
                return f"write_array(out, {value}, write_{self._nested(self.schema['items'], self._item_hint())})"
            case _:
                return f"write_{self._nested(self.schema, self.hint)}(out, {value})"

    def _read(self, target: str) -> str:
        match self.kind:
            case "string":
                text = (
                    "n = data[p]\n"
                    f"if n & 0x81: {target}, p = read_string(data, p)\n"
                    f"else: e = p + 1 + (n >> 1); {target} = data[p + 1:e].decode(); p = e"
                )
                return text + self._member(target)
            case "int":
                return f"{target}, p = read_int(data, p)"
            case "long" | "double" | "boolean":
                return f"{target}, p = read_{self.kind}(data, p)"
            case "bytes":
                opaque = self._opaque()
                decoded = f"\n{target} = decode_{opaque}({target})" if opaque else ""
                return f"{target}, p = read_bytes(data, p){decoded}"
            case "map":
                return f"{target}, p = read_map_of_{self._entries()}(data, p)"
            case "array" if self.schema["items"] == "string":
                return f"{target}, p = read_strings(data, p)"
            case "array":
                item = self._nested(self.schema["items"], self._item_hint())
                return f"{target}, p = read_array(data, p, read_{item})"
            case _:
                return f"{target}, p = read_{self._nested(self.schema, self.hint)}(data, p)"

    def _member(self, target: str) -> str:
        """Turns a string into its enumeration's member, or refuses it with the members there are."""
        if not (isinstance(self.hint, type) and issubclass(self.hint, StrEnum)):
            return ""
        members = {member.value: member for member in self.hint}
        self.source.names[f"MEMBERS_{self.hint.__name__}"] = members
        allowed = ", ".join(members)
        return (
            f"\nm = MEMBERS_{self.hint.__name__}.get({target})\n"
            "if m is None and p > len(data): raise IndexError\n"
            f"if m is None: raise InvalidValueError(f'is {{{target}!r}}; use one of {allowed}')\n"
            f"{target} = m"
        )

    def _opaque(self) -> str:
        """The name of a type that travels as bytes of its own format, or nothing for plain bytes."""
        if self.hint is bytes:
            return ""
        name: str = self.hint.__name__
        self.source.names[f"encode_{name}"], self.source.names[f"decode_{name}"] = OPAQUE[name]
        return name

    def _entries(self) -> str:
        return _ENTRIES[str(self.schema["values"])]

    def _item_hint(self) -> Any:
        return typing.get_args(self.hint)[0]

    def _nested(self, schema: Any, hint: Any) -> str:
        """The name of a record type, whose functions are made here where the schema spells it out."""
        if isinstance(schema, dict) and schema["type"] == "record":
            _record(self.source, schema, hint)
        name: str = hint.__name__
        if name not in self.source.records:
            raise TypeError(f"{schema} is no type this codec writes")
        return name


def _arms(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else ()

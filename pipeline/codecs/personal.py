"""The personal fields of an encrypted topic's records: which they are, and their way into `encrypted` and out of it.

The schema marks them (`"personal": true`). Encrypted, they are MessagePack, by name; outside of it each is empty, so
that whoever has no key still reads the rest. Nobody reads what is encrypted without opening it first: written as Avro
it would be a fifth smaller and cost five times as much.

A schema with personal fields has its open fields first, then the personal ones, then `encrypted`: so the bytes of the
empty ones are always the same, and an encrypted record costs less to write than an open one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, Final

import msgspec
from fastavro import parse_schema, schemaless_reader, schemaless_writer

from pipeline.codecs import state
from pipeline.codecs.encryption import Cipher
from pipeline.codecs.plain import Plain
from pipeline.codecs.registry import Schema

#: Opens encrypted bytes for a purpose. Raises DecryptionError.
Opened = Callable[[bytes, bytes], bytes]

ENCRYPTED: Final = "encrypted"
_encode: Final = msgspec.msgpack.Encoder().encode
_EMPTY: Final[dict[str, Any]] = {
    "null": None, "boolean": False, "int": 0, "long": 0, "float": 0.0, "double": 0.0, "string": "", "bytes": b"",
}


class PersonalFields:
    """One encrypted schema's."""

    def __init__(self, schema: Schema, plain: Plain) -> None:
        self._newest = schema
        #: Bound into what is encrypted: one topic's secret opens as no other's.
        self.purpose: Final = schema.subject.encode()
        names = personal_fields(schema.definition)
        types = {field["name"]: field["type"] for field in schema.definition["fields"]}
        outside = [name for name in types if name not in names and name != ENCRYPTED]
        if [*types] != [*outside, *names, ENCRYPTED]:
            raise TypeError(f"{schema.file}: put the open fields first, then the personal ones, then `{ENCRYPTED}`")
        self._names, self._profiles = names, plain.profiles
        inner = _part(schema, names)
        self._outside, self._outer = plain.part(outside), _part(schema, outside)
        empty = BytesIO()
        schemaless_writer(empty, inner, {name: _empty(types[name]) for name in names})
        self._empty = empty.getvalue()

    def write(self, out: BytesIO, value: Any, cipher: Cipher) -> None:
        """Append the value, its personal fields encrypted. Raises as fastavro does."""
        schemaless_writer(out, self._outer, self._outside(value), strict=True)
        encrypted = cipher.encrypt(self.packed(value, self._names), self.purpose)
        out.write(b"%b\x02%b%b" % (self._empty, _length(len(encrypted)), encrypted))

    def packed(self, value: Any, names: Iterable[str]) -> bytes:
        """These fields of the value as they are before they are encrypted."""
        inside = {name: getattr(value, name) for name in names}
        for name in self._profiles:
            if inside.get(name) is not None:
                inside[name] = state.encode(inside[name])
        return _encode(inside)

    def open(self, plain: dict[str, Any], inside: bytes, written: Schema) -> None:
        """Put the opened fields in their places."""
        plain.update(raised(msgspec.msgpack.decode(inside), written, self._newest))
        plain[ENCRYPTED] = None


def personal_fields(definition: dict[str, Any]) -> tuple[str, ...]:
    """The fields that a schema marks as personal, in its order."""
    return tuple(field["name"] for field in definition["fields"] if field["personal"])


def raised(found: dict[str, Any], written: Schema, newest: Schema) -> dict[str, Any]:
    """Opened personal fields, as the newest version of their schema has them."""
    if written is newest:
        return found
    # By way of Avro, whose rules raise a record from one version of its schema to the next.
    inner, data = _part(written, personal_fields(written.definition)), BytesIO()
    schemaless_writer(data, inner, found)
    data.seek(0)
    after: Any = schemaless_reader(data, inner, _part(newest, personal_fields(newest.definition)))
    return dict(after)


def _part(schema: Schema, names: Any) -> Any:
    """The record of some of a schema's fields alone."""
    fields = [field for field in schema.definition["fields"] if field["name"] in names]
    return parse_schema({"type": "record", "name": f"{schema.subject}_part", "fields": fields})


def _empty(schema: Any) -> Any:
    """What stands in a personal field's place."""
    if isinstance(schema, list):
        return _empty(schema[0])
    if isinstance(schema, str):
        return _EMPTY[schema]
    if schema["type"] == "record":
        return {field["name"]: _empty(field["type"]) for field in schema["fields"]}
    return {} if schema["type"] == "map" else []


def _length(size: int) -> bytes:
    """A length as Avro writes it: zigzag, seven bits a byte."""
    if size < 1 << 13:
        return bytes((size << 1,)) if size < 1 << 6 else bytes((size << 1 & 0x7F | 0x80, size >> 6))
    rest, found = size << 1, bytearray()
    while rest > 0x7F:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)

"""What fastavro could not read or write, as advice that names the field. Slow: only for what is refused anyway."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any, Final

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.read import SchemaResolutionError

from pipeline.codecs.errors import CodecError
from pipeline.codecs.plain import Plain, allowed
from pipeline.codecs.registry import BY_ID, Schema
from pipeline.core.model.values import replaced
from pipeline.flow import Reason

#: What fastavro and the way to and from its dicts raise for data, as against bugs.
UNREADABLE: Final = (EOFError, IndexError, KeyError, TypeError, ValueError, OverflowError, SchemaResolutionError)
UNWRITABLE: Final = (AttributeError, KeyError, TypeError, ValueError, OverflowError)

#: fastavro quotes what it was given, however long.
SAID_CHARS_MAX: Final = 300


def unreadable(error: Exception, schema: Schema, data: bytes, start: int, stopped: int) -> CodecError:
    """Bytes that fastavro stopped at; `start` is where the record begins, `stopped` how far it was read."""

    def read(part: Any) -> None:
        stream = BytesIO(data)
        stream.seek(start)
        schemaless_reader(stream, part, None)

    at = _first_field(schema, read)
    # fastavro reads a negative length as "all there is".
    negative = isinstance(error, EOFError) and "Expected -" in str(error)
    if isinstance(error, (EOFError, IndexError)) and stopped >= len(data) and not negative:
        return CodecError(
            Reason.TRUNCATED,
            f"the bytes end in {at} before the record does: send the whole record, written with {schema.file}",
        )
    if negative:
        said = "holds a negative length"
    elif isinstance(error, UnicodeDecodeError):
        said = "holds text that is not UTF-8"
    elif isinstance(error, IndexError):
        said = "holds a value of none of its types"
    else:
        said = _short(error)
    return CodecError(
        Reason.WRONG_TYPE, f"{at} {said}; write the record with {schema.file}, which id {schema.id} names"
    )


def left_over(size: int, schema: Schema) -> CodecError:
    """Bytes after the record's end."""
    return CodecError(
        Reason.WRONG_TYPE,
        f"{size} bytes are left after the record: send one record per value, written with {schema.file}, "
        f"which id {schema.id} names",
    )


def not_allowed(error: Exception, type_: type) -> CodecError:
    """A value that is none of its enumeration's, as msgspec found it."""
    found = re.search(r"Invalid enum value '?(.*?)'? - at `\$\.(.+)`$", str(error), re.DOTALL)
    if found is None:
        return CodecError(Reason.INVALID, _short(error))
    value, path = found.groups()
    members = ", ".join(allowed(type_, path))
    return CodecError(Reason.INVALID, f"{path} is {value[:SAID_CHARS_MAX]!r}; use one of {members}")


def unwritable(error: Exception, schema: Schema, plain: Plain, value: Any) -> CodecError:
    """A value that does not fit its schema, with the field and, in a map, the entry that does not."""

    def write(part: Any, whole: Any = value) -> None:
        names = [field["name"] for field in part["fields"]]
        schemaless_writer(BytesIO(), part, {name: plain.fields[name](whole) for name in names})

    def fits(entry: dict[str, Any]) -> bool:
        try:
            write(parse_schema(schema.definition), replaced(value, **{at: entry}))
        except UNWRITABLE:
            return False
        return True

    at = _first_field(schema, write)
    held = getattr(value, at, None)
    entries = held.items() if isinstance(held, dict) else ()
    key = next((f"[{name!r}]" for name, one in entries if not fits({name: one})), "")
    said = "holds a number of more than 64 bits" if isinstance(error, OverflowError) else _short(error)
    return CodecError(Reason.WRONG_TYPE, f"{at}{key}: {said}")


def _first_field(schema: Schema, attempt: Callable[[Any], None]) -> str:
    """The first field with which the attempt fails: it is made with the first field, the first two, and so on."""
    for name, part in _parts(schema.id):
        try:
            attempt(part)
        except (*UNREADABLE, *UNWRITABLE):
            return name
    return "the record"


@cache
def _parts(schema_id: int) -> tuple[tuple[str, Any], ...]:
    definition = BY_ID[schema_id].definition
    fields = definition["fields"]
    return tuple(
        (field["name"], parse_schema({**definition, "fields": fields[: number + 1]}))
        for number, field in enumerate(fields)
    )


def _short(error: Exception) -> str:
    said = str(error) or type(error).__name__
    return said if len(said) <= SAID_CHARS_MAX else said[:SAID_CHARS_MAX] + "…"

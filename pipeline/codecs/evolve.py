"""Reads records written with an older schema version: fastavro resolves them to the newest. Slow, exact, rare."""

from __future__ import annotations

import dataclasses
import io
import types
import typing
from enum import StrEnum
from typing import Any

from fastavro import parse_schema, schemaless_reader

from pipeline.codecs.generate import InvalidValueError
from pipeline.codecs.opaque import OPAQUE


def read_older(
    data: bytes, start: int, written: dict[str, Any], newest: dict[str, Any], type_: type
) -> tuple[Any, int]:
    """The value of type `type_` that starts at `start`, and where it ends. Raises what fastavro raises."""
    stream = io.BytesIO(data)
    stream.seek(start)
    plain = schemaless_reader(stream, parse_schema(written), parse_schema(newest))
    return from_plain(plain, type_), stream.tell()


def from_plain(plain: Any, hint: Any) -> Any:
    """A value of type `hint` from dicts, lists and scalars as fastavro returns them."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if plain is None or len(arms := [arm for arm in typing.get_args(hint) if arm is not types.NoneType]) > 1:
            return plain
        return from_plain(plain, arms[0])
    if typing.get_origin(hint) is list:
        (item,) = typing.get_args(hint)
        return [from_plain(value, item) for value in plain]
    if not isinstance(hint, type):
        return plain
    if isinstance(plain, bytes) and hint.__name__ in OPAQUE:
        return OPAQUE[hint.__name__][1](plain)
    if issubclass(hint, StrEnum):
        if plain not in list(hint):
            raise InvalidValueError(f"is {plain!r}; use one of {', '.join(hint)}")
        return hint(plain)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return hint(**{name: from_plain(value, hints[name]) for name, value in plain.items()})
    return plain

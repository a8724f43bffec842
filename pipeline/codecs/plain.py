"""The core's values as the dicts that fastavro writes, and back. Knows neither topics nor bytes; decides nothing.

Both ways are on the path of every record. To a dict: one expression per type, made once from its fields. Back: msgspec,
which also turns texts into their enumeration's members.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

import msgspec

from pipeline.codecs import state
from pipeline.core.model.records import Scalar
from pipeline.core.sections.section import State
from pipeline.core.subject import Person

Convert = Callable[[Any], Any]

SCALAR: Final = ["null", "boolean", "long", "double", "string"]


class _Branches(dict[type, str]):
    """The branch of a scalar by its exact type, so that true stays true and no whole number becomes a double."""

    def __missing__(self, kind: type) -> str:
        if issubclass(kind, str):
            return "string"
        raise TypeError(f"is a {kind.__name__}; use null, a boolean, a number or a string")


_BRANCH: Final = _Branches({types.NoneType: "null", bool: "boolean", int: "long", float: "double", str: "string"})


def scalars(entries: dict[str, Scalar]) -> dict[str, tuple[str, Scalar]]:
    """Each value with its branch: also faster than to let fastavro try one branch after the other."""
    return {name: (_BRANCH[type(value)], value) for name, value in entries.items()}


class Plain:
    """One record type's way to a dict and back."""

    def __init__(self, type_: type, schema: dict[str, Any], named: dict[str, Any] | None = None) -> None:
        """`schema` as fastavro has parsed it; `named`: the records it may name that were written out before it.

        Raises TypeError where it and the type differ.
        """
        self._type = type_
        #: How to get each field's value as fastavro writes it, from a value of the type.
        self.fields: dict[str, Convert] = {}
        parts = []
        names: dict[str, Any] = {}
        for name, convert in _converters(type_, schema, {} if named is None else named).items():
            self.fields[name] = attrgetter(name) if convert is None else _after(attrgetter(name), convert)
            names[f"to_{name}"] = convert
            parts.append(f"{name!r}: v.{name}" if convert is None else f"{name!r}: to_{name}(v.{name})")
        self._parts, self._names = dict(zip(self.fields, parts, strict=True)), names
        self.to_dict = self.part(self.fields)
        hints = typing.get_type_hints(type_)
        #: Its fields that hold a profile, which travels in the state codec's bytes.
        self.profiles: Final = tuple(name for name, hint in hints.items() if hint in (State | None, Person | None))

    def part(self, names: Iterable[str]) -> Callable[[Any], dict[str, Any]]:
        """The way of some fields to a dict."""
        # The text is made of field names of our own types only.
        source = f"lambda v: {{{', '.join(self._parts[name] for name in names)}}}"
        part: Callable[[Any], dict[str, Any]] = eval(source, self._names)  # noqa: S307
        return part

    def from_dict(self, plain: dict[str, Any]) -> Any:
        """The value, reusing what is in the dict. Raises msgspec.ValidationError, and StateError naming the field."""
        for name in self.profiles:
            if plain[name] is not None:
                try:
                    plain[name] = state.decode_whole(plain[name])
                except state.StateError as error:
                    raise state.StateError(f"{name} is no profile: {error}") from error
        return msgspec.convert(plain, self._type)


def field_names(type_: Any) -> set[str]:
    """The fields of one of the core's types."""
    if issubclass(type_, msgspec.Struct):
        return set(type_.__struct_fields__)
    return {field.name for field in fields(type_)}


def allowed(type_: type, path: str) -> list[str]:
    """The members of the enumeration at a path such as `identity.consent[0].basis` in a record type."""
    hint: Any = type_
    for name in path.split("."):
        hint = typing.get_type_hints(hint)[name.partition("[")[0]]
        # Of `X | None` the X, of `list[X]` the X.
        hint = next((arm for arm in typing.get_args(hint) if arm is not types.NoneType), hint)
    return list(hint)


def _converters(type_: type, schema: dict[str, Any], named: dict[str, Any]) -> dict[str, Convert | None]:
    """By field, in the schema's order; None: fastavro takes the value as it is."""
    hints = typing.get_type_hints(type_)
    written = {field["name"]: field["type"] for field in schema["fields"]}
    if written.keys() != (own := field_names(type_)):
        raise TypeError(
            f"{type_.__name__} has the fields {sorted(own)}, its schema {sorted(written)}: "
            "add a version of the schema that has them all"
        )
    return {name: _converter(hints[name], inner, named) for name, inner in written.items()}


def _converter(hint: Any, schema: Any, named: dict[str, Any]) -> Convert | None:
    schema = named.get(schema, schema) if isinstance(schema, str) else schema
    if schema == SCALAR:
        raise TypeError("a scalar travels only as a map's value")
    if isinstance(schema, list):
        (hint,) = (arm for arm in typing.get_args(hint) if arm is not types.NoneType)
        (schema,) = (branch for branch in schema if branch != "null")
        inner = _converter(hint, schema, named)
        return None if inner is None else _nullable(inner, schema)
    if hint in (State, Person):
        return state.encode
    if not isinstance(schema, dict):
        return None
    if schema["type"] == "record":
        named[schema["name"]] = schema
        return Plain(hint, schema, named).to_dict
    if schema["type"] == "array":
        inner = _converter(typing.get_args(hint)[0], schema["items"], named)
        return None if inner is None else _each(inner)
    if schema.get("values") == SCALAR:
        return scalars
    if schema["type"] == "map":
        inner = _converter(typing.get_args(hint)[1], schema["values"], named)
        return None if inner is None else _each_value(inner)
    return None


def _nullable(inner: Convert, schema: Any) -> Convert:
    if not isinstance(schema, dict):
        return lambda value: None if value is None else inner(value)
    # Named, so that fastavro need not check the whole record to see whether it is one.
    name = schema["name"]
    return lambda value: None if value is None else (name, inner(value))


def _each(inner: Convert) -> Convert:
    return lambda items: [inner(item) for item in items]


def _each_value(inner: Convert) -> Convert:
    return lambda entries: {name: inner(value) for name, value in entries.items()}


def _after(get: Convert, convert: Convert) -> Convert:
    return lambda value: convert(get(value))

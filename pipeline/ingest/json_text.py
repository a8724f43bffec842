"""JSON of a declared shape: every complaint names its field, and nothing that could be read in two ways is read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.ingest.refusal import FieldError, invalid, malformed

_Model = TypeVar("_Model", bound=BaseModel)

#: Complaints told at once; a body with more is broken throughout.
_ERRORS_MAX: Final = 20

#: Of a field's name that is the sender's own.
_PART_CHARS_MAX: Final = 64


def parse(model: type[_Model], data: bytes, at: str = "") -> _Model:
    """The body as the model; `at` is where it stands in the whole. Raises RefusedError naming every wrong field."""
    try:
        json.loads(data, object_pairs_hook=once)
    except TwiceError as error:
        raise invalid(FieldError(at, str(error))) from error
    except (ValueError, RecursionError):
        # No JSON that can be read: the model says what is wrong.
        pass
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise malformed(str(found[0].get("ctx", {}).get("error", found[0]["msg"]))) from error
        errors = tuple(_field_error(one, model, at) for one in found[:_ERRORS_MAX])
        raise invalid(*errors) from error


class TwiceError(Exception):
    """An object names something twice; the text says so."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its pairs, for `json.loads`. Readers differ in which of two of one name they take, and one may be a
    no. Raises TwiceError."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise TwiceError(f"names {name[:_PART_CHARS_MAX]!r} twice: nobody knows which is meant")
        found[name] = value
    return found


def either(one: Any, other: Any) -> Any:
    """What two things said under one name say together, where only a no must not be lost: objects by their names, lists
    together, else false or the object. Of anything else that differs neither."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **{name: either(one[name], value) if name in one else value for name, value in other.items()}}
    if isinstance(one, list) and isinstance(other, list):
        return one + other
    if one is False or other is False:
        return False
    for said in (one, other):
        if isinstance(said, dict | list):
            return said
    return one if type(one) is type(other) and one == other else None


def pointer_of(location: Iterable[int | str]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part)[:_PART_CHARS_MAX].replace("~", "~0").replace("/", "~1") for part in location)


def _field_error(error: ErrorDetails, model: type[BaseModel], at: str) -> FieldError:
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), _names(model), n=1)
        message = "unknown field" + (f"; did you mean {near[0]}?" if near else "")
    return FieldError(at + pointer_of(error["loc"]), message, error["type"] == "value_error")


def _names(model: type[BaseModel]) -> list[str]:
    """Every field's name in the model and the models inside it."""
    names = []
    for name, field in model.model_fields.items():
        names.append(field.alias or name)
        inner: Any = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += _names(inner)
    return names

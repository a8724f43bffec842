"""A request's body: read within a limit, checked to be JSON of the right shape, every complaint naming its field."""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from pipeline.bridge.problems import (
    BODY_TOO_LARGE,
    INVALID_REQUEST,
    MALFORMED_JSON,
    UNSUPPORTED_MEDIA_TYPE,
    FieldError,
    Problem,
)

_Model = TypeVar("_Model", bound=BaseModel)

#: Complaints told at once; a body with more is broken throughout.
_ERRORS_MAX: Final = 20

#: Of a field's name that is the sender's own.
_PART_CHARS_MAX: Final = 64

_DIGITS_MAX: Final = 19

#: To zlib: a gzip header and nothing else.
_GZIP: Final = 16 + zlib.MAX_WBITS

_JSON_SUFFIX: Final = re.compile(r"application/[^/]+\+json")


async def read(request: Request, limit_bytes: int, plain: bool = False) -> bytes:
    """The whole body, unpacked. Raises Problem for another media type or too many bytes, packed or unpacked.

    :param plain: whether it may come as text: browsers' beacons can say nothing else without asking first.
    """
    packed = _checked(request.headers, plain)
    body = await _received(request, limit_bytes)
    return _unpacked(body, limit_bytes) if packed else body.removeprefix(codecs.BOM_UTF8)


def _unpacked(body: bytes, limit_bytes: int) -> bytes:
    """Never more of it in memory than is taken."""
    try:
        unpacker = zlib.decompressobj(_GZIP)
        text = unpacker.decompress(body, limit_bytes + 1)
        if len(text) > limit_bytes:
            raise _too_large(limit_bytes)
        if not unpacker.eof or unpacker.unused_data:
            raise malformed("it is cut off, or more than one gzip stream")
    except zlib.error as error:
        raise malformed(f"as `Content-Encoding: gzip` it cannot be unpacked ({error})") from error
    return text.removeprefix(codecs.BOM_UTF8)


async def _received(request: Request, limit_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit():
        if int(announced[:_DIGITS_MAX]) > limit_bytes:
            raise _too_large(limit_bytes)
        return await request.body()
    read_bytes = bytearray()
    async for chunk in request.stream():
        read_bytes += chunk
        if len(read_bytes) > limit_bytes:
            raise _too_large(limit_bytes)
    return bytes(read_bytes)


def parse(model: type[_Model], data: bytes, at: str = "") -> _Model:
    """The body as the model; `at` is where it stands in the whole body. Raises Problem naming every wrong field."""
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


def invalid(*errors: FieldError) -> Problem:
    """The problem of wrong fields; its detail tells the first one."""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem(INVALID_REQUEST, f"{errors[0].pointer or 'the body'}: {errors[0].message}{more}", errors)


def malformed(why: str) -> Problem:
    """The problem of a body that is not JSON."""
    return Problem(MALFORMED_JSON, f"The body is not JSON: {why}.")


def pointer_of(location: Iterable[int | str]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part)[:_PART_CHARS_MAX].replace("~", "~0").replace("/", "~1") for part in location)


def _field_error(error: ErrorDetails, model: type[BaseModel], at: str) -> FieldError:
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), _names(model), n=1)
        message = "unknown field" + (f"; did you mean {near[0]}?" if near else "")
    return FieldError(at + pointer_of(error["loc"]), message)


def _names(model: type[BaseModel]) -> list[str]:
    """Every field's name in the model and the models inside it."""
    names = []
    for name, field in model.model_fields.items():
        names.append(field.alias or name)
        inner: Any = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += _names(inner)
    return names


def _checked(headers: Mapping[str, str], plain: bool) -> bool:
    """Whether the body is packed."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    known = media_type == "application/json" or _JSON_SUFFIX.fullmatch(media_type) or (
        plain and media_type in ("", "text/plain"))
    if not known:
        raise Problem(UNSUPPORTED_MEDIA_TYPE, "Send the body as JSON, with `Content-Type: application/json`.")
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise Problem(UNSUPPORTED_MEDIA_TYPE, "Send the body with `Content-Encoding: gzip`, or uncompressed.")
    return encoding in ("gzip", "x-gzip")


def _too_large(limit_bytes: int) -> Problem:
    # The rest of the body is not read: the connection cannot be used again.
    return Problem(BODY_TOO_LARGE, f"At most {limit_bytes} bytes are taken here.", headers={"Connection": "close"})

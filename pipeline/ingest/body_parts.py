"""The one reader of what comes to `/v1/events` and the addresses of clients: one event, or a batch of them, cut into
the texts of its events and of what holds for all. What those say is read by `json_text.parse`, which refuses what is
named twice; here every one of two is kept, so that nothing is lost before it is refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from pipeline.ingest.refusal import FieldError, RefusedError, invalid, malformed

_SHAPE: Final = 'send one event, or {"batch": [event, …]}'
_BATCH: Final = "batch"

_SPACE: Final = re.compile(r"[ \t\r\n]*")
#: Numbers are only passed: one of too many digits is wrong in its own event. So are control characters in a text.
_read = json.JSONDecoder(parse_int=len, parse_float=len, strict=False).raw_decode


@dataclass(frozen=True, slots=True)
class Parts:
    """`events`: each as it stands in the body. `head`: what is said beside them, as an object; of a single event, its
    key alone. `key`: the last API key among that, as an object. `wrong`: why nothing of it may be accepted, None
    where it may."""

    events: list[bytes]
    head: bytes
    single: bool
    key: bytes = b"{}"
    wrong: RefusedError | None = None


#: A value: its name, "" in a list; where it begins and ends; of a batch, its events.
_Value = tuple[str, int, int, "list[_Value] | None"]


def parts(body: bytes, type_: str | None = None) -> Parts:
    """The parts of a body. `type_`: the type of a single event that says none. Raises NotJsonError."""
    values: list[_Value] = []
    try:
        text = body.decode("utf-8", "surrogatepass")
        at = _space(text, 0)
        opening = text[at : at + 1]
        if opening not in ("{", "["):
            _, end = _read(text, at)
        else:
            values, end = _values(text, at)
        if _space(text, end) != len(text):
            raise json.JSONDecodeError("Extra data", text, end)
    except (ValueError, RecursionError) as error:
        raise malformed(str(error)) from error
    if opening != "{":
        return Parts([_cut(text, one) for one in values], b"{}", False, wrong=invalid(FieldError("", _SHAPE)))
    keys = [one for one in values if one[0] == "writeKey"]
    key = _object(text, keys[-1:])
    named = [one for one in values if one[0] == _BATCH]
    if not named:
        if type_ is not None and not any(name == "type" for name, *_ in values):
            more = "," if values else ""
            body = b"".join((b"{", json.dumps({"type": type_})[1:-1].encode(), more.encode(), _bytes(text[at + 1 :])))
        return Parts([body], _object(text, keys), True, key)
    events = [_cut(text, event) for one in named for event in one[3] or ()]
    return Parts(events, _object(text, values), False, key,
                 invalid(FieldError("/batch", _SHAPE)) if any(one[3] is None for one in named) else None)


def _values(text: str, at: int, named: bool = True) -> tuple[list[_Value], int]:
    """The values of the object or list that begins at `at`, and where it ends. Raises ValueError."""
    closing = "}" if text[at] == "{" else "]"
    found: list[_Value] = []
    at = _space(text, at + 1)
    if text[at : at + 1] == closing:
        return found, at + 1
    while True:
        name: str = ""
        if closing == "}":
            if text[at : at + 1] != '"':
                raise json.JSONDecodeError("Expecting a name in double quotes", text, at)
            name, at = _read(text, at)
            at = _space(text, at)
            if text[at : at + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
            at = _space(text, at + 1)
        inner: list[_Value] | None = None
        if named and name == _BATCH and text[at : at + 1] == "[":
            inner, end = _values(text, at, named=False)
        else:
            _, end = _read(text, at)
        found.append((name, at, end, inner))
        at = _space(text, end)
        if text[at : at + 1] == closing:
            return found, at + 1
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _space(text, at + 1)


def _object(text: str, values: list[_Value]) -> bytes:
    """The values as an object; what a batch holds is told apart, and nothing here."""
    written = (f"{json.dumps(name)}:{'null' if name == _BATCH else text[begin:end]}" for name, begin, end, _ in values)
    return _bytes("{" + ",".join(written) + "}")


def _cut(text: str, value: _Value) -> bytes:
    return _bytes(text[value[1] : value[2]])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()

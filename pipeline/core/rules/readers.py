"""How a value that somebody sends becomes one of a declared type: one reader for each, used at all endpoints.

A reader refuses what could mean two things; it never guesses a type, a unit or a zone's offset. Identifiers have theirs
in `pipeline.core.identity.identifiers`, zones in `cel.functions.zone`, lengths of time `parse_duration` there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from pipeline.core.model.words import Scalar
from pipeline.core.rules.cel.cost import LIST_ITEMS_MAX
from pipeline.core.rules.cel.functions import EvaluationError, parse_date, parse_duration

__all__ = [
    "LENGTH", "MOMENT", "READERS", "Unreadable", "boolean", "day", "double", "length", "moment", "shape", "span",
    "text", "texts", "whole", "written",
]

#: What to write for a moment.
MOMENT: Final = "write it as 2026-01-31T08:00:00Z"

#: What to write for a length of time in a policy.
LENGTH: Final = "30s, 5m, 36h, 7d or 2w"

#: Smaller numbers are seconds, days or something else: as milliseconds they would lie before March 1973.
_MILLIS_MIN: Final = 100_000_000_000
_MILLIS_END: Final = 253_402_300_800_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ISO: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?)\s?([Zz]|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII)
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)((?:\.\d+)?(?:[eE][+-]?\d+)?)", re.ASCII)
#: Epoch milliseconds of the years 2001 to 2286.
_MILLIS: Final = re.compile(r"[1-9]\d{12}", re.ASCII)
_CHARS_MAX: Final = 64
_LENGTH: Final = re.compile(r"(?=.{1,64}\Z)(\d+(w|d|h|ms|m|s))+", re.ASCII)
_DAYS: Final = re.compile(r"(\d+)([dw])", re.ASCII)
_HOURS: Final = {"d": 24, "w": 168}
_WRITTEN_BOOLEANS: Final = {"true": True, "yes": True, "false": False, "no": False}


class Unreadable(ValueError):
    """What cannot be read; the text says what to send and does not repeat the value."""


def moment(value: Any) -> datetime:
    """A moment in UTC, of a text as RFC 3339 or ISO 8601 have it, or of epoch milliseconds.

    A text without an offset is in UTC, a date its first moment there. Digits alone, and numbers that would lie before
    1973, are refused: they may be seconds, days, or a date without its dashes.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if _MILLIS_MIN <= value < _MILLIS_END:
            return _EPOCH + timedelta(milliseconds=value)
        raise Unreadable(f"a number is epoch milliseconds, of a time since 1973: {MOMENT}, or multiply seconds by 1000")
    found = _ISO.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _CHARS_MAX else None
    if found is None:
        raise Unreadable(f"is no moment: {MOMENT}")
    on, clock, offset = found.groups()
    try:
        read = datetime.fromisoformat(f"{on}T{(clock or '00:00').replace(',', '.')}{(offset or 'Z').upper()}")
        return read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unreadable(f"is no moment that there is: {MOMENT}") from None


def day(value: Any) -> date:
    """A date of a text as 2026-01-31. One with a time is none: which day that is depends on where somebody is."""
    if isinstance(value, str):
        try:
            return parse_date(value)
        except EvaluationError:
            pass
    raise Unreadable("is no date: write it as 2026-01-31, without a time")


def span(value: Any) -> timedelta:
    """A length of time of a text as 36h, 90m or 30s."""
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except EvaluationError:
            pass
    raise Unreadable("is no length of time: write it as 36h, 90m or 30s")


def length(value: Any) -> timedelta:
    """A length of time of a text as policies and commands have it: whole numbers, also of days and weeks (24 and 168
    hours), as 7d or 1d12h."""
    if isinstance(value, str) and _LENGTH.fullmatch(value):
        return span(_DAYS.sub(lambda found: f"{int(found[1]) * _HOURS[found[2]]}h", value))
    raise Unreadable(f"is not a length of time: write it as {LENGTH}")


def whole(value: Any) -> int:
    """A whole number of 64 bits; 18.0 is 18, no text is one."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise Unreadable("is no whole number: send it as a number, without quotes")
    return value


def double(value: Any) -> float:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable("is no number: send it without quotes")
    try:
        return float(value)
    except OverflowError:
        raise Unreadable("is larger than any number here") from None


def boolean(value: Any) -> bool:
    """true or false, and nothing that looks like them."""
    if not isinstance(value, bool):
        raise Unreadable("is neither true nor false: send one of them, without quotes")
    return value


def written_boolean(value: Any) -> bool:
    """A boolean as files have it, whose cells are texts: true, false, yes or no, in any case."""
    found = _WRITTEN_BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise Unreadable("is neither true nor false: write one of them, or yes or no")
    return found


def written(type_: str, cell: str) -> Scalar:
    """A file's cell as JSON would say it, for a value of a declared type. What is none of that type stays a text, and
    the type's reader refuses it.
    """
    plain = cell.strip()
    if type_ == "bool":
        return _WRITTEN_BOOLEANS.get(plain.lower(), cell)
    if type_ in ("int", "double") and len(plain) <= _CHARS_MAX and (found := _JSON_NUMBER.fullmatch(plain)):
        return int(plain) if not found[1] else float(plain)
    # Neither seconds nor a date without its dashes has so many digits, with or without a time.
    return int(plain) if type_ == "timestamp" and _MILLIS.fullmatch(plain) else cell


def text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise Unreadable("is no text: send it in quotes")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts: as JSON has it, or as one text with commas between."""
    if isinstance(value, str):
        value = [stripped for part in value.split(",") if (stripped := part.strip())]
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise Unreadable('is no list of texts: send ["a", "b"], or "a, b"')
    if len(value) > LIST_ITEMS_MAX:
        raise Unreadable(f"has {len(value)} parts, at most {LIST_ITEMS_MAX} are read")
    return tuple(value)


#: By declared type.
READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "string": text, "bool": boolean, "int": whole, "double": double, "timestamp": moment, "date": day, "duration": span,
    "list(string)": texts,
}


def fitting(read: Callable[[Any], Any], value: Scalar) -> Any:
    """The value as the type has it; None where it does not fit: rules take it for unknown."""
    if value is None:
        return None
    try:
        return read(value)
    except Unreadable:
        return None


def shape(value: Any) -> str:
    """What a value looks like, without the value: it may be personal."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "a whole number"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, str):
        return "a text of digits" if re.fullmatch(r"\s*[-+]?[0-9.,]+\s*", value) else "a text"
    return "nothing" if value is None else "a list" if isinstance(value, list) else "an object"

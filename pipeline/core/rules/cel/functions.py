"""What a rule may call: operators, standard functions and the time helpers, by the types of their arguments."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pipeline.core.rules import patterns

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class EvaluationError(ValueError):
    """A rule that CEL itself could not evaluate on these values (overflow, division by zero, bad text)."""


#: What an operation on values raises where it has no result: the rule is then unknown, whatever the values were.
#: EvaluationError is one of them; the others are Python's own, of dates, zones and numbers past what they can hold.
UNCOMPUTABLE: Final = (ValueError, ArithmeticError)

#: The same, and a value that is missing (its path is the error's argument).
UNKNOWN: Final = (KeyError, *UNCOMPUTABLE)

#: Longest text that is read as a number, a moment or a duration: all that are valid are shorter.
SCALAR_CHARS_MAX: Final = 64
#: Characters of a text that a rule makes; parts of one that it splits.
TEXT_CHARS_MAX: Final = 4_096
PARTS_MAX: Final = 256
_LOWER: Final = {upper: upper + 32 for upper in range(65, 91)}
_UPPER: Final = {lower: lower - 32 for lower in range(97, 123)}


@dataclass(frozen=True, slots=True)
class Overload:
    """One implementation; `reads_facts`: its first argument is the facts (it needs the time or the zone)."""

    result: str
    impl: Callable[..., Any]
    reads_facts: bool = False


def _whole(value: int) -> int:
    if not _INT_MIN <= value <= _INT_MAX:
        raise EvaluationError("integer overflow")
    return value


def _divide(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("divide by zero")
    quotient = abs(a) // abs(b)
    return _whole(quotient if (a < 0) == (b < 0) else -quotient)


def _modulo(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("modulus by zero")
    return int(math.fmod(a, b)) if abs(a) < 2**53 and abs(b) < 2**53 else a - b * _divide(a, b)


def _divide_real(a: float, b: float) -> float:
    if b == 0.0:
        if a == 0.0 or a != a:
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1.0, b)
    return a / b


def _int_of_double(value: float) -> int:
    if not -(2.0**63) < value < 2.0**63:
        raise EvaluationError("double out of int range")
    return int(value)


def _int_of_string(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise EvaluationError("cannot convert string to int")
    return _whole(int(text))


def _double_of_string(text: str) -> float:
    if len(text) > 1_024 or not re.fullmatch(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", text):
        raise EvaluationError("cannot convert string to double")
    return float(text)


_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def parse_date(text: str) -> date:
    """A date as 2026-01-31. Raises EvaluationError."""
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise EvaluationError(f"{_short(text)} is not a date as 2026-01-31")


def parse_timestamp(text: str) -> datetime:
    """An RFC 3339 moment. Raises EvaluationError where it is none."""
    try:
        if len(text) > SCALAR_CHARS_MAX or not _RFC_3339.fullmatch(text):
            raise ValueError(text)
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise EvaluationError(f"{_short(text)} is not a moment as 2026-01-31T00:00:00Z") from error


_UNITS: Final = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0}


def parse_duration(text: str) -> timedelta:
    """A CEL duration (`36h`, `1h30m`, `90s`). Raises EvaluationError where it is none."""
    if len(text) > SCALAR_CHARS_MAX or not re.fullmatch(r"-?(\d+(\.\d+)?(h|ms|m|s|us|ns))+|0", text, re.ASCII):
        raise EvaluationError(f"{_short(text)} is not a duration as 36h, 90m or 30s; write 24h for a day")
    total = sum(float(number) * _UNITS[unit] if "." in number else int(number) * _UNITS[unit]
                for number, unit in re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)", text))
    try:
        return timedelta(microseconds=-total if text[0] == "-" else total)
    except OverflowError as error:
        raise EvaluationError(f"{_short(text)} is longer than any duration (about 2.7 million years)") from error


def _short(text: str) -> str:
    return repr(text if len(text) <= SCALAR_CHARS_MAX else f"{text[:SCALAR_CHARS_MAX]}…")


@lru_cache(maxsize=1_024)
@cache
def _zone_names() -> Set[str]:
    return available_timezones() - {"localtime", "Factory"}


def zone(name: str) -> tzinfo:
    """The IANA zone, or the fixed offset (`+01:00`). Raises EvaluationError where there is none of that name."""
    offset = re.fullmatch(r"([+-])(\d\d):([0-5]\d)", name, re.ASCII) if len(name) == len("+01:00") else None
    if offset is not None and int(offset[2]) < 24:
        span = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-span if offset[1] == "-" else span)
    try:
        # Others are files of the machine: `localtime` is wherever it stands.
        if name not in _zone_names():
            raise ValueError(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise EvaluationError(f"{_short(name)} is not a time zone as Europe/Berlin or +01:00") from error


def contains_number(many: Iterable[float], value: float) -> bool:
    """Membership by ==, as CEL has it (nan is in no list)."""
    return any(value == one for one in many)


def _part(read: Callable[[datetime], int]) -> dict[tuple[str, ...], Overload]:
    return {
        ("timestamp",): Overload("int", read),
        ("timestamp", "string"): Overload("int", lambda at, name: read(at.astimezone(zone(name)))),
    }


def _part_of_day(read: Callable[[Any], int]) -> dict[tuple[str, ...], Overload]:
    return {**_part(read), ("date",): Overload("int", read)}


def _days_since(facts: Mapping[str, Any], at: datetime) -> int:
    local = zone(facts["zone"])
    return days_between(at, facts["now"], local)


def _days_since_date(facts: Mapping[str, Any], day: date) -> int:
    return (_local_date(facts["now"], zone(facts["zone"])) - day).days


def days_between(at: datetime, now: datetime, local: tzinfo) -> int:
    """Calendar days from one moment to another as somebody living in the zone counts them.

    The last and the first day there are (9999-12-31, 0001-01-01: "never" and "none" of many systems) may have no local
    date; they count by their date in UTC.
    """
    return (_local_date(now, local) - _local_date(at, local)).days


def _local_date(at: datetime, local: tzinfo) -> date:
    try:
        return at.astimezone(local).date()
    except OverflowError:
        return at.date()


def matches(text: str, pattern: str) -> bool:
    """Whether RE2 finds the pattern in the text. Raises ValueError for what is no pattern, or no text."""
    return patterns.compiled(pattern).search(text) is not None


def _compare(kind: str) -> dict[str, dict[tuple[str, ...], Overload]]:
    pair = (kind, kind)
    return {
        "<": {pair: Overload("bool", operator.lt)}, "<=": {pair: Overload("bool", operator.le)},
        ">": {pair: Overload("bool", operator.gt)}, ">=": {pair: Overload("bool", operator.ge)},
    }


def _substring(text: str, begin: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    if not 0 <= begin <= end <= len(text):
        raise EvaluationError("index out of bounds")
    return text[begin:end]


def _short_enough(text: str) -> str:
    if len(text) > TEXT_CHARS_MAX:
        raise EvaluationError(f"longer than {TEXT_CHARS_MAX} characters")
    return text


def _replace(text: str, old: str, new: str) -> str:
    # Each place is at most every character and both ends: nothing larger is ever made.
    if len(text) + (text.count(old) * max(0, len(new) - len(old))) > TEXT_CHARS_MAX:
        raise EvaluationError(f"longer than {TEXT_CHARS_MAX} characters")
    return text.replace(old, new)


def _split(text: str, by: str) -> tuple[str, ...]:
    parts = tuple(text.split(by)) if by else tuple(text)
    if len(parts) > PARTS_MAX:
        raise EvaluationError(f"more than {PARTS_MAX} parts")
    return parts


def _string_of_double(value: float) -> str:
    """As CEL writes it: the shortest decimal that reads back as the same number."""
    if not math.isfinite(value):
        raise EvaluationError("not a finite number")
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _string_of_time(at: datetime) -> str:
    whole = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S").zfill(19)
    part = f".{at.microsecond:06d}".rstrip("0") if at.microsecond else ""
    return f"{whole}{part}Z"


def _rounded(value: float) -> float:
    """Half away from zero, as CEL's math.round."""
    if not math.isfinite(value):
        return value
    whole = math.floor(abs(value))
    # Not by adding a half: 0.49999999999999994 + 0.5 is 1.0.
    return math.copysign(whole + (abs(value) - whole >= 0.5), value) if abs(value) < 2**52 else value


def _whole_part(way: Callable[[float], int]) -> Callable[[float], float]:
    return lambda value: float(way(value)) if math.isfinite(value) else value


def version_at_least(version: str, least: str) -> bool:
    """Whether a version is no earlier, by semantic versioning (semver.org 2.0.0, section 11)."""
    return _version(version) >= _version(least)


_NUMBER: Final = r"0|[1-9]\d{0,8}"
#: One part of what leads up to a release: a number without a nought before it, or a word (semver.org 2.0.0, section 9).
_BEFORE: Final = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION: Final = re.compile(
    rf"v?({_NUMBER})(?:\.({_NUMBER}))?(?:\.({_NUMBER}))?(?:-({_BEFORE}(?:\.{_BEFORE})*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?", re.ASCII)


def _version(text: str) -> tuple[Any, ...]:
    found = _VERSION.fullmatch(text) if len(text) <= SCALAR_CHARS_MAX else None
    if found is None:
        raise EvaluationError(f"{_short(text)} is not a version as 2.10.1")
    numbers = tuple(int(part or 0) for part in found.groups()[:3])
    # A release comes after what leads up to it; numbers come before words.
    before = () if found[4] is None else tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in found[4].split("."))
    return (*numbers, not before, before)


def address_within(address: str, network: str) -> bool:
    """Whether an IP address is within a network in CIDR notation (RFC 4632). An IPv4 address as IPv6 writes it
    (`::ffff:10.1.2.3`, RFC 4291) is that IPv4 address."""
    at = _address(address)
    return (getattr(at, "ipv4_mapped", None) or at) in _network(network)


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text.strip())
    except ValueError as error:
        raise EvaluationError(f"{_short(text)} is no address as 10.0.0.1") from error


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError as error:
        raise EvaluationError(f"{_short(text)} is no network as 10.0.0.0/8") from error


#: Texts that have to be written in one way, by function: of its arguments in their order.
WRITTEN: Final[Mapping[str, tuple[Callable[[str], object], ...]]] = {
    "versionAtLeast": (_version, _version), "inNetwork": (_address, _network),
}


_I, _D, _S, _T, _P, _DAY = "int", "double", "string", "timestamp", "duration", "date"
_FUNCTIONS: Final[dict[str, dict[tuple[str, ...], Overload]]] = {
    "+": {
        (_I, _I): Overload(_I, lambda a, b: _whole(a + b)), (_D, _D): Overload(_D, operator.add),
        (_S, _S): Overload(_S, lambda a, b: _short_enough(a + b)), (_T, _P): Overload(_T, operator.add),
        (_P, _T): Overload(_T, operator.add), (_P, _P): Overload(_P, operator.add),
    },
    "-": {
        (_I, _I): Overload(_I, lambda a, b: _whole(a - b)), (_D, _D): Overload(_D, operator.sub),
        (_T, _P): Overload(_T, operator.sub), (_T, _T): Overload(_P, operator.sub),
        (_P, _P): Overload(_P, operator.sub),
    },
    "*": {(_I, _I): Overload(_I, lambda a, b: _whole(a * b)), (_D, _D): Overload(_D, operator.mul)},
    "/": {(_I, _I): Overload(_I, _divide), (_D, _D): Overload(_D, _divide_real)},
    "%": {(_I, _I): Overload(_I, _modulo)},
    "-_": {(_I,): Overload(_I, lambda a: _whole(-a)), (_D,): Overload(_D, lambda a: -a)},
    "!": {("bool",): Overload("bool", operator.not_)},
    "int": {
        (_I,): Overload(_I, lambda a: a), (_D,): Overload(_I, _int_of_double), (_S,): Overload(_I, _int_of_string),
        (_T,): Overload(_I, lambda a: (a - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)),
    },
    "double": {
        (_D,): Overload(_D, lambda a: a), (_I,): Overload(_D, float), (_S,): Overload(_D, _double_of_string),
    },
    "string": {(_S,): Overload(_S, lambda a: a), (_I,): Overload(_S, str),
               ("bool",): Overload(_S, lambda a: "true" if a else "false"),
               (_D,): Overload(_S, _string_of_double), (_T,): Overload(_S, _string_of_time),
               (_DAY,): Overload(_S, date.isoformat)},
    "abs": {(_I,): Overload(_I, lambda a: _whole(abs(a))), (_D,): Overload(_D, abs)},
    "round": {(_D,): Overload(_D, _rounded)},
    "floor": {(_D,): Overload(_D, _whole_part(math.floor))},
    "ceil": {(_D,): Overload(_D, _whole_part(math.ceil))},
    "versionAtLeast": {(_S, _S): Overload("bool", version_at_least)},
    "inNetwork": {(_S, _S): Overload("bool", address_within)},
    "timestamp": {(_S,): Overload(_T, parse_timestamp), (_T,): Overload(_T, lambda a: a)},
    "duration": {(_S,): Overload(_P, parse_duration), (_P,): Overload(_P, lambda a: a)},
    "date": {(_S,): Overload(_DAY, parse_date), (_DAY,): Overload(_DAY, lambda a: a)},
    "daysSince": {(_T,): Overload(_I, _days_since, reads_facts=True),
                  (_DAY,): Overload(_I, _days_since_date, reads_facts=True)},
    "min": {(_I, _I): Overload(_I, min), (_D, _D): Overload(_D, min)},
    "max": {(_I, _I): Overload(_I, max), (_D, _D): Overload(_D, max)},
}
for _kind in (_I, _D, _S, _T, _DAY, _P):
    for _name, _overloads in _compare(_kind).items():
        _FUNCTIONS.setdefault(_name, {}).update(_overloads)

_METHODS: Final[dict[str, dict[tuple[str, ...], Overload]]] = {
    "contains": {(_S, _S): Overload("bool", lambda a, b: b in a)},
    "startsWith": {(_S, _S): Overload("bool", lambda a, b: a.startswith(b))},
    "endsWith": {(_S, _S): Overload("bool", lambda a, b: a.endswith(b))},
    "matches": {(_S, _S): Overload("bool", matches)},
    "lowerAscii": {(_S,): Overload(_S, lambda a: a.translate(_LOWER))},
    "upperAscii": {(_S,): Overload(_S, lambda a: a.translate(_UPPER))},
    "trim": {(_S,): Overload(_S, str.strip)},
    "split": {(_S, _S): Overload("list(string)", _split)},
    "substring": {(_S, _I): Overload(_S, _substring), (_S, _I, _I): Overload(_S, _substring)},
    "replace": {(_S, _S, _S): Overload(_S, _replace)},
    "getFullYear": _part_of_day(lambda at: at.year),
    "getMonth": _part_of_day(lambda at: at.month - 1),
    "getDate": _part_of_day(lambda at: at.day),
    "getDayOfMonth": _part_of_day(lambda at: at.day - 1),
    "getDayOfWeek": _part_of_day(lambda at: at.isoweekday() % 7),
    "getDayOfYear": _part_of_day(lambda at: at.timetuple().tm_yday - 1),
    "getHours": {**_part(lambda at: at.hour),
                 (_P,): Overload(_I, lambda span: int(span / timedelta(hours=1)))},
    "getMinutes": {**_part(lambda at: at.minute),
                   (_P,): Overload(_I, lambda span: int(span / timedelta(minutes=1)))},
    "getSeconds": {**_part(lambda at: at.second),
                   (_P,): Overload(_I, lambda span: int(span / timedelta(seconds=1)))},
}


#: Functions, and methods, that CEL's standard does not have.
EXTENSIONS: Final = (
    *((name, False) for name in ("abs", "round", "floor", "ceil", "date", "versionAtLeast", "inNetwork")),
    *((name, True) for name in ("lowerAscii", "upperAscii", "trim", "split", "substring", "replace")),
)


def overload(name: str, types: tuple[str, ...], method: bool) -> Overload | None:
    """The implementation for these argument types, or None."""
    if name == "size" and len(types) == 1 and (types[0] == "string" or types[0].startswith("list(")):
        return Overload("int", len)
    if name == "[]" and len(types) == 2 and types[0].startswith("list(") and types[1] == "int":
        return Overload(types[0][5:-1], _item)
    table = _METHODS if method else _FUNCTIONS
    return table.get(name, {}).get(types)


def _item(many: tuple[Any, ...], index: int) -> Any:
    if not 0 <= index < len(many):
        raise EvaluationError("index out of bounds")
    return many[index]


def known(name: str) -> bool:
    """Whether any function or method has this name."""
    return name in _FUNCTIONS or name in _METHODS or name in ("size", "[]")


def accepted(name: str, method: bool) -> tuple[tuple[str, ...], ...]:
    """The argument types that a function takes."""
    return tuple((_METHODS if method else _FUNCTIONS).get(name, {}))


def names() -> tuple[str, ...]:
    """Every function and method, for suggestions."""
    named = (name for name in (*_FUNCTIONS, *_METHODS) if name.isidentifier())
    return (*named, "size", "has", "exists", "all", "filter", "map")

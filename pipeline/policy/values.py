"""How single values are written in a policy: lengths of time, timestamps, names, lists of one; mistakes in words."""

from __future__ import annotations

import re
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.core.model.moments import millis
from pipeline.core.model.records import COUNTED, FeedbackKind
from pipeline.core.rules import readers

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


#: Ten years: what is longer has no end. Seconds of it fit the records that carry them.
SPAN_MS_MAX = 3_652 * 86_400_000

#: Characters of one field of content.
VALUE_CHARS_MAX = 65_536


def span_ms(value: object) -> object:
    """`36h`, `1d12h`, `5m` → milliseconds."""
    if not isinstance(value, str):
        raise ValueError(f"write a length of time as {readers.LENGTH}")
    try:
        length = readers.length(value)
    except readers.Unreadable as error:
        raise ValueError(f"{value!r} {error}") from None
    if length > timedelta(milliseconds=SPAN_MS_MAX):
        raise ValueError(f"{value!r} is longer than ten years (3652d): leave it out where it has no end")
    return length // timedelta(milliseconds=1)


def _lifetime(value: object) -> object:
    """A length of time in whole seconds: what callers are told."""
    length = span_ms(value)
    if isinstance(length, int) and length < 1_000:
        raise ValueError(f"{value!r} is too short: at least 1s")
    return length


def _moment(value: object) -> object:
    """A moment as every endpoint reads it → epoch milliseconds."""
    try:
        return millis(readers.moment(value))
    except readers.Unreadable as error:
        raise ValueError(f"{value!r} {error}") from None


def _time_of_day(value: object) -> object:
    """`21:30` → minutes."""
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no time of day: write it as \"21:30\"")
    return int(match.group(1)) * 60 + int(match.group(2))


def _weekday(value: object) -> object:
    if isinstance(value, str) and value.lower() in WEEKDAYS:
        return WEEKDAYS.index(value.lower()) + 1
    raise ValueError(f"{value!r} is no day of the week: one of {', '.join(WEEKDAYS)}{_meant(value, WEEKDAYS)}")


def _counted(value: object) -> object:
    return _among(value, ("decision", *_OUTCOMES))


def _outcome(value: object) -> object:
    if value == "decision":
        raise ValueError("a decision is no outcome: use a cap to limit decisions")
    return _among(value, _OUTCOMES)


def _among(value: object, known: tuple[str, ...]) -> object:
    if value in known:
        return value
    if isinstance(value, str) and value.startswith("event:") and len(value) > 6:
        named(value.removeprefix("event:"))
        return value
    listed = ", ".join(known)
    raise ValueError(f"{value!r} cannot be counted: one of {listed}, or event:<name>{_meant(value, known)}")


def _meant(value: object, known: tuple[str, ...]) -> str:
    close = get_close_matches(value, known, 1) if isinstance(value, str) else []
    return f" — did you mean {close[0]!r}?" if close else ""


def _kind(value: object) -> object:
    known = tuple(FeedbackKind)
    if value not in known:
        raise ValueError(f"{value!r} is no kind of event: one of {', '.join(known)}{_meant(value, known)}")
    return value


def named(value: str) -> str:
    """A name as events, requests and other definitions have it: they come without white space around them."""
    if not value.strip():
        raise ValueError(f"{value!r} is no name: write one, or leave the field out")
    if value != value.strip():
        raise ValueError(f"{value!r} has white space around it, which no name has that it could match: write "
                         f"{value.strip()!r}")
    return value


def some(value: list[str]) -> list[str]:
    """Names that something is limited to: none of them would mean all."""
    if not value:
        raise ValueError("an empty list limits nothing: name at least one, or leave the field out")
    return value


def _tag(value: object) -> object:
    if isinstance(value, str) and "," in value:
        raise ValueError(f"{value!r} is one tag with a comma in it: write [{value}] for several")
    return value


def _value(value: object) -> object:
    if isinstance(value, (dict, list)):
        raise ValueError("a value is text, a number, true or false: give each part a name of its own")
    if isinstance(value, str) and len(value) > VALUE_CHARS_MAX:
        raise ValueError(f"has {len(value):,} characters, at most {VALUE_CHARS_MAX:,}: keep it elsewhere")
    return value


def one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


_OUTCOMES = tuple(COUNTED.values())

Span = Annotated[int, BeforeValidator(span_ms), Field(gt=0)]
Lifetime = Annotated[int, BeforeValidator(_lifetime)]
Moment = Annotated[int, BeforeValidator(_moment)]
TimeOfDay = Annotated[int, BeforeValidator(_time_of_day)]
Weekday = Annotated[int, BeforeValidator(_weekday)]
Counted = Annotated[str, BeforeValidator(_counted)]
Outcome = Annotated[str, BeforeValidator(_outcome)]
Named = Annotated[str, AfterValidator(named)]
Names = Annotated[list[Named], BeforeValidator(one_or_many)]
#: Names of which there has to be one: left out, they mean all.
Some = Annotated[Names, AfterValidator(some)]
Texts = Annotated[list[str], BeforeValidator(one_or_many)]
Tags = Annotated[list[Annotated[str, AfterValidator(named), BeforeValidator(_tag)]], BeforeValidator(one_or_many)]
SomeTags = Annotated[Tags, AfterValidator(some)]
Kinds = Annotated[
    list[Annotated[str, BeforeValidator(_kind)]], AfterValidator(some), BeforeValidator(one_or_many)]
#: Words for people: they change nothing that is decided, so they are no part of a release.
Doc = Annotated[str, Field(exclude=True)]
#: A whole number past an Avro long is taken as a float.
Value = Annotated[bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float | str | None, BeforeValidator(_value)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$", max_length=200)]


class Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

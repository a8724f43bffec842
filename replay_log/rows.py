"""Makes of one row of a log, by its mapping, what happened: who was shown what, where, and what they did.

Pure: the same row and mapping always give the same `Impression`, whatever file format the row came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pipeline.core.hashing import digest, fraction
from pipeline.core.identity.identifiers import IdentifierError
from pipeline.core.model.records import Scalar
from replay_log.errors import RowError
from replay_log.mapping import Mapping, Propensity, Source, Timestamp

_TRUE = frozenset({"1", "true", "t", "yes", "y"})
_FALSE = frozenset({"", "0", "false", "f", "no", "n"})


@dataclass(frozen=True, slots=True)
class Impression:
    """One row: `subject` is the key of who saw it; `consent` None: nothing known."""

    row: int
    subject: str
    item_id: str
    placement: str
    channel: str
    scenario: str = ""
    #: When it was logged, epoch milliseconds; None where the mapping has no timestamp.
    logged_at_ms: int | None = None
    clicked: bool = False
    converted: bool = False
    dismissed: bool = False
    value: float | None = None
    #: The logged policy's probability of showing this item here, in (0, 1]; None where unknown.
    propensity: float | None = None
    traits: dict[str, Scalar] = field(default_factory=dict)
    attributes: dict[str, Scalar] = field(default_factory=dict)
    consent: bool | None = None
    #: The subject's hashes under earlier tenant keys.
    earlier: list[str] = field(default_factory=list)


def read_impression(
    number: int, row: MappingType[str, Any], mapping: Mapping, subject_of: Callable[[str], tuple[str, list[str]]]
) -> Impression:
    """The impression that a row records; `subject_of` hashes the identifier, which goes no further than this, into its
    key and the hashes under earlier tenant keys.

    Raises `RowError` naming the column that cannot be used.
    """
    who = _who(row, mapping)
    try:
        subject, earlier = subject_of(who)
    except IdentifierError as error:
        raise RowError(mapping.subject.columns[0], str(error)) from error
    return Impression(
        row=number,
        subject=subject,
        item_id=_word(row, "item", mapping.item),
        placement=_word(row, "placement", mapping.placement),
        channel=_word(row, "channel", mapping.channel),
        scenario=_word(row, "scenario", mapping.scenario) if mapping.scenario else "",
        logged_at_ms=_time(row, mapping.timestamp) if mapping.timestamp else None,
        clicked=_flag(row, mapping.click),
        converted=_flag(row, mapping.conversion),
        dismissed=_flag(row, mapping.dismissal),
        value=_number(row, mapping.value),
        propensity=_probability(row, mapping.propensity),
        traits=_typed(row, mapping.traits),
        attributes=_typed(row, mapping.attributes),
        earlier=earlier,
        consent=_consent(row, mapping, who),
    )


def as_text(value: Any) -> str | None:
    """One spelling of a value in every file format: 14 for the number 14.0, true for the truth, ISO for a date."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        return _utc(value).isoformat()
    if isinstance(value, int | Decimal | date):
        return str(value)
    raise TypeError(f"a {type(value).__name__} is not a single value")


def _text(row: MappingType[str, Any], column: str) -> str | None:
    value: Any = row
    if column in row:
        value = row[column]
    else:
        for part in column.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    try:
        return as_text(value)
    except TypeError as error:
        raise RowError(column, f"{error}; map `{column}.<name>` to reach inside it") from error


def _who(row: MappingType[str, Any], mapping: Mapping) -> str:
    parts = [_text(row, column) for column in mapping.subject.columns]
    if all(part is None for part in parts):
        raise RowError(mapping.subject.columns[0], "empty, so there is nobody to decide for")
    simulated = mapping.subject.simulated
    if simulated is not None:
        bucket = int(fraction("bucket", _text(row, simulated.by) or "") * simulated.buckets)
        return "simulated-" + digest(*(part or "" for part in parts), str(bucket))[:16]
    return parts[0] or "" if len(parts) == 1 else "|".join(part or "" for part in parts)


def _word(row: MappingType[str, Any], name: str, source: Source) -> str:
    if source.column is None:
        return source.constant or ""
    text = _text(row, source.column)
    if text is None:
        if name == "scenario":
            return ""
        raise RowError(source.column, f"empty, but it is the {name}")
    if source.values and text not in source.values:
        known = ", ".join(list(source.values)[:10])
        raise RowError(source.column, f"`{text}` is not among the mapping's values of {name} ({known})")
    return source.prefix + source.values.get(text, text)


def _typed(row: MappingType[str, Any], sources: MappingType[str, Source]) -> dict[str, Scalar]:
    """Missing values are left out: an attribute that is not known is not an empty one."""
    found: dict[str, Scalar] = {}
    for name, source in sources.items():
        text = source.constant if source.column is None else _text(row, source.column)
        if text is not None:
            column = source.column or name
            found[name] = _as_type(column, source.prefix + source.values.get(text, text), source.type)
    return found


def _as_type(column: str, text: str, type: str) -> Scalar:
    if type == "boolean":
        return _truth(column, text)
    try:
        if type == "integer":
            return int(text)
        return float(text) if type == "number" else text
    except ValueError as error:
        raise RowError(column, f"`{text}` is not of type {type}") from error


def _flag(row: MappingType[str, Any], column: str | None) -> bool:
    return column is not None and _truth(column, _text(row, column) or "")


def _truth(column: str, text: str) -> bool:
    if (lower := text.lower()) in _TRUE:
        return True
    if lower in _FALSE:
        return False
    raise RowError(column, f"`{text}` is neither true nor false (1/0, true/false, yes/no)")


def _number(row: MappingType[str, Any], column: str | None) -> float | None:
    if column is None or (text := _text(row, column)) is None:
        return None
    try:
        number = float(text)
    except ValueError as error:
        raise RowError(column, f"`{text}` is not a number") from error
    if not math.isfinite(number):
        raise RowError(column, f"`{text}` is not a finite number")
    return number


def _probability(row: MappingType[str, Any], propensity: Propensity | None) -> float | None:
    if propensity is None or propensity.column is None:
        return None if propensity is None else propensity.constant
    number = _number(row, propensity.column)
    if number is not None and not 0 < number <= 1:
        raise RowError(propensity.column, f"`{number}` is not a probability above 0 and at most 1")
    return number


def _time(row: MappingType[str, Any], timestamp: Timestamp) -> int | None:
    text = _text(row, timestamp.column)
    if text is None:
        return None
    try:
        if timestamp.unit == "iso":
            return round(_utc(datetime.fromisoformat(text)).timestamp() * 1_000)
        at_ms = round(float(text) * (1_000 if timestamp.unit == "s" else 1))
        datetime.fromtimestamp(at_ms / 1_000, UTC)
        return at_ms
    except (ValueError, OverflowError, OSError) as error:
        hint = "an ISO 8601 time; set `unit: s` or `unit: ms`" if timestamp.unit == "iso" else "a number since 1970"
        raise RowError(timestamp.column, f"`{text}` is not {hint}") from error


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _consent(row: MappingType[str, Any], mapping: Mapping, who: str) -> bool | None:
    consent = mapping.consent
    if consent is None:
        return None
    if consent.column is not None:
        text = _text(row, consent.column)
        return None if text is None else _truth(consent.column, text)
    if consent.granted is not None:
        return consent.granted
    return None if fraction("consent", who) < (consent.simulated_missing_share or 0.0) else True

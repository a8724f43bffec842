"""What a record must say besides being well-formed Avro. Each check returns the first problem as advice, or None.

Only what would do harm further in: an id that cannot tell repeats apart, a time no calendar has, a number no JSON has.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from pipeline.core.model import DecisionRequest, FeedbackEvent, IdentityEvent, IdentityKind, InboxRecord, Scalar

#: The first millisecond of the year 10000: later times have no date.
TIME_END_MS: Final = 253_402_300_800_000

MAX_VARIANTS: Final = 100
MAX_PLACEMENTS: Final = 50


def _subject(subject: str) -> str | None:
    tenant, slash, name = subject.partition("/")
    if not (tenant and slash and name):
        return f"subject is {subject!r}: send tenant/hash, and the same as the record's key"
    return None


def _time(at_ms: int) -> str | None:
    if not 0 <= at_ms < TIME_END_MS:
        return f"at_ms is {at_ms}: send epoch milliseconds of a time before the year 10000"
    return None


def _scalars(name: str, scalars: dict[str, Scalar]) -> str | None:
    for key, value in scalars.items():
        if type(value) is float and not isfinite(value):
            return f"{name}[{key!r}] is {value}: send a finite number, or null for an unknown one"
    return None


def check_identity(event: IdentityEvent) -> str | None:
    if not event.event_id:
        return "event_id is empty: send an id of your own, so that a repeat is applied once"
    if event.kind is IdentityKind.ALIAS:
        if not event.alias_of:
            return "alias_of is missing: an alias names the profile id that subject belongs to from now on"
        if _subject(event.alias_of) is not None:
            return f"alias_of is {event.alias_of!r}: send tenant/hash"
    for grant in event.consent:
        if not grant.purpose:
            return "consent.purpose is empty: name what the data may be used for"
        problem = _time(grant.at_ms)
        if problem is not None:
            return "consent." + problem
    return _subject(event.subject) or _time(event.at_ms) or _scalars("traits", event.traits)


def check_feedback(event: FeedbackEvent) -> str | None:
    if not event.event_id:
        return "event_id is empty: send an id of your own, so that a repeat is counted once"
    if event.value is not None and not isfinite(event.value):
        return f"value is {event.value}: send a finite number, or null for an unknown one"
    return _subject(event.subject) or _time(event.at_ms) or _scalars("properties", event.properties)


def check_request(request: DecisionRequest) -> str | None:
    if not request.request_id:
        return "request_id is empty: send an id of your own, so that a retry gets the same decision"
    if not 1 <= len(request.placements) <= MAX_PLACEMENTS:
        return f"placements names {len(request.placements)} slots: name 1 to {MAX_PLACEMENTS}"
    if not 1 <= request.max_variants <= MAX_VARIANTS:
        return f"max_variants is {request.max_variants}: send 1 to {MAX_VARIANTS}"
    return _subject(request.subject) or _scalars("attributes", request.attributes)


def check_inbox(record: InboxRecord) -> str | None:
    payloads = (record.identity, record.feedback, record.request, record.merge)
    if sum(payload is not None for payload in payloads) != 1:
        return "exactly one of identity, feedback, request and merge must be set"
    return None


CHECKS: Final[dict[type, Callable[[Any], str | None]]] = {
    IdentityEvent: check_identity,
    FeedbackEvent: check_feedback,
    DecisionRequest: check_request,
    InboxRecord: check_inbox,
}

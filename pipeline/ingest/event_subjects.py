"""Whose event it is: the identifiers of a Segment-shaped event, hashed, strongest first. No I/O.

Raw identifiers end here: they are taken out of the traits whether they are usable or not, and no warning repeats one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.core.identity.identifiers import IdentifierError
from pipeline.core.identity.identity_rules import ANONYMOUS_ID, DEVICE, EMAIL, PHONE, USER_ID, IdentityRules
from pipeline.core.model.records import Identifier
from pipeline.ingest.event_bodies import SegmentEvent
from pipeline.ingest.field_types import id_of
from pipeline.ingest.refusal import FieldError, invalid

Hash = Callable[[str, str], Identifier]


class Subjects:
    """Finds the identifiers of one tenant's events. `hash_of` raises IdentifierError for what is no identifier."""

    def __init__(self, hash_of: Hash, rules: IdentityRules) -> None:
        self._hash_of = hash_of
        self._rules = rules

    def of(
        self, event: SegmentEvent, warnings: list[str], traits: dict[str, Any] | None = None
    ) -> tuple[Identifier, list[Identifier]]:
        """The subject, and the other identifiers that came along, strongest first. `traits`: of an identify; e-mail and
        phone are taken out of them. Raises RefusedError where there is no identifier at all."""
        known: list[Identifier] = []
        refused: list[FieldError] = []
        for name, type_, value in (("userId", USER_ID, event.user_id), ("anonymousId", ANONYMOUS_ID,
                                                                        event.anonymous_id)):
            if value is None:
                continue
            try:
                known.append(self._hash_of(type_, value))
            except IdentifierError as error:
                refused.append(FieldError("/" + name, str(error)))
        if traits is not None:
            known += self._more(event, traits, warnings)
        if not known:
            raise invalid(*(refused or [FieldError("/userId", "send userId or anonymousId: whose event is this?")]))
        warnings += [f"{one.pointer[1:]} was dropped: {one.message}" for one in refused]
        known.sort(key=lambda one: self._rules.of(one.type).priority)
        return known[0], known[1:]

    def released(self, event: SegmentEvent, warnings: list[str]) -> tuple[Identifier, list[Identifier]]:
        """What a logout lets go: the visitor's id and the device. Raises RefusedError where neither is there."""
        known = self._usable((("anonymousId", ANONYMOUS_ID, event.anonymous_id), _device(event, warnings)), warnings)
        if not known:
            message = "a logout needs the anonymousId (or context.device.id) that the user leaves"
            raise invalid(FieldError("/anonymousId", "; ".join([message, *warnings])))
        return known[0], known[1:]

    def required(self, value: str | None, pointer: str, type_: str, need: str) -> Identifier:
        """One identifier that the event cannot do without. Raises RefusedError."""
        if value is None:
            raise invalid(FieldError(pointer, need))
        try:
            return self._hash_of(type_, value)
        except IdentifierError as error:
            raise invalid(FieldError(pointer, str(error))) from error

    def _more(self, event: SegmentEvent, traits: dict[str, Any], warnings: list[str]) -> list[Identifier]:
        return self._usable((
            ("traits.email", EMAIL, traits.pop("email", None)), ("traits.phone", PHONE, traits.pop("phone", None)),
            _device(event, warnings),
        ), warnings)

    def _usable(self, values: tuple[tuple[str, str, Any], ...], warnings: list[str]) -> list[Identifier]:
        found = []
        for where, type_, value in values:
            if value is None or value == "":
                continue
            try:
                found.append(self._hash_of(type_, id_of(value)))
            except ValueError as error:
                warnings.append(f"{where} was dropped: {error}")
        return found


def _device(event: SegmentEvent, warnings: list[str]) -> tuple[str, str, Any]:
    device = event.context.device
    if device is not None and device != [] and not isinstance(device, dict):
        warnings.append("context.device was dropped: it is no object with an id")
    given = (device.get("advertisingId"), device.get("id")) if isinstance(device, dict) else ()
    return "context.device", DEVICE, next((one for one in given if one is not None and one != ""), None)

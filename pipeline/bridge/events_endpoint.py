"""`POST /v1/events`: Segment-shaped events, one or many, into the input topics.

Answers 202 only once the broker has acknowledged every event that was accepted: none of those is ever lost. What says
something about consent is besides applied by then: the next decision obeys it, whoever asks and through which bridge.
In a batch each event stands for itself; a wrong one does not hold the others up.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pipeline.access import EVENTS_WRITE
from pipeline.bridge import json_body, problems
from pipeline.bridge.api_keys import ApiKeys
from pipeline.bridge.asking import Asker
from pipeline.bridge.confirmations import Expected
from pipeline.bridge.metrics import OTHER_TENANTS, BridgeMetrics
from pipeline.bridge.problems import Problem
from pipeline.bridge.quotas import Quotas
from pipeline.bridge.tenant import named_tenant
from pipeline.bridge.tracing import headers_for
from pipeline.bridge.wire import Wire
from pipeline.bridge.world import World
from pipeline.codecs import avro, positions
from pipeline.codecs.errors import CodecError
from pipeline.core.identity import identifiers
from pipeline.core.identity.identity_rules import DEFAULT
from pipeline.core.keys import is_account
from pipeline.core.model.records import FeedbackEvent, IdentityEvent
from pipeline.core.model.values import replaced
from pipeline.ingest import json_text
from pipeline.ingest.event_bodies import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX, BatchHead, SegmentEvent
from pipeline.ingest.event_mapping import EventMapper
from pipeline.ingest.group_mapping import account_of
from pipeline.ingest.refusal import FieldError, NotJsonError, RefusedError, invalid, malformed
from pipeline.ports import Clock, Outbound
from pipeline.settings import Settings
from topics.catalog import FEEDBACK_EVENTS, IDENTITY_EVENTS

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
NOT_TAKEN: Final = "not_taken"
NOT_IN_FORCE: Final = "not_in_force"
OK: Final = 200

#: How long a worker may take to confirm consent that the broker has.
CONFIRMED_WITHIN_S: Final = 2.0

_RETRY_AFTER_S: Final = "2"
_ERRORS_MAX: Final = 20

_SHAPE: Final = 'send one event, or {"batch": [event, …]}'

Headers = tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class _Outcome:
    """One event on its way; without records it was rejected."""

    type: str
    message_id: str | None
    records: tuple[Outbound, ...] = ()
    errors: tuple[FieldError, ...] = ()
    warnings: list[str] = field(default_factory=list)
    taken: bool = False
    #: Topic, partition and offset of each record that the broker has taken.
    places: list[tuple[str, int, int]] = field(default_factory=list)
    #: Subject, event id and a digest of what it says, where it speaks of a person's consent; and whether a worker has
    #: confirmed that.
    speaks: tuple[str, str, bytes] | None = None
    confirmed: bool = False

    @property
    def status(self) -> str:
        if not self.records:
            return REJECTED
        if not self.taken:
            return NOT_TAKEN
        return ACCEPTED if self.confirmed or self.speaks is None else NOT_IN_FORCE

    def told(self) -> dict[str, Any]:
        body: dict[str, Any] = {"message_id": self.message_id, "status": self.status}
        if self.errors:
            body["errors"] = [{"pointer": one.pointer, "message": one.message} for one in self.errors]
        if self.warnings:
            body["warnings"] = self.warnings
        return body


class EventsEndpoint:
    """The endpoint's parts."""

    def __init__(
        self, settings: Settings, keys: ApiKeys, quotas: Quotas, world: World, wire: Wire, asker: Asker, clock: Clock,
        metrics: BridgeMetrics,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._quotas = quotas
        self._world = world
        self._wire = wire
        self._asker = asker
        self._clock = clock
        self._metrics = metrics
        self._tenant_keys = settings.tenant_keys

    async def take(self, request: Request) -> Response:
        """Take one event or a batch; raises Problem where nothing of it could be used."""
        return self._answer(await self._taken(request, None), 202)

    async def take_of_client(self, type_: str | None, request: Request) -> Response:
        """The same as clients of Segment and RudderStack speak: 200 is success to them, nothing else.

        :param type_: the type of event that the address stands for; None: a batch, whose events say it themselves.
        """
        return self._answer(await self._taken(request, type_), 200)

    async def _taken(self, request: Request, type_: str | None) -> list[_Outcome]:
        headers = request.headers
        body = await json_body.read(request, BATCH_BYTES_MAX, plain=True)
        raw, head, single = _split(body, type_)
        grant = self._keys.check(headers, EVENTS_WRITE, head.write_key)
        tenant = named_tenant(grant, headers, self._settings.tenant)
        live = self._world.live(tenant)
        shown = tenant if live else OTHER_TENANTS
        try:
            self._quotas.sending(tenant, len(raw))
        except Problem:
            self._metrics.of_tenant(shown, "event", "over_quota", len(raw))
            raise
        rules = live.policy.identity if live else DEFAULT
        mapper = EventMapper(
            tenant, partial(identifiers.identifier, self._tenant_keys, tenant, rules=rules),
            partial(account_of, self._tenant_keys, tenant), live.policy if live else None,
            headers.get("sec-gpc", "").strip() == "1",
        )
        now_ms = self._clock.now_ms()
        trace = headers_for(headers.get("traceparent"))
        outcomes = [
            self._map(mapper, data, head, now_ms, trace, "" if single else f"/batch/{index}")
            for index, data in enumerate(raw)
        ]
        await self._publish(outcomes)
        for status, count in Counter(outcome.status for outcome in outcomes).items():
            self._metrics.of_tenant(shown, "event", status, count)
        return outcomes

    def _map(
        self, mapper: EventMapper, data: msgspec.Raw, head: BatchHead, now_ms: int, trace: Headers, at: str
    ) -> _Outcome:
        outcome = _Outcome("unknown", None)
        try:
            if len(memoryview(data)) > EVENT_BYTES_MAX:
                raise invalid(FieldError("", f"an event has at most {EVENT_BYTES_MAX} bytes"))
            event = head.completed(json_text.parse(SegmentEvent, bytes(data)))
            outcome.type = event.type
            outcome.message_id = event.message_id or _made_up_id()
            mapped = mapper.map(event, now_ms, outcome.message_id)
            outcome.warnings = mapped.warnings
            outcome.records = tuple(self._record(event, trace, outcome) for event in mapped.events)
        except RefusedError as refused:
            if isinstance(refused, NotJsonError) and not at:
                raise
            errors = refused.errors or (FieldError("", refused.detail),)
            outcome.errors = tuple(FieldError(at + one.pointer, one.message) for one in errors)
        except CodecError as error:
            outcome.errors = (FieldError(at, error.detail),)
        return outcome

    async def _publish(self, outcomes: Sequence[_Outcome]) -> None:
        confirmations = self._asker.confirmations
        speaking = [(outcome, confirmations.expect(*outcome.speaks)) for outcome in outcomes if outcome.speaks]
        # Sent again: the broker has it, and what confirms the first sending confirms this one.
        now_s = self._clock.monotonic_s()
        for outcome, expected in speaking:
            outcome.taken = expected.under_way(now_s)
        new = [(outcome, expected) for outcome, expected in speaking if not outcome.taken]
        try:
            sending = [outcome for outcome in outcomes if not outcome.taken]
            taken = iter(await self._wire.publish([record for outcome in sending for record in outcome.records]))
            for outcome in sending:
                places = [next(taken) for _ in outcome.records]
                outcome.taken = None not in places
                outcome.places = [(record.topic, *place) for record, place in zip(outcome.records, places, strict=True)
                                  if place is not None]
            for outcome, expected in new:
                if outcome.taken:
                    expected.sent(now_s)
            await self._confirm([(outcome, expected) for outcome, expected in speaking if outcome.taken])
        finally:
            for _, expected in speaking:
                confirmations.leave(expected)
        for outcome in outcomes:
            self._metrics.event(outcome.type, outcome.status)

    async def _confirm(self, waiting: Sequence[tuple[_Outcome, Expected]]) -> None:
        if not waiting or not self._wire.listening:
            return
        await asyncio.wait({expected.future for _, expected in waiting}, timeout=CONFIRMED_WITHIN_S)
        for outcome, expected in waiting:
            outcome.confirmed = expected.confirmed

    def _record(self, event: IdentityEvent | FeedbackEvent, trace: Headers, outcome: _Outcome) -> Outbound:
        """The event as a record of its topic. Raises CodecError for one that the pipeline would refuse."""
        topic = FEEDBACK_EVENTS if isinstance(event, FeedbackEvent) else IDENTITY_EVENTS
        if isinstance(event, IdentityEvent) and event.consent and not is_account(event.subject):
            event = replaced(event, reply_partition=self._wire.reply_partition)
            outcome.speaks = event.subject, event.event_id, _said(event)
        return Outbound(topic.name, event.subject.encode(), avro.encode_checked(topic, event), headers=trace)

    def _answer(self, outcomes: Sequence[_Outcome], status: int) -> Response:
        counts = Counter(outcome.status for outcome in outcomes)
        told: dict[str, Any] = {
            "accepted": counts[ACCEPTED], "rejected": counts[REJECTED], "events": [one.told() for one in outcomes]}
        if token := positions.write(place for outcome in outcomes for place in outcome.places):
            told["token"] = token
        if counts[NOT_TAKEN]:
            raise Problem(
                problems.EVENTS_UNAVAILABLE,
                f"The broker did not acknowledge {counts[NOT_TAKEN]} of {len(outcomes)} events.",
                headers={"Retry-After": _RETRY_AFTER_S}, extra=told,
            )
        if counts[NOT_IN_FORCE]:
            raise Problem(
                problems.CONSENT_NOT_IN_FORCE,
                f"No worker has confirmed the consent of {counts[NOT_IN_FORCE]} of {len(outcomes)} events.",
                headers={"Retry-After": _RETRY_AFTER_S}, extra=told,
            )
        if counts[REJECTED] == len(outcomes):
            errors = [error for outcome in outcomes for error in outcome.errors]
            raise invalid(*errors[:_ERRORS_MAX])
        if status == OK:
            told["success"] = True
        return Response(msgspec.json.encode(told), status, media_type="application/json")


def _split(body: bytes, type_: str | None) -> tuple[list[msgspec.Raw], BatchHead, bool]:
    """The events as they stand in the body, what holds for all of them, and whether it is a single one."""
    try:
        top, events = _parts(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        top, events = _parts_leniently(body)
    if events is None:
        if len(body) > EVENT_BYTES_MAX:
            raise Problem(problems.BODY_TOO_LARGE, f"An event has at most {EVENT_BYTES_MAX} bytes; send a batch.")
        if type_ is not None:
            top = {"type": msgspec.Raw(msgspec.json.encode(type_)), **top}
            body = msgspec.json.encode(top)
        head = json_text.parse(BatchHead, msgspec.json.encode({
            name: value for name, value in top.items() if name == "writeKey"}))
        return [msgspec.Raw(body)], head, True
    if not 1 <= len(events) <= BATCH_EVENTS_MAX:
        raise invalid(FieldError("/batch", f"has {len(events)} events: send 1 to {BATCH_EVENTS_MAX}"))
    return events, json_text.parse(BatchHead, msgspec.json.encode(top)), False


_Parts = tuple[dict[str, msgspec.Raw], list[msgspec.Raw] | None]


def _parts(body: bytes) -> _Parts:
    """The body's members but `batch`, and the events of that, all as they stand in it."""
    pointer = ""
    try:
        top = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        pointer = "/batch"
        return top, msgspec.json.decode(top.pop("batch"), type=list[msgspec.Raw]) if "batch" in top else None
    except msgspec.ValidationError as error:
        raise invalid(FieldError(pointer, _SHAPE)) from error


def _parts_leniently(body: bytes) -> _Parts:
    """The same of a body in which something is no strict JSON, most often a cut-off emoji: the one event that has it
    shall be refused, not all of them."""
    try:
        top = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise malformed(str(error)) from error
    if not isinstance(top, dict):
        raise invalid(FieldError("", _SHAPE))
    events = top.pop("batch", None)
    if events is not None and not isinstance(events, list):
        raise invalid(FieldError("/batch", _SHAPE))
    return (
        {name: msgspec.Raw(json.dumps(value).encode()) for name, value in top.items()},
        None if events is None else [msgspec.Raw(json.dumps(event).encode()) for event in events],
    )


def _said(event: IdentityEvent) -> bytes:
    """A digest of everything but the times, which are worked out anew for a repeat, from when it is sent."""
    said = replaced(event, at_ms=0, consent=[replaced(grant, at_ms=0) for grant in event.consent])
    return hashlib.blake2b(avro.encode(IDENTITY_EVENTS, said), digest_size=16).digest()


def _made_up_id() -> str:
    return str(uuid.UUID(bytes=os.urandom(16), version=4))

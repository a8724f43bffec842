"""`POST /v1/events`: Segment-shaped events, one or many, into the input topics.

Answers 202 only once the broker has acknowledged every event that was accepted: none of those is ever lost. What says
something about consent is besides applied by then: the next decision obeys it, whoever asks and through which bridge.
In a batch each event stands for itself; a wrong one does not hold the others up.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
from pipeline.core.consent.answers import key_of
from pipeline.core.identity import identifiers
from pipeline.core.identity.identity_rules import DEFAULT
from pipeline.core.keys import is_account
from pipeline.core.model.records import FeedbackEvent, IdentityEvent
from pipeline.core.model.values import replaced
from pipeline.ingest import body_parts, json_text
from pipeline.ingest.body_parts import Parts
from pipeline.ingest.clear_noes import refusing
from pipeline.ingest.event_bodies import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX, BatchHead, SegmentEvent
from pipeline.ingest.event_mapping import EventMapper
from pipeline.ingest.group_mapping import account_of
from pipeline.ingest.refusal import FieldError, RefusedError, invalid
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

Headers = tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class _Outcome:
    """One event on its way. Of a rejected one, `records` are what it clearly refuses: see `pipeline.ingest.clear_noes`.
    """

    type: str
    message_id: str | None
    records: tuple[Outbound, ...] = ()
    errors: tuple[FieldError, ...] = ()
    #: Why it is rejected, None where it is not.
    refused: RefusedError | CodecError | Problem | None = None
    #: Whether that is so of the whole body.
    whole: bool = False
    #: Of a rejected one, the purposes that it refuses.
    noes: list[str] = field(default_factory=list)
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
        if self.records and not self.taken:
            return NOT_TAKEN
        if self.speaks is not None and not self.confirmed:
            return NOT_IN_FORCE
        return ACCEPTED if self.refused is None else REJECTED

    def told(self) -> dict[str, Any]:
        body: dict[str, Any] = {"message_id": self.message_id, "status": self.status}
        if self.errors:
            body["errors"] = [{"pointer": one.pointer, "message": one.message} for one in self.errors]
        if self.warnings:
            body["warnings"] = self.warnings
        if self.noes:
            body["applied"] = self.noes
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
        parts = body_parts.parts(body, type_)
        head, wrong = _head(parts, len(body))
        tenant = named_tenant(self._keys.check(headers, EVENTS_WRITE, head.write_key), headers, self._settings.tenant)
        live = self._world.live(tenant)
        shown = tenant if live else OTHER_TENANTS
        try:
            self._quotas.sending(tenant, len(parts.events))
        except Problem:
            self._metrics.of_tenant(shown, "event", "over_quota", len(parts.events))
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
            self._map(mapper, data, parts, head, wrong, now_ms, trace, "" if parts.single else f"/batch/{index}")
            for index, data in enumerate(parts.events[:BATCH_EVENTS_MAX])
        ]
        await self._publish(outcomes)
        for status, count in Counter(outcome.status for outcome in outcomes).items():
            self._metrics.of_tenant(shown, "event", status, count)
        if wrong is not None and not any(outcome.noes for outcome in outcomes):
            raise wrong
        return outcomes

    def _map(
        self, mapper: EventMapper, data: bytes, parts: Parts, head: BatchHead, wrong: RefusedError | Problem | None,
        now_ms: int, trace: Headers, at: str,
    ) -> _Outcome:
        """One event. `wrong`: what is wrong with all of the body. Of what is not accepted, what it refuses is."""
        outcome = _Outcome("unknown", None)
        try:
            if wrong is not None:
                raise wrong
            if len(data) > EVENT_BYTES_MAX:
                raise invalid(FieldError("", f"an event has at most {EVENT_BYTES_MAX} bytes"))
            event = head.completed(json_text.parse(SegmentEvent, data))
            outcome.type = event.type
            outcome.message_id = event.message_id or _made_up_id()
            mapped = mapper.map(event, now_ms, outcome.message_id)
            outcome.warnings = mapped.warnings
            outcome.records = tuple(self._record(event, trace, outcome) for event in mapped.events)
        except (RefusedError, CodecError, Problem) as refused:
            errors = () if isinstance(refused, CodecError) else refused.errors
            outcome.errors = tuple(FieldError(at + one.pointer if refused is not wrong else one.pointer, one.message)
                                   for one in errors) or (FieldError(at, refused.detail),)
            outcome.refused = refused
            outcome.whole = parts.single or refused is wrong
            self._apply_noes(mapper, data, parts, now_ms, trace, outcome)
        return outcome

    def _apply_noes(
        self, mapper: EventMapper, data: bytes, parts: Parts, now_ms: int, trace: Headers, outcome: _Outcome
    ) -> None:
        outcome.speaks, outcome.records = None, ()
        left = refusing(data, b"{}" if parts.single else parts.head)
        if left is None:
            return
        mapped = mapper.noes(left, now_ms, outcome.message_id or _made_up_id())
        outcome.records = tuple(self._record(event, trace, outcome) for event in mapped.events)
        outcome.noes = list(dict.fromkeys(
            key_of(one.purpose, one.channel) for event in mapped.events if isinstance(event, IdentityEvent)
            for one in event.consent))
        if outcome.noes:
            outcome.message_id = outcome.message_id or left.message_id
            outcome.warnings = [*mapped.warnings, "what the event clearly refuses was applied, and nothing else of it: "
                                "correct it, and send it again"]

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
            raise _refusal(outcomes, told)
        if status == OK:
            told["success"] = True
        return Response(msgspec.json.encode(told), status, media_type="application/json")


def _head(parts: Parts, body_bytes: int) -> tuple[BatchHead, RefusedError | Problem | None]:
    """What holds for every event, and why none of the body may be accepted, None where they may."""
    wrong: RefusedError | Problem | None = parts.wrong
    head = BatchHead()
    try:
        head = json_text.parse(BatchHead, parts.head)
    except RefusedError as error:
        wrong = wrong or error
        with suppress(RefusedError):
            head = BatchHead(write_key=json_text.parse(BatchHead, parts.key).write_key)
    if parts.single and body_bytes > EVENT_BYTES_MAX:
        wrong = wrong or Problem(
            problems.BODY_TOO_LARGE, f"An event has at most {EVENT_BYTES_MAX} bytes; send a batch.")
    elif not parts.single and not 1 <= len(parts.events) <= BATCH_EVENTS_MAX:
        wrong = wrong or invalid(
            FieldError("/batch", f"has {len(parts.events)} events: send 1 to {BATCH_EVENTS_MAX}"))
    return head, wrong


def _refusal(outcomes: Sequence[_Outcome], told: Mapping[str, Any]) -> Problem:
    """The problem of a body of which nothing is accepted; with what was applied of it, where something was."""
    first = outcomes[0].refused
    if isinstance(first, Problem):
        problem = first
    elif outcomes[0].whole and isinstance(first, RefusedError):
        problem = problems.of_refused(first)
    else:
        errors = [error for outcome in outcomes for error in outcome.errors]
        problem = problems.of_refused(invalid(*errors[:_ERRORS_MAX]))
    return replace(problem, extra=told) if any(outcome.noes for outcome in outcomes) else problem


def _said(event: IdentityEvent) -> bytes:
    """A digest of everything but the times, which are worked out anew for a repeat, from when it is sent."""
    said = replaced(event, at_ms=0, consent=[replaced(grant, at_ms=0) for grant in event.consent])
    return hashlib.blake2b(avro.encode(IDENTITY_EVENTS, said), digest_size=16).digest()


def _made_up_id() -> str:
    return str(uuid.UUID(bytes=os.urandom(16), version=4))

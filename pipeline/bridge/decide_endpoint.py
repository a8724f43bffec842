"""`POST /personalization/decide`: check the request, have it decided, answer with something to show whatever happens.

Decides nothing itself: past the deadline, or without a pipeline, it gives each placement's declared fallback.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pipeline.access import DECIDE
from pipeline.bridge import json_body, problems
from pipeline.bridge.api_keys import ApiKeys, Grant
from pipeline.bridge.asking import Asker, RequestIdReusedError, TooManyInFlightError, Unanswered
from pipeline.bridge.decide_bodies import BODY_BYTES_MAX, DecideBody
from pipeline.bridge.metrics import BridgeMetrics
from pipeline.bridge.problems import Kind, Problem
from pipeline.bridge.quotas import Quotas
from pipeline.bridge.tenant import named_tenant
from pipeline.bridge.tracing import headers_for
from pipeline.bridge.world import World
from pipeline.codecs.errors import CodecError
from pipeline.core.decide.live import Live
from pipeline.core.hashing import digest
from pipeline.core.identity import identifiers
from pipeline.core.identity.identity_rules import IdentityRules
from pipeline.core.model.bounds import NAME_CHARS_MAX
from pipeline.core.model.definitions import Attribute
from pipeline.core.model.records import Chosen, DecisionReply, DecisionRequest, Identifier, Scalar
from pipeline.ingest import json_text
from pipeline.ingest.field_types import unfit
from pipeline.ingest.personal_fields import kept, listed
from pipeline.ingest.personal_texts import found_in
from pipeline.ingest.refusal import FieldError, invalid
from pipeline.ports import Clock
from pipeline.settings import Settings

#: Sent as 1 by browsers whose owner wants no tracking (W3C, Global Privacy Control).
GPC_HEADER: Final = "sec-gpc"

_NAMES_SHOWN_MAX: Final = 50
#: Past it there are no whole numbers here.
_WHOLE_END: Final = 2.0**63
_NO_STORE: Final = {"Cache-Control": "no-store"}
_ERROR_KINDS: Final[Mapping[str, Kind]] = {
    "unknown_placement": problems.UNKNOWN_PLACEMENT,
    "unknown_channel": problems.UNKNOWN_CHANNEL,
    "request_id_reused": problems.REQUEST_ID_REUSED,
    "answer_not_kept": problems.ANSWER_NOT_KEPT,
}
_REUSED: Final = "This request id belongs to another request; only an unchanged one may be repeated."


@dataclass(frozen=True, slots=True)
class _Asked:
    """A checked request."""

    tenant: str
    live: Live
    request: DecisionRequest
    wait_ms: int
    warnings: list[str]
    #: Whether the browser's global privacy control refuses what the request needs.
    refused: bool = False


class DecideEndpoint:
    """The endpoint's parts. `caught_up` says whether the policies have been read to their end once."""

    def __init__(
        self, settings: Settings, keys: ApiKeys, quotas: Quotas, world: World, caught_up: Callable[[], bool],
        asker: Asker, clock: Clock, metrics: BridgeMetrics,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._quotas = quotas
        self._world = world
        self._caught_up = caught_up
        self._asker = asker
        self._clock = clock
        self._metrics = metrics
        self._tenant_keys = settings.tenant_keys

    async def decide(self, request: Request) -> Response:
        """Answer one request; raises Problem for one that is wrong."""
        started_s = self._clock.monotonic_s()
        headers = request.headers
        grant = self._keys.check(headers, DECIDE)
        body = json_text.parse(DecideBody, await json_body.read(request, BODY_BYTES_MAX))
        asked = self._check(body, headers, grant)
        if asked.refused:
            # Nothing is asked, so nothing is kept: as where consent was refused.
            return self._answered(asked, self._fallback(asked, "no_consent"), started_s)
        waited_ms = (self._clock.monotonic_s() - started_s) * 1_000
        try:
            with self._quotas.deciding(asked.tenant):
                answer = await self._asker.ask(
                    asked.request, max(asked.wait_ms - waited_ms, 0.0), headers_for(headers.get("traceparent")),
                    after=body.after,
                )
        except Problem:
            self._metrics.of_tenant(asked.tenant, "decision", "over_quota")
            raise
        except TooManyInFlightError as error:
            raise problems.too_many_in_flight(self._settings.max_in_flight, "decisions") from error
        except RequestIdReusedError as error:
            raise Problem(problems.REQUEST_ID_REUSED, _REUSED) from error
        except CodecError as error:
            raise Problem(problems.INVALID_REQUEST, error.detail) from error
        reply = self._fallback(asked, answer.reason) if isinstance(answer, Unanswered) else answer
        if reply.error is not None:
            raise _refused(reply.error, asked.live)
        return self._answered(asked, reply, started_s)

    def _answered(self, asked: _Asked, reply: DecisionReply, started_s: float) -> Response:
        self._metrics.of_tenant(asked.tenant, "decision", "fallback" if reply.fallback else "decided")
        self._metrics.answered(reply.reason, reply.fallback, self._clock.monotonic_s() - started_s)
        return _response(asked, reply)

    # -- checking -------------------------------------------------------------------------------------------------

    def _check(self, body: DecideBody, headers: Mapping[str, str], grant: Grant) -> _Asked:
        wait_ms = self._wait_ms(headers.get("x-deadline-ms"))
        request_id = _request_id(body.request_id, headers.get("idempotency-key"))
        tenant = named_tenant(grant, headers, self._settings.tenant, body.subject.tenant_id)
        live = self._world.live(tenant)
        if live is None:
            raise problems.without_policy(
                self._caught_up(), "Nothing can be decided for this tenant before a policy is published.")
        subject = self._subject(body, tenant, live.policy.identity)
        context, constraints = body.context, body.constraints
        placements = context.all_placements
        _check_names(problems.UNKNOWN_CHANNEL, "/context/channel", [context.channel], live.policy.channels)
        slots = "/context/placement" if context.placements is None else "/context/placements"
        _check_names(problems.UNKNOWN_PLACEMENT, slots, placements, live.policy.placements)
        warnings: list[str] = []
        _check_lists(context.attributes, live.policy.context)
        attributes = kept(context.attributes, "context.attributes", warnings, declared=live.policy.context)
        key = identifiers.key_of(tenant, subject)
        # The same whichever keys a bridge lists.
        said = (identifiers.oldest_key(key, subject.earlier), context.channel, placements, context.scenario,
                constraints.max_variants, constraints.require_consent,
                {name: _as_written_shortest(value) for name, value in attributes.items()})
        request = DecisionRequest(
            request_id, key, context.channel, placements, context.scenario, constraints.max_variants,
            constraints.require_consent, attributes, digest=digest(msgspec.json.encode(said, order="sorted").decode()),
            earlier=subject.earlier,
        )
        refused = headers.get(GPC_HEADER, "").strip() == "1" and _needs(live, context.channel, placements)
        return _Asked(tenant, live, request, wait_ms, warnings, refused)

    def _subject(self, body: DecideBody, tenant: str, rules: IdentityRules) -> Identifier:
        at = "/subject/type"
        try:
            type_ = identifiers.type_of(body.subject.type)
            at = "/subject/id"
            return identifiers.identifier(self._tenant_keys, tenant, type_, body.subject.id, rules)
        except identifiers.IdentifierError as error:
            raise invalid(FieldError(at, str(error))) from error

    def _wait_ms(self, header: str | None) -> int:
        if header is None:
            return self._settings.deadline_ms
        longest = max(self._settings.deadline_ms_max, self._settings.deadline_ms)
        if not (header.isascii() and header.isdigit() and len(header) < 10 and 1 <= int(header) <= longest):
            raise invalid(FieldError("header:X-Deadline-Ms", f"send whole milliseconds, 1 to {longest}"))
        return int(header)

    # -- answering ------------------------------------------------------------------------------------------------

    def _fallback(self, asked: _Asked, reason: str) -> DecisionReply:
        chosen = [one for name in asked.request.placements for one in self._world.fallback(asked.tenant, name)]
        return DecisionReply(asked.request.request_id, "", chosen, True, reason, asked.live.release)


def _needs(live: Live, channel: str, placements: list[str]) -> bool:
    """Whether some placement needs a purpose that a global privacy control refuses."""
    policy = live.policy
    refused = set(policy.gpc)
    usual = policy.channels[channel].purposes
    return any(refused.intersection(policy.placements[name].purposes or usual) for name in placements)


def _as_written_shortest(value: Scalar) -> Scalar:
    """20 of 20.0: equal numbers are one to JSON, and a repeat may be written by another library."""
    if type(value) is float and value.is_integer() and -_WHOLE_END <= value < _WHOLE_END:
        return int(value)
    return value


def _request_id(in_body: str | None, header: str | None) -> str:
    """The caller's id of this request, or one made up: then it cannot be repeated."""
    in_header = header.strip().strip('"') if header is not None else None
    if in_header is not None:
        if not 0 < len(in_header) <= NAME_CHARS_MAX:
            raise invalid(FieldError("header:Idempotency-Key", f"has 1 to {NAME_CHARS_MAX} characters"))
        if in_body is not None and in_body != in_header:
            raise invalid(
                FieldError("/request_id", "differs from the Idempotency-Key header: send one of them, or both the same")
            )
    if in_header is not None and (inside := found_in(in_header)):
        message = f"holds {inside}: send an id without personal data"
        raise invalid(FieldError("header:Idempotency-Key", message))
    request_id = in_body or in_header or os.urandom(16).hex()
    if not request_id.isprintable():
        raise invalid(FieldError("/request_id", "has control characters: send printable ones"))
    return request_id


def _check_names(kind: Kind, pointer: str, names: Iterable[str], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            shown = ", ".join(sorted(known)[:_NAMES_SHOWN_MAX]) or "none"
            message = f"unknown name.{hint} The live policy has: {shown}"
            raise Problem(kind, f"{pointer}: {message}.", (FieldError(pointer, message),))


def _check_lists(attributes: Mapping[str, Any], declared: Mapping[str, Attribute]) -> None:
    """What the body's own shape cannot say, as it hangs on what is declared; all else was checked with it."""
    for name, value in attributes.items():
        if not isinstance(value, list):
            continue
        try:
            why = unfit(listed(value, declared.get(name)))
        except ValueError as error:
            why = str(error)
        if why is not None:
            raise invalid(FieldError(f"/context/attributes{json_text.pointer_of([name])}", why))


def _refused(error: str, live: Live) -> Problem:
    """The problem for what the worker refused; it may know a newer policy than this bridge."""
    what, _, name = error.partition(":")
    kind = _ERROR_KINDS.get(what)
    if kind is None:
        return Problem(problems.INVALID_REQUEST, f"The pipeline refused the request: {error}.")
    if kind is problems.REQUEST_ID_REUSED:
        return Problem(kind, _REUSED)
    if kind is problems.ANSWER_NOT_KEPT:
        return Problem(kind, kind.advice)
    return Problem(kind, f"The policy that became live just now has no {name}; this bridge still knew {live.release}.")


def _response(asked: _Asked, reply: DecisionReply) -> Response:
    body: dict[str, Any] = {
        "decision_id": reply.decision_id or None,
        "request_id": reply.request_id,
        "decisions": [_item(one) for one in reply.decisions],
        "fallback": reply.fallback,
        "reason": reply.reason,
        "release": reply.release,
    }
    if asked.warnings:
        body["warnings"] = asked.warnings
    return Response(msgspec.json.encode(body), headers=_NO_STORE, media_type="application/json")


def _item(chosen: Chosen) -> dict[str, Any]:
    return {
        f"{chosen.kind}_id": chosen.item_id,
        "variant": chosen.variant,
        "priority": chosen.priority,
        "experiment": chosen.experiment,
        "ttl": chosen.ttl_s,
        "placement": chosen.placement,
        "content": chosen.content,
        "fallback": chosen.fallback,
    }

"""`GET /features/{subject}`: what somebody's features say now, answered by the worker that keeps them.

Reads nothing itself: the question goes the way of a decision, so it sees all that was applied before it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Final

import msgspec
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from pipeline.access import FEATURES_READ
from pipeline.bridge import problems
from pipeline.bridge.api_keys import ApiKeys
from pipeline.bridge.asking import Asker, TooManyInFlightError, Unanswered
from pipeline.bridge.problems import Problem
from pipeline.bridge.quotas import Quotas
from pipeline.bridge.tenant import named_tenant
from pipeline.bridge.tracing import headers_for
from pipeline.bridge.world import World
from pipeline.codecs.errors import CodecError
from pipeline.core.decide.live import Live
from pipeline.core.identity import identifiers
from pipeline.core.model.records import DecisionReply, DecisionRequest, Identifier
from pipeline.ingest.refusal import FieldError, invalid
from pipeline.settings import Settings

FEATURES_PATH: Final = "/features/"
_TYPE: Final = "user_id"


class FeatureTold(BaseModel):
    """One feature."""

    kind: str
    type: str
    per: str = Field(description="subject, item or tag.")
    value: Any = Field(None, description="Of a feature per subject; a duration in seconds as 90s.")
    values: dict[str, Any] | None = Field(None, description="Of a feature per item or tag: by item or tag.")
    unknown: str | None = Field(None, description="Why there is no value: no_value, incomplete, or stale.")
    as_of_ms: int | None = Field(None, description="Of a loaded value: the moment that it is of, epoch ms.")
    hidden: str | None = Field(None, description="The class of a sensitive feature, whose value is not shown.")


class FeaturesReply(BaseModel):
    """What somebody's features say."""

    features: dict[str, FeatureTold] = Field(description="By name; empty without consent.")
    reason: str = Field(description="read, or why there are none: no_consent (also of somebody unknown).")
    release: str = Field(description="The policy release that declares them.")


class FeaturesEndpoint:
    """The endpoint's parts. `caught_up` says whether the policies have been read to their end once."""

    def __init__(
        self, settings: Settings, keys: ApiKeys, quotas: Quotas, world: World, caught_up: Callable[[], bool],
        asker: Asker,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._quotas = quotas
        self._world = world
        self._caught_up = caught_up
        self._asker = asker

    async def read(self, request: Request) -> Response:
        """Answer one question; raises Problem for one that is wrong or that no worker answered in time."""
        headers, query = request.headers, request.query_params
        grant = self._keys.check(headers, FEATURES_READ)
        tenant = named_tenant(grant, headers, self._settings.tenant)
        live = self._world.live(tenant)
        if live is None:
            raise problems.without_policy(
                self._caught_up(), "There are no features for this tenant before a policy is published.")
        subject = self._subject(tenant, live, query.get("type", _TYPE), request.path_params["subject"])
        asked = DecisionRequest(
            os.urandom(16).hex(), identifiers.key_of(tenant, subject), _channel(live, query.get("channel")), [],
            features=True, earlier=subject.earlier)
        reply = await self._ask(asked, tenant, headers.get("traceparent"), query.get("after"))
        if reply.error is not None:
            raise Problem(problems.UNKNOWN_CHANNEL, "The policy that became live just now has no such channel.")
        body = {"features": json.loads(reply.features or "{}"), "reason": reply.reason, "release": reply.release}
        return Response(msgspec.json.encode(body), headers={"Cache-Control": "no-store"},
                        media_type="application/json")

    async def _ask(
        self, asked: DecisionRequest, tenant: str, traceparent: str | None, after: str | None
    ) -> DecisionReply:
        try:
            with self._quotas.deciding(tenant):
                answer = await self._asker.ask(asked, self._settings.deadline_ms, headers_for(traceparent), after=after)
        except TooManyInFlightError as error:
            raise problems.too_many_in_flight(self._settings.max_in_flight, "answers") from error
        except CodecError as error:
            raise Problem(problems.INVALID_REQUEST, error.detail) from error
        if isinstance(answer, Unanswered):
            raise Problem(problems.NOT_READY, f"No worker answered in time ({answer.reason}).",
                          headers={"Retry-After": "1"})
        return answer

    def _subject(self, tenant: str, live: Live, type_: str, value: str) -> Identifier:
        at = "query:type"
        try:
            known = identifiers.type_of(type_)
            at = "path:subject"
            return identifiers.identifier(self._settings.tenant_keys, tenant, known, value, live.policy.identity)
        except identifiers.IdentifierError as error:
            raise invalid(FieldError(at, str(error))) from error


def _channel(live: Live, named: str | None) -> str:
    """The channel that features are read for: consent is given for one. The only one, where the policy has but one."""
    channels = live.policy.channels
    if named is None and len(channels) == 1:
        return next(iter(channels))
    if named is None or named not in channels:
        shown = ", ".join(sorted(channels))
        said = "name the channel you read for" if named is None else "unknown name"
        message = f"{said}; the live policy has: {shown}"
        raise Problem(problems.UNKNOWN_CHANNEL, f"query:channel: {message}.", (FieldError("query:channel", message),))
    return named

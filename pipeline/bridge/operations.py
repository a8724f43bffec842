"""The table of the bridge's operations. What stands here is routed, documented and counted; nothing else is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from pipeline.bridge import problems
from pipeline.bridge.decide_bodies import DecideBody, DecideReply
from pipeline.bridge.decide_endpoint import DecideEndpoint
from pipeline.bridge.events_endpoint import EventsEndpoint
from pipeline.bridge.features_endpoint import FEATURES_PATH, FeaturesEndpoint, FeaturesReply
from pipeline.bridge.metrics import BridgeMetrics
from pipeline.bridge.openapi import EVERY_DOOR, Header, Operation, Success
from pipeline.bridge.privacy_bodies import PrivacyBody, PrivacyJob
from pipeline.bridge.privacy_endpoint import JOBS_PATH, PrivacyEndpoint
from pipeline.bridge.problems import Problem
from pipeline.bridge.readiness import Readiness
from pipeline.bridge.tenant import HEADER as TENANT_HEADER
from pipeline.ingest.event_bodies import Batch, EventsReply, SegmentEvent

DECIDE_PATH: Final = "/personalization/decide"
EVENTS_PATH: Final = "/v1/events"

#: What clients of Segment and RudderStack send to, and the type of event that an address stands for; None: as it says.
SEGMENT_PATHS: Final[dict[str, str | None]] = {
    "/v1/batch": None, "/v1/import": None,
    **{f"/v1/{type_}": type_ for type_ in ("track", "identify", "page", "screen", "group", "alias")},
    # Their clients for browsers shorten them.
    "/v1/b": None, "/v1/t": "track", "/v1/i": "identify", "/v1/p": "page", "/v1/s": "screen", "/v1/g": "group",
    "/v1/a": "alias",
}

_TEXT: Final = {"type": "string"}
_TENANT: Final[Header] = (
    TENANT_HEADER, "The tenant, if the body names none; the key's or the installation's default one where left out.",
    _TEXT)
_DECIDE_HEADERS: Final[tuple[Header, ...]] = (
    ("Idempotency-Key", "Your id of this request; the same as `request_id` in the body.", _TEXT),
    ("X-Deadline-Ms", "How long you wait; past it you get the declared fallback.", {"type": "integer", "minimum": 1}),
    _TENANT,
    ("traceparent", "W3C trace context, passed on with the request.", _TEXT),
    ("Sec-GPC", "1: the browser's global privacy control; see the policy's consent.gpc.", _TEXT),
)
_EVENT_HEADERS: Final[tuple[Header, ...]] = (
    _TENANT,
    ("traceparent", "W3C trace context, passed on with the events.", _TEXT),
    ("Sec-GPC", "1: the browser's global privacy control; see the policy's consent.gpc.", _TEXT),
)
_PRIVACY_HEADERS: Final[tuple[Header, ...]] = (
    _TENANT,
    ("Idempotency-Key", "Your id of this question: asked again with it, it is the same job.", _TEXT),
)
_EVENT_PROBLEMS: Final = (
    *EVERY_DOOR, problems.QUOTA_EXCEEDED, problems.EVENTS_UNAVAILABLE, problems.CONSENT_NOT_IN_FORCE)
_BROWSERS: Final = ("application/json", "text/plain")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the application puts on the air."""

    decide: DecideEndpoint
    events: EventsEndpoint
    privacy: PrivacyEndpoint
    features: FeaturesEndpoint
    readiness: Readiness
    metrics: BridgeMetrics


class Status(BaseModel):
    """Whether all is well."""

    status: str


def table(endpoints: Endpoints) -> list[Operation]:
    """Every operation."""
    return [*_hot(endpoints), *_of_segment(endpoints), *_of_privacy(endpoints), _of_features(endpoints),
            *_of_operators(endpoints)]


def _hot(endpoints: Endpoints) -> list[Operation]:
    return [
        Operation(
            "POST", DECIDE_PATH, endpoints.decide.decide, "decide", "decisions",
            "Ask for the next best action, offer or content",
            Success(200, "Decided, or the declared fallback", DecideReply),
            "Answers within the deadline, with each placement's declared fallback where the pipeline does not.",
            (DecideBody,),
            (*EVERY_DOOR, problems.NO_POLICY, problems.UNKNOWN_PLACEMENT, problems.UNKNOWN_CHANNEL,
             problems.REQUEST_ID_REUSED, problems.ANSWER_NOT_KEPT, problems.TOO_MANY_REQUESTS,
             problems.QUOTA_EXCEEDED, problems.NOT_READY),
            _DECIDE_HEADERS),
        Operation(
            "POST", EVENTS_PATH, endpoints.events.take, "events", "events", "Send events, one or a batch",
            Success(202, "Acknowledged by the broker", EventsReply),
            "Segment's identify, track, page, screen, group and alias. Answers once the broker has acknowledged every "
            "accepted event.",
            (SegmentEvent, Batch), _EVENT_PROBLEMS, _EVENT_HEADERS, media_types=_BROWSERS),
    ]


def _of_segment(endpoints: Endpoints) -> list[Operation]:
    return [
        Operation(
            "POST", path, partial(endpoints.events.take_of_client, type_), f"segment{path.replace('/', '_')}",
            "segment", f"As {EVENTS_PATH}, for the clients of Segment and RudderStack",
            Success(200, "Acknowledged by the broker", EventsReply), "",
            (SegmentEvent,) if type_ else (Batch,), _EVENT_PROBLEMS, _EVENT_HEADERS, media_types=_BROWSERS)
        for path, type_ in SEGMENT_PATHS.items()
    ]


def _of_privacy(endpoints: Endpoints) -> list[Operation]:
    asked = Success(202, "Asked for", PrivacyJob)
    kinds = (*EVERY_DOOR, problems.EVENTS_UNAVAILABLE)
    said = "Answers once the broker has the request, with the job's id; scope `privacy`."
    return [
        Operation("POST", "/privacy/erase", endpoints.privacy.erase, "erase", "privacy", "Forget somebody", asked, said,
                  (PrivacyBody,), kinds, _PRIVACY_HEADERS),
        Operation("POST", "/privacy/export", endpoints.privacy.export, "export", "privacy",
                  "Collect everything known about somebody", asked, said, (PrivacyBody,), kinds, _PRIVACY_HEADERS),
        Operation("GET", JOBS_PATH + "{job_id}", endpoints.privacy.job, "privacy_job", "privacy",
                  "How far a job is, its receipts, and the document of an export", Success(200, "The job", PrivacyJob),
                  "", (), (problems.UNAUTHORIZED, problems.FORBIDDEN, problems.UNKNOWN_JOB,
                           problems.INVALID_REQUEST, problems.EVENTS_UNAVAILABLE), path_names=("job_id",)),
    ]


def _of_features(endpoints: Endpoints) -> Operation:
    return Operation(
        "GET", FEATURES_PATH + "{subject}", endpoints.features.read, "features", "features",
        "What somebody's features say now", Success(200, "The features", FeaturesReply),
        "`type` says what the subject is identified by (user_id where left out), `channel` what you read for, `after` "
        "is the token of events that are to be counted before; scope `features:read`.", (),
        (problems.UNAUTHORIZED, problems.FORBIDDEN, problems.NO_POLICY, problems.INVALID_REQUEST,
         problems.UNKNOWN_CHANNEL, problems.TOO_MANY_REQUESTS, problems.QUOTA_EXCEEDED, problems.NOT_READY),
        (_TENANT, ("traceparent", "W3C trace context, passed on with the question.", _TEXT)),
        path_names=("subject",), query_names=("type", "channel", "after"))


def _of_operators(endpoints: Endpoints) -> list[Operation]:
    async def healthz(_: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(request: Request) -> Response:
        checks = await endpoints.readiness.check(request.query_params.get("tenant") or None)
        if checks.ready:
            return _json({"status": "ready"})
        raise Problem(
            problems.NOT_READY, "; ".join(checks.missing) + ".", headers={"Retry-After": "1"},
            extra={"missing": list(checks.missing)},
        )

    async def metrics(_: Request) -> Response:
        return Response(endpoints.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def problem(request: Request) -> Response:
        kind = problems.BY_SLUG.get(request.path_params["slug"])
        if kind is None:
            raise HTTPException(404)
        return PlainTextResponse(f"{kind.title} (HTTP {kind.status})\n\n{kind.advice}\n")

    tag = "operations"
    return [
        Operation("GET", "/healthz", healthz, "healthz", tag, "Whether the process lives",
                  Success(200, "It does", Status), keyed=False),
        Operation("GET", "/readyz", readyz, "readyz", tag, "Whether a decision could be served now",
                  Success(200, "It could", Status), problems=(problems.INVALID_REQUEST, problems.NOT_READY),
                  query_names=("tenant",),
                  keyed=False),
        Operation("GET", "/metrics", metrics, "metrics", tag, "Prometheus metrics", Success(200, "The metrics"),
                  keyed=False),
        Operation("GET", "/problems/{slug}", problem, "problem", tag, "What a problem type means",
                  Success(200, "What it means"), problems=(problems.NOT_FOUND,), path_names=("slug",), keyed=False),
    ]


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json", headers={"Cache-Control": "no-store"})

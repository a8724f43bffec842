"""What can be wrong with a request, as RFC 9457 problem details. The types are public contract: never rename one.

Texts never repeat what the caller sent beyond names of fields: a problem may end up in a log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from starlette.responses import Response

from pipeline.ingest.refusal import FieldError, NotJsonError, RefusedError

MEDIA_TYPE: Final = "application/problem+json"

#: Relative, so that the same text identifies the type on every installation; each bridge explains it at that address.
TYPE_PREFIX: Final = "/problems/"


@dataclass(frozen=True, slots=True)
class Kind:
    """One problem type: its slug, status, title, and what the caller can do about it."""

    slug: str
    status: int
    title: str
    advice: str

    @property
    def type(self) -> str:
        return TYPE_PREFIX + self.slug


@dataclass(slots=True)
class Problem(Exception):
    """Raised by an endpoint, answered by the application. `extra`: further members of the body."""

    kind: Kind
    detail: str
    errors: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def response(self) -> Response:
        """The answer to the caller."""
        body: dict[str, Any] = {
            "type": self.kind.type, "title": self.kind.title, "status": self.kind.status, "detail": self.detail,
        }
        if self.errors:
            body["errors"] = [{"pointer": error.pointer, "message": error.message} for error in self.errors]
        body.update(self.extra)
        return Response(msgspec.json.encode(body), self.kind.status, dict(self.headers), MEDIA_TYPE)


def too_many_in_flight(in_flight_max: int, awaited: str) -> Problem:
    """The refusal of a question beyond those that the bridge waits for; `awaited`: what it waits for."""
    return Problem(TOO_MANY_REQUESTS, f"This bridge already waits for {in_flight_max} {awaited}.",
                   headers={"Retry-After": "1"})


def without_policy(caught_up: bool, nothing: str) -> Problem:
    """The refusal where a tenant has no live policy: none was published, or it may not have been read yet."""
    if caught_up:
        return Problem(NO_POLICY, nothing)
    return Problem(NOT_READY, "The policy is still being read.", headers={"Retry-After": "1"})


MALFORMED_JSON: Final = Kind(
    "malformed-json", 400, "The body is not JSON", "Send one JSON object, UTF-8, without NaN or half surrogate pairs."
)
UNAUTHORIZED: Final = Kind(
    "unauthorized", 401, "No valid API key",
    "Send `Authorization: Bearer <key>` or `X-Api-Key: <key>` with a key of this installation.",
)
FORBIDDEN: Final = Kind(
    "forbidden", 403, "The API key may not do this", "Use a key that has the scope the detail names."
)
NOT_FOUND: Final = Kind("not-found", 404, "Nothing is here", "See /docs for every address.")
NO_POLICY: Final = Kind(
    "no-policy", 404, "This tenant has no live policy",
    "Check `tenant_id`, or publish a policy: `nextbest policy publish <folder>`.",
)
UNKNOWN_JOB: Final = Kind(
    "unknown-job", 404, "There is no such privacy job", "Use the `job_id` that asking for it was answered with."
)
METHOD_NOT_ALLOWED: Final = Kind(
    "method-not-allowed", 405, "Not with this method", "Use a method that the Allow header names."
)
BODY_TOO_LARGE: Final = Kind(
    "body-too-large", 413, "The body is too large", "Send less at once; the detail names the limit."
)
UNSUPPORTED_MEDIA_TYPE: Final = Kind(
    "unsupported-media-type", 415, "The body must be JSON",
    "Send `Content-Type: application/json`, uncompressed or with `Content-Encoding: gzip`.",
)
INVALID_REQUEST: Final = Kind(
    "invalid-request", 422, "The request is not valid", "Correct the fields that `errors` names."
)
UNKNOWN_PLACEMENT: Final = Kind(
    "unknown-placement", 422, "The live policy has no such placement",
    "Use a placement that the detail names, or publish a policy that declares it.",
)
UNKNOWN_CHANNEL: Final = Kind(
    "unknown-channel", 422, "The live policy has no such channel",
    "Use a channel that the detail names, or publish a policy that declares it.",
)
REQUEST_ID_REUSED: Final = Kind(
    "request-id-reused", 422, "The request id was used for another request",
    "Repeat the first request unchanged, or send this one under an id of its own.",
)
ANSWER_NOT_KEPT: Final = Kind(
    "answer-not-kept", 409, "The request was decided, and its answer was too large to keep",
    "Send the request under a new id; ask for fewer placements or smaller content, so that answers can be repeated.",
)
HEADERS_TOO_LARGE: Final = Kind(
    "headers-too-large", 431, "The request line and headers are too large",
    "Send at most 32 KiB of them: are there cookies that this address need not get?",
)
REQUEST_TIMEOUT: Final = Kind(
    "request-timeout", 408, "The request did not come in time", "Send head and body without pauses, then repeat.",
)
TOO_MANY_REQUESTS: Final = Kind(
    "too-many-requests", 429, "Too many decisions are under way", "Wait as long as Retry-After says, then repeat."
)
QUOTA_EXCEEDED: Final = Kind(
    "quota-exceeded", 429, "The tenant has used its quota",
    "Wait as long as Retry-After says; where it happens often, ask the operator for more of the `quota` named.",
)
INTERNAL: Final = Kind(
    "internal-error", 500, "The bridge failed", "Repeat once; if it stays, tell the operator the time of the request."
)
NOT_READY: Final = Kind(
    "not-ready", 503, "No decision can be served yet", "Wait as long as Retry-After says, then repeat."
)
TOO_MANY_CONNECTIONS: Final = Kind(
    "too-many-connections", 503, "The bridge holds as many connections as it may",
    "Keep connections and use them again; a proxy in front needs NEXTBEST_CONNECTIONS_PER_ADDRESS_MAX raised.",
)
EVENTS_UNAVAILABLE: Final = Kind(
    "events-unavailable", 503, "The broker did not take every event",
    "Repeat after Retry-After with the same messageIds: those already taken are not counted twice.",
)
CONSENT_NOT_IN_FORCE: Final = Kind(
    "consent-not-in-force", 503, "The broker has the consent, but no worker has confirmed it yet",
    "Repeat after Retry-After with the same messageIds until all is accepted: then every later decision obeys it.",
)

KINDS: Final = tuple(kind for kind in list(globals().values()) if isinstance(kind, Kind))
BY_SLUG: Final[dict[str, Kind]] = {kind.slug: kind for kind in KINDS}


def of_refused(error: RefusedError) -> Problem:
    """The problem of a body that is refused for what it says."""
    return Problem(MALFORMED_JSON if isinstance(error, NotJsonError) else INVALID_REQUEST, error.detail, error.errors)

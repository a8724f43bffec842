"""The OpenAPI document: FastAPI's own, with the two hot doors added, whose bodies they read themselves.

Declares what the doors do; the models it points to are the very ones that validate.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipeline.bridge import problems
from pipeline.bridge.decide_bodies import DecideBody, DecideReply
from pipeline.bridge.event_bodies import Batch, EventsReply, SegmentEvent
from pipeline.bridge.problems import Kind

VERSION: Final = "1"

DESCRIPTION: Final = (
    "Ask for the next best action, offer or content, and send the events that it is decided from. "
    "Errors are RFC 9457 problem details; each `type` is explained at its own address."
)

REF: Final = "#/components/schemas/{model}"

_DECIDE_HEADERS: Final = (
    ("Idempotency-Key", "Your id of this request; the same as `request_id` in the body.", {"type": "string"}),
    ("X-Deadline-Ms", "How long you wait; past it you get the declared fallback.", {"type": "integer", "minimum": 1}),
    ("traceparent", "W3C trace context, passed on with the request.", {"type": "string"}),
)
_EVENT_HEADERS: Final = (
    ("X-Tenant-Id", "The tenant; the installation's default one where left out.", {"type": "string"}),
    ("traceparent", "W3C trace context, passed on with the events.", {"type": "string"}),
)
EVERY_DOOR: Final = (
    problems.MALFORMED_JSON, problems.UNAUTHORIZED, problems.FORBIDDEN, problems.BODY_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA_TYPE, problems.INVALID_REQUEST,
)
_DECIDE_PROBLEMS: Final = (
    *EVERY_DOOR, problems.NO_POLICY, problems.UNKNOWN_PLACEMENT, problems.UNKNOWN_CHANNEL,
    problems.REQUEST_ID_REUSED, problems.TOO_MANY_REQUESTS, problems.NOT_READY,
)


class ProblemError(BaseModel):
    """What is wrong with one field."""

    pointer: str
    message: str


class ProblemBody(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemError] | None = None


def complete(app: FastAPI, decide_path: str, events_path: str) -> None:
    """Let the application serve the whole document."""
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes,
            ))
            for operation in (one for path in document["paths"].values() for one in path.values()):
                # FastAPI's own error: here every error is a problem.
                operation["responses"].pop("422", None)
            document["paths"] = {
                decide_path: {"post": _decide()}, events_path: {"post": _events()}, **document["paths"],
            }
            components = document.setdefault("components", {})
            components["schemas"] = _schemas()
            components["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            }
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _schemas() -> dict[str, Any]:
    _, schema = models_json_schema(
        [(DecideBody, "validation"), (SegmentEvent, "validation"), (Batch, "validation"),
         (DecideReply, "serialization"), (EventsReply, "serialization"), (ProblemBody, "serialization")],
        ref_template=REF,
    )
    found: dict[str, Any] = schema["$defs"]
    return found


def _decide() -> dict[str, Any]:
    return operation(
        "decide", "decisions", "Ask for the next best action, offer or content",
        "Answers within the deadline, with each placement's declared fallback where the pipeline does not.",
        [ref("DecideBody")], ("200", "Decided, or the declared fallback", "DecideReply"), _DECIDE_PROBLEMS,
        _DECIDE_HEADERS,
    )


def _events() -> dict[str, Any]:
    return operation(
        "events", "events", "Send events, one or a batch",
        "Segment's identify, track, page and alias. Answers once the broker has acknowledged every accepted event.",
        [ref("SegmentEvent"), ref("Batch")], ("202", "Acknowledged by the broker", "EventsReply"),
        (*EVERY_DOOR, problems.EVENTS_UNAVAILABLE), _EVENT_HEADERS,
    )


def operation(
    name: str, tag: str, summary: str, description: str, bodies: list[dict[str, str]], success: tuple[str, str, str],
    kinds: tuple[Kind, ...], headers: tuple[tuple[str, str, dict[str, Any]], ...],
) -> dict[str, Any]:
    """One operation with a body."""
    status, meaning, model = success
    return {
        "tags": [tag], "summary": summary, "description": description, "operationId": name,
        "security": [{}, {"bearer": []}, {"apiKey": []}],
        "parameters": [
            {"name": header, "in": "header", "required": False, "description": said, "schema": schema}
            for header, said, schema in headers
        ],
        "requestBody": {"required": True, "content": {"application/json": {
            "schema": bodies[0] if len(bodies) == 1 else {"anyOf": bodies},
        }}},
        "responses": {
            status: {"description": meaning, "content": {"application/json": {"schema": ref(model)}}},
            **problem_responses(kinds),
        },
    }


def problem_responses(kinds: tuple[Kind, ...]) -> dict[str, Any]:
    """How an operation declares its problems."""
    by_status: dict[int, list[Kind]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        str(status): {
            "description": " / ".join(kind.title for kind in same),
            "content": {problems.MEDIA_TYPE: {
                "schema": ref("ProblemBody"),
                "examples": {kind.slug: {"value": {
                    "type": kind.type, "title": kind.title, "status": kind.status, "detail": kind.advice,
                }} for kind in same},
            }},
        }
        for status, same in sorted(by_status.items())
    }


def ref(model: str) -> dict[str, str]:
    """A model of the document, by name."""
    return {"$ref": REF.format(model=model)}

"""The privacy doors in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from pipeline.bridge import problems
from pipeline.bridge.openapi import EVERY_DOOR, REF, operation, problem_responses, ref
from pipeline.bridge.privacy_bodies import PrivacyBody, PrivacyJob

_HEADERS: Final = (
    ("Idempotency-Key", "Your id of this question: asked again with it, it is the same job.", {"type": "string"}),
)


def complete(app: FastAPI, erase_path: str, export_path: str, job_path: str) -> None:
    """Add them to what the application serves."""
    others = app.openapi

    def openapi() -> dict[str, Any]:
        document = others()
        if erase_path not in document["paths"]:
            document["paths"] |= {
                erase_path: {"post": _ask("erase", "Forget somebody")},
                export_path: {"post": _ask("export", "Collect everything known about somebody")},
                job_path: {"get": _job()},
            }
            _, schema = models_json_schema(
                [(PrivacyBody, "validation"), (PrivacyJob, "serialization")], ref_template=REF
            )
            document["components"]["schemas"] |= schema["$defs"]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _ask(name: str, summary: str) -> dict[str, Any]:
    return operation(
        name, "privacy", summary, "Answers once the broker has the request, with the job's id; scope `privacy`.",
        [ref("PrivacyBody")], ("202", "Asked for", "PrivacyJob"), (*EVERY_DOOR, problems.EVENTS_UNAVAILABLE), _HEADERS,
    )


def _job() -> dict[str, Any]:
    kinds = (problems.UNAUTHORIZED, problems.FORBIDDEN, problems.UNKNOWN_JOB, problems.EVENTS_UNAVAILABLE)
    return {
        "tags": ["privacy"], "summary": "How far a job is, its receipts, and the document of an export",
        "operationId": "privacy_job", "security": [{}, {"bearer": []}, {"apiKey": []}],
        "parameters": [{"name": "job_id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {
            "200": {"description": "The job", "content": {"application/json": {"schema": ref("PrivacyJob")}}},
            **problem_responses(kinds),
        },
    }

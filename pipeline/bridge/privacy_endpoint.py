"""`POST /privacy/erase`, `POST /privacy/export`, `GET /privacy/jobs/{id}`: what the law gives every person.

The jobs are records on topics, so any bridge can say how far one is. Reading them back takes a look through partitions:
it is done on a thread, one question at a time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec
from confluent_kafka import KafkaException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.access import ANY_TENANT, PRIVACY
from pipeline.bridge import json_body, problems
from pipeline.bridge.api_keys import ApiKeys, Grant
from pipeline.bridge.privacy_bodies import PrivacyBody, told
from pipeline.bridge.problems import Problem
from pipeline.bridge.tenant import named_tenant
from pipeline.bridge.wire import Wire
from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.identity import identifiers
from pipeline.core.identity.privacy_jobs import DONE, Job, job_id_of
from pipeline.core.keys import tenant_of
from pipeline.core.model.records import ErasureAction, ErasureRequest, Identifier
from pipeline.ingest import json_text
from pipeline.ingest.refusal import FieldError, invalid
from pipeline.ports import Clock, Outbound
from pipeline.settings import Settings
from topics.catalog import ERASURE_REQUESTS

JOBS_PATH: Final = "/privacy/jobs/"
BODY_BYTES_MAX: Final = 16_384
_KEY_CHARS_MAX: Final = 256


class Archive(Protocol):
    """What the endpoint reads back. Blocks; raises KafkaException."""

    def job(self, job_id: str) -> Job | None:
        """The job; None where nobody asked for it."""

    def document(self, job: Job) -> dict[str, Any]:
        """Everything that can be read about the job's subject."""


class PrivacyEndpoint:
    """The endpoints' parts."""

    def __init__(
        self, settings: Settings, keys: ApiKeys, wire: Wire, archive: Callable[[], Archive], clock: Clock
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._wire = wire
        self._archive = archive
        self._clock = clock
        self._one_at_a_time = asyncio.Semaphore(1)

    async def erase(self, request: Request) -> Response:
        """Ask for an erasure; answers once the broker has the request."""
        return await self._ask(request, ErasureAction.ERASE)

    async def export(self, request: Request) -> Response:
        """Ask for everything that is known."""
        return await self._ask(request, ErasureAction.EXPORT)

    async def job(self, request: Request) -> Response:
        """How far a job is; of an export that is done, what it found."""
        grant = self._keys.check(request.headers, PRIVACY)
        job_id = request.path_params["job_id"]
        try:
            async with self._one_at_a_time:
                archive = self._archive()
                job = await asyncio.to_thread(archive.job, job_id)
                # Another tenant's job is nobody's: its id must not even be told to exist.
                if job is None or grant.tenant not in (ANY_TENANT, tenant_of(job.request.subject)):
                    raise Problem(problems.UNKNOWN_JOB, "Nobody asked for this job, or its records are gone by now.")
                document = None
                if job.request.action is ErasureAction.EXPORT and job.status == DONE:
                    document = await asyncio.to_thread(archive.document, job)
        except KafkaException as error:
            raise Problem(
                problems.EVENTS_UNAVAILABLE, "The broker does not answer.", headers={"Retry-After": "2"}
            ) from error
        return _json(told(job, document), 200)

    async def _ask(self, request: Request, action: ErasureAction) -> Response:
        headers = request.headers
        grant = self._keys.check(headers, PRIVACY)
        body = json_text.parse(PrivacyBody, await json_body.read(request, BODY_BYTES_MAX))
        tenant, known = self._subject(body, headers, grant)
        subject = identifiers.key_of(tenant, known)
        repeat_key = headers.get("idempotency-key", "")
        if len(repeat_key) > _KEY_CHARS_MAX:
            raise invalid(FieldError("header:Idempotency-Key", f"has more than {_KEY_CHARS_MAX} characters"))
        name = identifiers.oldest_key(subject, known.earlier)
        job_id = job_id_of(tenant, action, name, repeat_key or os.urandom(16).hex())
        asked = ErasureRequest(job_id, subject, action, self._clock.now_ms(), body.by, earlier=known.earlier)
        try:
            record = Outbound(ERASURE_REQUESTS.name, subject.encode(), avro.encode_checked(ERASURE_REQUESTS, asked))
        except CodecError as error:
            raise invalid(FieldError("", error.detail)) from error
        [taken] = await self._wire.publish([record])
        if taken is None:
            raise Problem(
                problems.EVENTS_UNAVAILABLE, "The broker did not take the request.", headers={"Retry-After": "2"}
            )
        return _json({"job_id": job_id, "status": "accepted"}, 202, {"Location": JOBS_PATH + job_id})

    def _subject(self, body: PrivacyBody, headers: Mapping[str, str], grant: Grant) -> tuple[str, Identifier]:
        who = body.subject
        tenant = named_tenant(grant, headers, self._settings.tenant, who.tenant_id)
        try:
            return tenant, identifiers.identifier(self._settings.tenant_keys, tenant, who.type, who.id)
        except identifiers.IdentifierError as error:
            raise invalid(FieldError("/subject/id", str(error))) from error


def _json(body: object, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(body), status, {"Cache-Control": "no-store"} | (headers or {}), "application/json"
    )

"""The bridge's HTTP application: doors, errors and documentation put together. No behaviour of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pipeline.bridge import openapi, privacy_openapi, problems
from pipeline.bridge.counting import CountingMiddleware
from pipeline.bridge.decide_door import DecideDoor
from pipeline.bridge.events_door import EventsDoor
from pipeline.bridge.metrics import BridgeMetrics
from pipeline.bridge.privacy_door import JOBS_PATH, PrivacyDoor
from pipeline.bridge.problems import Kind, Problem
from pipeline.bridge.readiness import Readiness

DECIDE_PATH: Final = "/personalization/decide"
EVENTS_PATH: Final = "/v1/events"
ERASE_PATH: Final = "/privacy/erase"
EXPORT_PATH: Final = "/privacy/export"
JOB_PATH: Final = JOBS_PATH + "{job_id}"
COUNTED_PATHS: Final = frozenset({DECIDE_PATH, EVENTS_PATH, ERASE_PATH, EXPORT_PATH, "/healthz", "/readyz", "/metrics"})

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_log = logging.getLogger("nextbest.bridge")


@dataclass(frozen=True, slots=True)
class Doors:
    """What the application puts on the air."""

    decide: DecideDoor
    events: EventsDoor
    privacy: PrivacyDoor
    readiness: Readiness
    metrics: BridgeMetrics


def create(doors: Doors, lifespan: Lifespan | None = None) -> FastAPI:
    """The application. The documentation page loads nothing from other hosts."""
    app = FastAPIOffline(
        docs_url="/docs", redoc_url=None, title="Nextbest", version=openapi.VERSION, description=openapi.DESCRIPTION,
        lifespan=lifespan,
    )
    _add_doors(app, doors)
    _add_operations(app, doors)
    _add_errors(app)
    openapi.complete(app, DECIDE_PATH, EVENTS_PATH)
    privacy_openapi.complete(app, ERASE_PATH, EXPORT_PATH, JOB_PATH)
    app.add_middleware(CountingMiddleware, doors=COUNTED_PATHS, count=doors.metrics.http)
    return app


def _add_doors(app: FastAPI, doors: Doors) -> None:
    # Plain routes: the doors parse their bodies once, straight into the models that `openapi` declares.
    app.router.routes.insert(0, Route(DECIDE_PATH, doors.decide.decide, methods=["POST"]))
    app.router.routes.insert(1, Route(EVENTS_PATH, doors.events.take, methods=["POST"]))
    app.router.routes.insert(2, Route(ERASE_PATH, doors.privacy.erase, methods=["POST"]))
    app.router.routes.insert(3, Route(EXPORT_PATH, doors.privacy.export, methods=["POST"]))
    app.router.routes.insert(4, Route(JOB_PATH, doors.privacy.job, methods=["GET"]))


def _add_operations(app: FastAPI, doors: Doors) -> None:
    @app.get("/healthz", tags=["operations"], summary="Whether the process lives")
    async def healthz() -> Response:
        return _json({"status": "ok"})

    @app.get(
        "/readyz", tags=["operations"], summary="Whether a decision could be served now",
        responses=_problems(problems.NOT_READY),
    )
    async def readyz(tenant: str | None = None) -> Response:
        checks = await doors.readiness.check(tenant)
        if checks.ready:
            return _json({"status": "ready"})
        raise Problem(
            problems.NOT_READY, "; ".join(checks.missing) + ".", headers={"Retry-After": "1"},
            extra={"missing": list(checks.missing)},
        )

    @app.get("/metrics", tags=["operations"], summary="Prometheus metrics")
    async def metrics() -> Response:
        return Response(doors.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get(
        "/problems/{slug}", tags=["operations"], summary="What a problem type means",
        response_class=PlainTextResponse, responses=_problems(problems.NOT_FOUND),
    )
    async def problem(slug: str) -> Response:
        kind = problems.BY_SLUG.get(slug)
        if kind is None:
            raise HTTPException(404)
        return PlainTextResponse(f"{kind.title} (HTTP {kind.status})\n\n{kind.advice}\n")


def _problems(kind: Kind) -> dict[int | str, dict[str, Any]]:
    return {int(status): said for status, said in openapi.problem_responses((kind,)).items()}


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json", headers={"Cache-Control": "no-store"})


def _add_errors(app: FastAPI) -> None:
    async def on_problem(request: Request, error: Exception) -> Response:
        if not isinstance(error, Problem):
            raise error
        return error.response()

    async def on_http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        kind = {404: problems.NOT_FOUND, 405: problems.METHOD_NOT_ALLOWED}.get(status, problems.INVALID_REQUEST)
        return Problem(kind, kind.advice, headers=headers).response()

    async def on_disconnect(request: Request, error: Exception) -> Response:
        return Response(status_code=400)  # nobody is there to read it

    async def on_bug(request: Request, error: Exception) -> Response:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return Problem(problems.INTERNAL, "Nothing is known of what was done.").response()

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(ClientDisconnect, on_disconnect)
    app.add_exception_handler(Exception, on_bug)

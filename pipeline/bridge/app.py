"""The bridge's HTTP application: operations, errors, documentation and browsers put together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.bridge import openapi, problems
from pipeline.bridge.counting import CountingMiddleware
from pipeline.bridge.openapi import Operation
from pipeline.bridge.operations import Endpoints, table
from pipeline.bridge.problems import Problem
from pipeline.ingest.refusal import FieldError, RefusedError, invalid

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]

#: What a page of another origin may send, and read of the answer.
_SENT_HEADERS: Final = ("Authorization", "Content-Encoding", "Content-Type", "Idempotency-Key", "X-Api-Key",
                        "X-Deadline-Ms", "X-Tenant-Id", "traceparent")
_READ_HEADERS: Final = ("Retry-After", "Location")
_PREFLIGHT_S: Final = 86_400

_STATIC: Final = "/docs/static"
_DOCS: Final = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Nextbest: HTTP interface</title>
<link rel="stylesheet" href="{_STATIC}/swagger-ui.css"><link rel="icon" href="{_STATIC}/favicon-32x32.png"></head>
<body><div id="ui"></div><script src="{_STATIC}/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "/openapi.json", dom_id: "#ui", deepLinking: true}})</script></body></html>
"""

_TWICE: Final = "is given more than once, with different values: send one"

_log = logging.getLogger("nextbest.bridge")


def create(endpoints: Endpoints, lifespan: Lifespan | None = None, origins: Sequence[str] = ()) -> Starlette:
    """The application. The documentation page loads nothing from other hosts.

    :param origins: the origins of pages that may call it from a browser; `*` for all.
    """
    operations = table(endpoints)
    counted = frozenset(one.path for one in operations if not one.path_names)
    middleware = [Middleware(CountingMiddleware, endpoints=counted, count=endpoints.metrics.http), Middleware(_Slashes)]
    if origins:
        middleware.append(Middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=_SENT_HEADERS,
            expose_headers=_READ_HEADERS, max_age=_PREFLIGHT_S))
    app = Starlette(
        routes=[*_routes(operations), *_documentation(operations)], middleware=middleware,
        exception_handlers={Problem: _on_problem, RefusedError: _on_refused, HTTPException: _on_http,
                            ClientDisconnect: _on_disconnect, Exception: _on_bug},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _routes(operations: Sequence[Operation]) -> list[Route]:
    # HEAD comes with GET.
    return [Route(one.path, _endpoint(one), methods=[one.method]) for one in operations]


def _endpoint(one: Operation) -> Callable[[Request], object]:
    once = one.once

    async def endpoint(request: Request) -> Response:
        _check_once(request, once, one.query_names)
        return await one.endpoint(request)

    return endpoint


def _check_once(request: Request, headers: Mapping[bytes, str], query_names: Sequence[str]) -> None:
    """Raises RefusedError for a header or parameter of several values of which one would be taken."""
    seen: dict[bytes, bytes] = {}
    for name, value in request.scope["headers"]:
        if name in headers and seen.setdefault(name, value) != value:
            raise invalid(FieldError(f"header:{headers[name]}", _TWICE))
    for query_name in query_names:
        if len(set(request.query_params.getlist(query_name))) > 1:
            raise invalid(FieldError(f"query:{query_name}", _TWICE))


def _documentation(operations: Sequence[Operation]) -> list[Route | Mount]:
    document = msgspec.json.encode(openapi.document(operations))

    async def said(_: Request) -> Response:
        return Response(document, media_type="application/json")

    async def page(_: Request) -> Response:
        return HTMLResponse(_DOCS)

    return [Route("/openapi.json", said), Route("/docs", page),
            Mount(_STATIC, StaticFiles(packages=[("swagger_ui", "static")]))]


class _Slashes:
    """An address with a slash at its end is the same address: a redirect would lose bodies, and name a host."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and len(path) > 1 and path.endswith("/"):
            scope = {**scope, "path": path.rstrip("/") or "/"}
        await self._app(scope, receive, send)


async def _on_problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, Problem):
        raise error
    return error.response()


async def _on_refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusedError):
        raise error
    return problems.of_refused(error).response()


async def _on_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    kind = {404: problems.NOT_FOUND, 405: problems.METHOD_NOT_ALLOWED}.get(status, problems.INVALID_REQUEST)
    return Problem(kind, kind.advice, headers=headers).response()


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it


async def _on_bug(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return Problem(problems.INTERNAL, "Nothing is known of what was done.").response()

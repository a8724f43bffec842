"""Counts every HTTP answer by endpoint and status; a plain ASGI layer, so that it costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Whatever is no route of ours: one label for all of it, so that a scanner cannot make series without end.
OTHER: Final = "other"


class CountingMiddleware:
    """`count(endpoint, status)` is called once per answer; `endpoints` are the paths that have a label of their own."""

    def __init__(self, app: ASGIApp, endpoints: frozenset[str], count: Callable[[str, int], None]) -> None:
        self._app = app
        self._endpoints = endpoints
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        endpoint = scope["path"] if scope["path"] in self._endpoints else OTHER

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(endpoint, message["status"])
            await send(message)

        await self._app(scope, receive, counted)

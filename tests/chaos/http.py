"""The little HTTP that an open-loop caller needs: posts over kept-alive connections, as many as wait for an answer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

HOST: Final = "127.0.0.1"
ANSWER_S_MAX: Final = 30.0

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Http:
    """One bridge."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[_Connection] = deque()

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError where there is none, TimeoutError where it takes too long."""
        async with asyncio.timeout(ANSWER_S_MAX):
            while self._idle:
                try:
                    return await self._over(self._idle.pop(), path, body)
                except (OSError, asyncio.IncompleteReadError):
                    continue  # it was closed while it was idle
            try:
                return await self._over(await asyncio.open_connection(HOST, self._port), path, body)
            except asyncio.IncompleteReadError as error:
                raise ConnectionError("the bridge closed the connection instead of answering") from error

    async def _over(self, connection: _Connection, path: str, body: bytes) -> tuple[int, bytes]:
        reader, writer = connection
        kept = False
        try:
            head = (
                f"POST {path} HTTP/1.1\r\nHost: {HOST}:{self._port}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nX-Tenant-Id: shop\r\n\r\n"
            )
            writer.write(head.encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            answer = await reader.readexactly(length)
            self._idle.append(connection)
            kept = True
            return int(lines[0].split()[1]), answer
        finally:
            if not kept:
                writer.close()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop()[1].close()

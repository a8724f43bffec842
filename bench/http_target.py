"""HTTP requests over kept-alive connections: one thread sends, one receives. No more HTTP than the bridge speaks."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from typing import Final

from bench.open_loop import Answers

#: Opened beforehand; more are opened where all of them wait for an answer.
CONNECTIONS: Final = 32
CONNECTIONS_MAX: Final = 1_024

_OK: Final = b"HTTP/1.1 200 "


class _Connection:
    """One connection, with at most one request under way: `index`, or -1."""

    __slots__ = ("closed", "index", "received", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.index = -1
        self.received = b""
        self.closed = False


class HttpTarget:
    """The Target port on the bridge's decide endpoint."""

    def __init__(self, port: int, bodies: list[bytes]) -> None:
        self._port = port
        self._requests = [_request(port, body) for body in bodies]
        self._idle: deque[_Connection] = deque()
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._opened = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._receive, daemon=True)

    def start(self, answers: Answers) -> None:
        self._answers = answers
        for _ in range(CONNECTIONS):
            self._idle.append(self._open())
        self._thread.start()

    def send(self, index: int) -> None:
        try:
            with self._lock:
                connection = self._idle.popleft() if self._idle else self._open()
                connection.index = index
        except OSError as error:
            self._answers.failed(f"connect: {error.strerror}")
            return
        try:
            connection.socket.sendall(self._requests[index])
        except OSError as error:
            self._drop(connection, f"send: {error.strerror}")

    def stop(self) -> None:
        self._stopping = True
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            key.data.socket.close()
        self._selector.close()

    def _open(self) -> _Connection:
        if self._opened >= CONNECTIONS_MAX:
            raise OSError(0, f"{CONNECTIONS_MAX} connections wait for an answer already")
        connection = _Connection(self._port)
        self._opened += 1
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _receive(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select(0.1):
                connection: _Connection = key.data
                try:
                    data = connection.socket.recv(65_536)
                except OSError as error:
                    self._drop(connection, f"receive: {error.strerror}")
                    continue
                now_s = time.perf_counter()
                if not data:
                    self._drop(connection, "the bridge closed the connection")
                else:
                    self._take(connection, data, now_s)

    def _take(self, connection: _Connection, data: bytes, now_s: float) -> None:
        data = connection.received + data
        body = _body(data)
        if body is None:
            connection.received = data
            return
        if data.startswith(_OK):
            self._answers.arrived(connection.index, now_s, body)
        else:
            self._answers.failed(f"status {data[9:12].decode('ascii', 'replace')}")
        with self._lock:
            connection.received = b""
            connection.index = -1
            self._idle.append(connection)

    def _drop(self, connection: _Connection, error: str) -> None:
        """A connection that ended; an idle one may. Both threads can notice."""
        with self._lock:
            if connection.closed:
                return
            connection.closed = True
            self._selector.unregister(connection.socket)
            connection.socket.close()
            self._opened -= 1
            if connection.index < 0:
                self._idle.remove(connection)
                return
        self._answers.failed(error)


def _request(port: int, body: bytes) -> bytes:
    head = (
        f"POST /personalization/decide HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _body(data: bytes) -> bytes | None:
    """The body of a complete response, None while some of it is missing."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = data[:head_end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError(f"a response without Content-Length: {data[:200]!r}")
    length = int(head[at + 17 :].split(b"\r\n", 1)[0])
    body = data[head_end + 4 :]
    return body if len(body) >= length else None

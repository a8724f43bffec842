"""TCP ports of this machine: is one free, which one is."""

from __future__ import annotations

import socket

from pipeline.runtime.errors import StartupError


def free_port(host: str, other_than: int = 0) -> int:
    """A port nobody listens on just now, and another one than one that was found before and is not listened on yet."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        # While this one is held the next is another.
        return port if port != other_than else free_port(host, other_than)


def check_free(host: str, port: int, option: str) -> None:
    """Raises StartupError where something listens on the port already; `option` is what names another one."""
    with socket.socket() as probe:
        # Connections of an earlier run that are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartupError(
                f"cannot listen on {host}:{port}: {error.strerror}; name another port by {option}"
            ) from error

"""Ports that are found free one after the other are different ones."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import ClassVar

import pytest

from pipeline.runtime import ports


class Probe:
    """Stands in for a socket: finds the same port free again until it is held."""

    found: ClassVar[list[int]] = []

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def bind(self, address: tuple[str, int]) -> None:
        assert address == ("127.0.0.1", 0)

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self.found.pop(0)


def test_a_second_port_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Probe)
    Probe.found[:] = [5_000, 5_000, 5_001]
    first = ports.free_port("127.0.0.1")
    assert (first, ports.free_port("127.0.0.1", first)) == (5_000, 5_001)

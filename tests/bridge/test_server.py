"""The bridge as a process, with no broker anywhere: it starts, says what is missing, drains, and ends when told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.bridge.pipeline_double import decide_body
from tests.support.processes import wait_for
from tests.support.stack import free_port

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "bridge.log"


@pytest.fixture
def start(port: int, log: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(**settings: str) -> subprocess.Popen[bytes]:
        # A port on which nobody listens and nobody may: connections are refused at once.
        environment = os.environ | {"NEXTBEST_BOOTSTRAP": "127.0.0.1:1", "NEXTBEST_HTTP_PORT": str(port), **settings}
        with log.open("wb") as file:
            command = [sys.executable, "-m", "pipeline.cli.main", "bridge"]
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_without_a_broker_it_lives_but_is_not_ready_and_ends_in_order(start: Start, port: int, log: Path) -> None:
    process = start()
    wait_for(lambda: answers(port), 20)
    assert "no API keys are set" in log.read_text()
    assert f"bridge listens on http://127.0.0.1:{port}" in log.read_text()
    url = f"http://127.0.0.1:{port}"
    missing = httpx.get(f"{url}/readyz", timeout=10).json()["missing"]
    assert [one.split(" ")[0] for one in missing] == ["policy", "decision.replies", "the"]
    refused = httpx.post(f"{url}/personalization/decide", json=decide_body())
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/not-ready")

    with socket.create_connection(("127.0.0.1", port), timeout=20) as caller:
        process_told_to_stop_while_asked(process, caller)
        answer = caller.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 503") and b"/problems/events-unavailable" in answer
    assert process.wait(20) == 0
    assert "Traceback" not in log.read_text()


def process_told_to_stop_while_asked(process: subprocess.Popen[bytes], caller: socket.socket) -> None:
    """An event waits for the broker's acknowledgement; told to stop meanwhile, the bridge answers before it goes."""
    event = b'{"type": "track", "userId": "ann", "event": "Song Played"}'
    caller.sendall(
        b"POST /v1/events HTTP/1.1\r\nHost: bridge\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(event)
    )
    # Only once the endpoint reads the body is the request surely under way.
    assert caller.recv(1_000).startswith(b"HTTP/1.1 100")
    process.send_signal(signal.SIGTERM)
    caller.sendall(event)


def test_a_port_that_is_taken_ends_it_with_a_word(start: Start, port: int, log: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert start().wait(30) == 1
    assert "address already in use" in log.read_text().lower()


def test_keys_that_cannot_be_read_end_it_with_a_word(start: Start, log: Path) -> None:
    assert start(NEXTBEST_API_KEYS="s3cret=decid").wait(30) == 1
    assert "API key 1 has decid for scopes; there are decide, events:write" in log.read_text()
    assert "s3cret" not in log.read_text()

"""docs/http-api.md: every curl in it does what the page says, on the example policy; nothing it names is missing."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from pipeline.bridge.asking import CIRCUIT_OPEN, DEADLINE, PIPELINE_UNAVAILABLE
from pipeline.core.identity.identifiers import TYPES
from pipeline.ingest.event_mapping import FEEDBACK_NAMES
from pipeline.policy.load import load
from pipeline.policy.publish import prepare
from tests.bridge.pipeline_double import BridgeDouble

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
CURLS: Final = re.findall(r"```sh\n(curl .*?)```", TEXT, re.S)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def request_of(command: str) -> tuple[str, str, dict[str, str], str | None]:
    """Method, path, headers and body of a curl command; fails on an option that it does not know."""
    curl, *words = shlex.split(command)
    assert curl == "curl"
    path, headers, body = "", {}, None
    options = iter(words)
    for word in options:
        if word == "-s":
            continue
        if word == "-H":
            name, _, value = next(options).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(options)
        else:
            assert word.startswith("localhost:8080/"), word
            path = word.removeprefix("localhost:8080")
    return "GET" if body is None else "POST", path, headers, body


@pytest.mark.anyio
async def test_every_curl_on_the_page_works(tmp_path: Path) -> None:
    bridge = BridgeDouble(tmp_path, prepare(load(ROOT / "policy"), "default", {}, 1, "tests").records, tenant="default")
    replies: list[httpx.Response] = []
    async with bridge.client() as client:
        for command in CURLS:
            method, path, headers, body = request_of(command)
            replies.append(await client.request(method, path, headers=headers, content=body))
        again = request_of(CURLS[0])
        decided = (await client.request(again[0], again[1], headers=again[2], content=again[3])).json()
    assert [reply.status_code for reply in replies] == [200, 202, 202, 202, 200, 200]
    first, identified, batch = (reply.json() for reply in replies[:3])
    shown = json.loads(re.search(r"```json\n(\{\"decision_id\".*?)```", TEXT, re.S)[1])  # type: ignore[index]
    assert without_ids(first) == without_ids(shown)
    told = json.loads(re.search(r"```json\n(\{\"accepted\".*?)```", TEXT, re.S)[1])  # type: ignore[index]
    assert identified == told
    assert batch["accepted"] == 4 and all("warnings" not in one for one in batch["events"])
    # The consent that the page sends lets the page's first question pass.
    assert decided["reason"] == "decided"


def without_ids(reply: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reply.items() if name not in ("decision_id", "request_id", "release")}


def test_what_the_page_lists_is_all_there_is(tmp_path: Path) -> None:
    assert [name for name in TYPES if f"`{name}`" not in TEXT] == []
    assert [name for name in FEEDBACK_NAMES if f"`{name}`" not in TEXT.lower()] == []
    assert [reason for reason in (DEADLINE, CIRCUIT_OPEN, PIPELINE_UNAVAILABLE) if f"| `{reason}` |" not in TEXT] == []
    metrics = set(re.findall(r"^# HELP (\S+)", BridgeDouble(tmp_path).metrics.text().decode(), re.M))
    assert [name for name in metrics if not name.endswith("_created") and f"`{name}`" not in TEXT] == []

"""The guides run as they stand there, one after the other, against `nextbest up` of their own."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_readme import BLOCK, ROOT, Up
from tests.support.stack import free_port, wait_until

PAGE = (ROOT / "docs" / "guides.md").read_text("utf-8")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("guides"))
    wait_until(up.ready, 90.0, "`nextbest up`")
    yield up
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(timeout=60) == 0, up.log.read_text()


def decided(printed: str) -> list[str]:
    """The items of every answer in the output, which stand there one behind the other."""
    found: list[str] = []
    at = printed.find("{")
    while at >= 0:
        try:
            answer, end = json.JSONDecoder().raw_decode(printed, at)
        except ValueError:
            end = at + 1
        else:
            found += [one.get("offer_id") or one["content_id"] for one in answer.get("decisions", ())]
        at = printed.find("{", end)
    return found


@pytest.mark.broker
def test_what_the_guides_say_to_type_works(up: Up, tmp_path: Path) -> None:
    port = str(free_port())
    printed = [up.run(language, text.replace("8099", port), tmp_path)
               for live, language, text in BLOCK.findall(PAGE) if live]
    policy, cora, _, dan, experiment, erasure, second = printed
    assert "release" in policy
    assert decided(cora) == ["upgrade", "upgrade", "tips"]
    assert decided(dan) == ["tips", "upgrade"]
    assert {"offer_or_not:control", "offer_or_not:without"} == set(re.findall(r"offer_or_not:\w+", experiment))
    assert "decision.audit" in erasure and decided(erasure) == ["welcome"]
    partitions = re.findall(r'"partitions":\s*\[([^\]]*)\]', second)
    assert partitions and partitions[-1], second


def test_every_block_of_the_guides_is_run() -> None:
    assert all(live and language == "sh" for live, language, _ in BLOCK.findall(PAGE))

"""Every command in the README runs as it stands there, against `nextbest up` on ports and a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import free_port, wait_until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(<!-- test:up -->\n)?```(\w+)\n(.*?)```", re.S)
BLOCKS = [(bool(mark), language, text) for mark, language, text in BLOCK.findall(README)]
LIVE = [(language, text) for live, language, text in BLOCKS if live]

#: Blocks that no test here runs: setting up is what CI does before it can run this, and these two start `make` itself.
SHELL_ELSEWHERE = {"make demo", "make test", "make setup", ".venv/bin/nextbest up"}


class Up:
    """`nextbest up` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.http_port, self.kafka_port = free_port(), free_port()
        self.environment = os.environ | {
            "NEXTBEST_DATA_DIR": str(folder / "data"),
            "NEXTBEST_HTTP_PORT": str(self.http_port),
            "NEXTBEST_BOOTSTRAP": f"127.0.0.1:{self.kafka_port}",
            "COLUMNS": "200",
            # What the pages show is a decision; how fast it comes on a busy machine is another matter.
            "NEXTBEST_DEADLINE_MS": "2000",
        }
        self.log = folder / "up.log"
        command = [sys.executable, "-m", "pipeline.cli.main", "up", "--kafka-port", str(self.kafka_port)]
        with self.log.open("wb") as log:
            environment = {k: v for k, v in self.environment.items() if k != "NEXTBEST_BOOTSTRAP"}
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def ready(self) -> bool:
        """Whether it has said so."""
        assert self.process.poll() is None, self.log.read_text()
        return f"http://127.0.0.1:{self.http_port}" in self.log.read_text()

    def run(self, language: str, text: str, folder: Path = ROOT) -> str:
        """Run one block of a page, in a folder; returns what it printed."""
        text = text.replace("localhost:8080", f"127.0.0.1:{self.http_port}")
        text = text.replace(".venv/bin/nextbest", f"'{sys.executable}' -m pipeline.cli.main")
        command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("readme"))
    wait_until(up.ready, 90.0, "`nextbest up`")
    yield up
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(timeout=60) == 0, up.log.read_text()


@pytest.mark.broker
def test_what_the_readme_says_to_type_works(up: Up) -> None:
    printed = [up.run(language, text) for language, text in LIVE]
    assert '"accepted":1' in printed[0].replace(" ", "")
    assert '"fallback":false' in printed[0].replace(" ", "")
    assert "home.tiles" in printed[1]
    assert "release" in printed[2]
    assert "decision.requests" in printed[3]


@pytest.mark.broker
def test_what_the_page_on_accounts_says_to_type_works(up: Up) -> None:
    page = (ROOT / "docs" / "accounts-and-tenancy.md").read_text(encoding="utf-8")
    printed = [up.run(language, text) for live, language, text in BLOCK.findall(page) if live]
    assert "2 accounts imported for default" in printed[0]
    assert '"enterprise"' in printed[0] and "consent contact" in printed[0]
    assert "default" in printed[1] and "decisions decided" in printed[1]


@pytest.mark.broker
def test_what_the_page_on_consent_says_to_type_works(up: Up) -> None:
    page = (ROOT / "docs" / "consent.md").read_text(encoding="utf-8")
    [printed] = [up.run(language, text) for live, language, text in BLOCK.findall(page) if live]
    assert "2 lines can be imported for default" in printed
    assert "2 lines were imported for default" in printed
    assert "marketing" in printed and "personalization" in printed


def test_no_command_of_the_readme_goes_untested() -> None:
    for live, language, text in BLOCKS:
        if not live and language == "sh":
            commands = {line.split("#")[0].strip() for line in text.splitlines() if line.strip()}
            assert commands <= SHELL_ELSEWHERE, commands - SHELL_ELSEWHERE
        assert live or language in {"sh", "mermaid"}, f"a {language} block that nothing runs"


@pytest.mark.parametrize("target", ["demo", "test", "setup"])
def test_the_targets_of_the_readme_exist(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.M)


def test_every_file_the_readme_links_to_exists() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / link).exists(), link

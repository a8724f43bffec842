"""`nextbest consent import` and `accounts import`: what they send and print, without a broker; with an error in any
line they send nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import accounts, consent, importing
from pipeline.cli.main import app
from pipeline.policy.directory import Directory
from pipeline.ports import Outbound
from tests.support import shop

GOOD = """id,type,purpose,granted,at
ann,user_id,personalization,yes,2020-01-01
ben,user_id,personalization,no,2020-01-01
"""


class Command:
    """The command with a broker that holds the shop's policy and keeps what is sent."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "people.csv"
        self.sent: list[Outbound] = []

    def run(self, text: str, *options: str) -> Any:
        self.file.write_text(text, encoding="utf-8")
        arguments = ["consent", "import", str(self.file), "--format", "csv", "--tenant", "shop", *options]
        return CliRunner().invoke(app, arguments)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    from pipeline.codecs import avro
    from topics.catalog import BY_NAME

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NEXTBEST_DIE_WITH_PARENT", raising=False)
    directory = Directory()
    for offset, record in enumerate(shop.publication(tmp_path / "policy")):
        directory.apply(record.topic, record.key, avro.decode(BY_NAME[record.topic], record.value), offset)
    made = Command(tmp_path)
    monkeypatch.setattr(importing, "followed", lambda *_: directory)
    for module in (accounts, consent):
        monkeypatch.setattr(module, "send", lambda _settings, records, _what: made.sent.extend(records))
    return made


def test_it_sends_every_line_and_counts_statements_by_purpose(command: Command) -> None:
    result = command.run(GOOD)
    assert result.exit_code == 0, result.output
    assert len(command.sent) == 2
    assert "2 lines were imported for shop; skipped: 0 that say nothing" in result.output
    told = json.loads(command.run(GOOD, "--json").stdout)
    assert told["statements"] == {"personalization": {"granted": 1, "refused": 1}}
    assert told["usable"] and told["lines"] == 2


def test_a_dry_run_says_the_same_and_sends_nothing(command: Command) -> None:
    result = command.run(GOOD, "--dry-run")
    assert (result.exit_code, command.sent) == (0, [])
    assert "2 lines can be imported for shop" in result.output


@pytest.mark.parametrize("options", [(), ("--json",), ("--dry-run", "--json")])
def test_with_an_error_in_any_line_nothing_is_sent(command: Command, options: tuple[str, ...]) -> None:
    result = command.run(GOOD + "cid,user_id,marketing,yes,2020-01-01\n", *options)
    assert (result.exit_code, command.sent) == (1, [])
    assert "line 4: purpose: is none of the live policy (personalization)" in result.stderr
    assert "people.csv: nothing was imported" in result.stderr
    if options:
        told = json.loads(result.stdout)
        assert not told["usable"] and told["lines"] == 0 and told["errors"]["count"] == 1


@pytest.mark.parametrize(("options", "said"), [
    (("--tenant", "a/b"), "--tenant: a tenant is 1 to 63 letters"),
    (("--format", "xml"), "'segment', 'csv', 'jsonl', 'tcf'"),
])
def test_a_wrong_option_is_one_sentence(command: Command, options: tuple[str, ...], said: str) -> None:
    result = command.run(GOOD, *options)
    assert result.exit_code != 0 and said in result.output and "Traceback" not in result.output


def test_a_file_that_is_no_text_is_one_sentence(command: Command) -> None:
    command.file.write_bytes(b"\xff\xfe\x00")
    result = CliRunner().invoke(app, ["consent", "import", str(command.file), "--format", "csv"])
    assert result.exit_code == 1 and "cannot be read as UTF-8 text" in result.output


def test_a_file_of_accounts_is_read_by_the_live_policy(command: Command) -> None:
    command.file.write_text("id,plan,consent.contact\nacme,pro,yes\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["accounts", "import", str(command.file), "--tenant", "shop"])
    assert (result.exit_code, len(command.sent)) == (0, 1), result.output
    assert "line 2: consent for contact: no purpose of the live policy (personalization)" in result.stderr
    result = CliRunner().invoke(app, ["accounts", "import", str(command.file), "--tenant", "a b"])
    assert result.exit_code == 1 and "--tenant: a tenant is 1 to 63 letters" in result.output

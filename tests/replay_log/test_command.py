"""The command's own errors: each is one clear text and a status, and nothing is sent."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli.progress import PLAIN_EVERY_S
from pipeline.runtime import ports
from replay_log.command import replay_log
from replay_log.progress import ShownProgress
from replay_log.tally import Tally
from tests.replay_log.pipeline_double import ManualClock

app = typer.Typer()
app.command()(replay_log)

MAPPING = "subject: {columns: user}\nitem: product\nplacement: {constant: home}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log.csv").write_text("user,produkt\nu1,p1\n")
    (tmp_path / "good.csv").write_text("user,product\nu1,p1\n")
    (tmp_path / "map.yaml").write_text(MAPPING)
    return tmp_path


def said(folder: Path, *arguments: str, log: str = "good.csv") -> str:
    """What the command says when it refuses, on one line."""
    result = CliRunner().invoke(app, [str(folder / log), "--mapping", str(folder / "map.yaml"), *arguments])
    assert result.exit_code in (1, 2)
    # Boxes around the text of usage errors.
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.output).split())


def test_a_mapping_that_does_not_fit_the_log_names_file_line_and_field(folder: Path) -> None:
    assert "map.yaml:2: item: log.csv has no column `product`; did you mean `produkt`?" in said(folder, log="log.csv")


def test_a_log_that_is_not_there_is_named(folder: Path) -> None:
    assert "none.csv: there is no such file" in said(folder, log="none.csv")


def test_rate_and_speed_exclude_each_other(folder: Path) -> None:
    assert "--rate and --speed exclude each other" in said(folder, "--rate", "5", "--speed", "2")


def test_speed_needs_the_logs_times(folder: Path) -> None:
    assert "map.yaml:1: timestamp: missing, and --speed needs the log's times" in said(folder, "--speed", "2")


def test_a_runs_name_must_fit_into_ids(folder: Path) -> None:
    assert "a run's name is 1 to 64 letters" in said(folder, "--run", "mon-day")


def test_a_cluster_that_does_not_answer_is_told_with_what_to_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replay_log.wire.ASK_S", 0.5)
    nobody = f"127.0.0.1:{ports.free_port('127.0.0.1')}"
    text = said(folder, "--bootstrap", nobody)
    assert f"no Kafka answers at {nobody}" in text
    assert "`nextbest up`" in text


def test_without_a_terminal_progress_is_a_plain_line_now_and_then() -> None:
    out, clock, tally = StringIO(), ManualClock(), Tally()
    with ShownProgress(Console(file=out), clock) as progress:
        for second in range(61):
            clock.now_s += 1
            tally.rows = second * 100
            tally.answered = tally.rows
            progress.replaying(tally, 10_000)
        progress.explaining(0, 6_000)
        progress.explaining(500, 6_000)
    lines = out.getvalue().splitlines()
    # The first answer is news at once; from then on one line in ten seconds.
    assert len(lines) == 1 + 59 // PLAIN_EVERY_S + 1
    assert re.fullmatch(r"replaying: 100 of 10,000 rows, \d+/s, fallback 0%", lines[0])
    assert lines[-1] == "reading back 6,000 audit records"
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_progress_is_a_bar() -> None:
    out = StringIO()
    clock = ManualClock()
    with ShownProgress(Console(file=out, force_terminal=True, width=120), clock) as progress:
        clock.now_s += 100
        progress.replaying(Tally(rows=5), 10)
    assert "replaying" in out.getvalue()
    assert "5/10" in out.getvalue()
    assert "5 of 10" not in out.getvalue()

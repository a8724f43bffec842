"""The commands: what they print, write and refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.main import app
from tests.analysis.outcome_rows import row, write

END = row(10**6, "end", 40)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def simulated(tmp_path: Path, effect: float = 0.0, share: float = 0.5, subjects: int = 1200) -> Path:
    """Simulated subjects of an experiment: a first purchase before it, one within."""
    chance, rows = np.random.Generator(np.random.Philox(11)), [END]
    for number in range(subjects):
        habit = chance.gamma(4, 1)
        new = chance.random() < share
        variation = {"experiments": [f"checkout:{'new' if new else 'control'}"]}
        extra: dict[str, Any] = {"channel": "app" if number % 2 else "web", **variation}
        rows.append(row(2 * number, f"s{number}", -3, habit + chance.normal(), experiments=[]))
        rows.append(row(2 * number + 1, f"s{number}", number / 60, habit + effect * new + chance.normal(), **extra))
    return write(tmp_path / "outcomes.parquet", rows)


def report(file: Path, *more: str | Path) -> dict[str, Any]:
    done = run("experiments", "report", "checkout", "--from", file, "--json", *more)
    assert done.exit_code == 0, done.output
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_a_difference_is_found_and_cuped_makes_it_clearer(tmp_path: Path) -> None:
    file = simulated(tmp_path, effect=1.0)
    plain, adjusted = (report(file, *more)["comparisons"][0] for more in ((), ("--cuped",)))
    assert plain["verdict"] == adjusted["verdict"] == "higher than the control"
    assert adjusted["effect"]["reduction"] > 0.4
    widths = [one["effect"]["high"] - one["effect"]["low"] for one in (plain, adjusted)]
    assert widths[1] < 0.8 * widths[0]
    assert len(plain["looks"]) == 20


def test_no_difference_is_none(tmp_path: Path) -> None:
    assert report(simulated(tmp_path))["comparisons"][0]["verdict"] == "no difference shown yet"


def test_a_ratio_that_is_off_is_an_alarm_before_anything_else(tmp_path: Path) -> None:
    file = simulated(tmp_path, effect=1.0, share=0.6)
    assert report(file)["comparisons"][0]["verdict"] == "sample ratio alarm: do not trust"
    assert report(file, "--shares", "control=40,new=60")["comparisons"][0]["verdict"] == "higher than the control"


def test_too_few_subjects_are_said(tmp_path: Path) -> None:
    made = report(simulated(tmp_path, subjects=120))["comparisons"][0]
    assert made["verdict"] == "too few" and made["effect"] is None


def test_the_page_is_one_file_that_asks_nobody(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    made = report(simulated(tmp_path, effect=1.0), "--out", page, "--segment", "channel")
    text = page.read_text("utf-8")
    # Names of XML, and no address that a browser would ask.
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<(link|img|iframe|script(?! type=\"application/json\"))", text)
    assert text.count("<svg") == 3
    data = re.search(r'<script type="application/json" id="report">(.*?)</script>', text, re.S)
    assert data is not None and json.loads(data[1]) == made


def test_a_name_that_is_html_is_text(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    chance = np.random.Generator(np.random.Philox(1))
    rows = [
        row(n, f"s{n}", 0, float(chance.random()), experiments=[f"checkout:{'control' if n % 2 else evil}"])
        for n in range(400)
    ]
    page = tmp_path / "report.html"
    report(write(tmp_path / "a.parquet", [*rows, END | {"experiments": []}]), "--out", page)
    assert "<script>alert" not in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--control", "old"), "no variation old"),
        (("--shares", "control=50"), "no share is declared for new"),
        (("--shares", "control=50,new=25,third=25"), "nobody was seen in third"),
        (("--metric", "ratio", "--cuped"), "mean per subject"),
        (("--shares", "control"), "NAME=SHARE"),
        (("--out", "/nowhere/report.html"), "cannot be written"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, more: tuple[str, ...], sentence: str) -> None:
    done = run("experiments", "report", "checkout", "--from", simulated(tmp_path, subjects=20), *more)
    assert done.exit_code != 0
    assert sentence in " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.output).split())


def logged(tmp_path: Path, **other: Any) -> Path:
    """Simulated decisions of a uniform policy over three items, of which c earns most."""
    chance, rows = np.random.Generator(np.random.Philox(12)), []
    for number in range(900):
        item = "abc"[int(chance.integers(0, 3))]
        reward = float(chance.random() < {"a": 0.1, "b": 0.2, "c": 0.5}[item])
        rows.append(row(number, f"s{number // 2}", 0, reward, action=item, pscore=1 / 3) | other)
    return write(tmp_path / "logged.parquet", rows)


def estimates(file: Path, *more: str | Path) -> dict[str, Any]:
    done = run("off-policy", "estimate", "--from", file, "--json", *more)
    assert done.exit_code == 0, done.output
    return {one["method"]: one for one in json.loads(done.stdout)["estimates"]}


def test_a_fixed_item_is_estimated_by_every_method(tmp_path: Path) -> None:
    made = estimates(logged(tmp_path), "--policy", "item:c")
    assert set(made) == {"ips", "snips", "dm", "dr", "switch-dr"}
    for method in ("ips", "snips", "dr", "switch-dr"):
        assert made[method]["low"] < 0.5 < made[method]["high"], method
    assert made["ips"]["ess"] == pytest.approx(300, abs=40)


def test_the_best_item_is_judged_by_subjects_that_did_not_choose_it(tmp_path: Path) -> None:
    file = logged(tmp_path)
    done = run("off-policy", "estimate", "--from", file, "--policy", "best-fixed", "--method", "snips", "--json")
    made = json.loads(done.stdout)
    assert "best-fixed is c" in made["notes"][0]
    assert made["estimates"][0]["n"] == 450


def test_a_policy_from_a_file(tmp_path: Path) -> None:
    shares = tmp_path / "policy.json"
    shares.write_text('{"a": 0.5, "c": 0.5}')
    made = estimates(logged(tmp_path), "--policy", shares, "--method", "snips")
    assert made["snips"]["value"] == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize(
    ("policy", "other", "sentence"),
    [
        ("item:z", {}, "support missing: the log never showed z"),
        ("item:c", {"pscore": None}, "propensity missing in 900 of 900 rows"),
        ("nothing.json", {}, "give uniform, best-fixed, item:ID, or a JSON file"),
    ],
)
def test_what_cannot_be_estimated_is_said_and_is_no_success(
    tmp_path: Path, policy: str, other: dict[str, Any], sentence: str
) -> None:
    done = run("off-policy", "estimate", "--from", logged(tmp_path, **other), "--policy", policy)
    assert done.exit_code == 1
    assert sentence in " ".join(done.output.split())

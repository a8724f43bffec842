"""`nextbest identity`: what a file of events would join, with reasons, and nothing raw in what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from pipeline.cli.main import app

ROOT = Path(__file__).parents[2]
EVENTS = [
    {"type": "identify", "userId": "ann", "anonymousId": "v1", "traits": {"email": "ann@example.org"}},
    {"type": "identify", "userId": "ben", "anonymousId": "v1", "traits": {"email": "ann@example.org"}},
    {"type": "identify", "userId": "ben", "traits": {"email": "test@example.com"}},
    {"type": "track", "userId": "0", "event": "x"},
    {"type": "logout", "anonymousId": "v1"},
]


def simulate(tmp_path: Path, *options: str) -> Any:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(json.dumps(one) for one in EVENTS) + "\nno event\n", "utf-8")
    return CliRunner().invoke(app, ["identity", "simulate", str(file), "--policy", str(ROOT / "policy"), *options])


def test_a_file_of_events_is_tried_before_it_joins_anybody(tmp_path: Path) -> None:
    done = simulate(tmp_path, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    links = [[(one["type"], one["outcome"], one["cause"]) for one in event["links"]] for event in told["events"]]
    assert sorted(links[0]) == [("anonymous_id", "linked", ""), ("email", "linked", "")]
    assert sorted(links[1]) == [("anonymous_id", "left", "later_login"), ("anonymous_id", "linked", ""),
                                ("email", "limited", "limit:user_id")]
    assert "the policy blocks this value as a email" in told["events"][2]["warnings"][0]
    assert told["events"][3]["errors"][0].startswith("/userId: this value stands for nobody")
    assert links[4] == [("anonymous_id", "left", "logout")]
    assert told["events"][5]["errors"][0].startswith("The body is not JSON")
    assert told["summary"]["links"]["limited limit:user_id"] == 1
    assert not {"ann@example.org", "test@example.com", "v1"} & set(done.stdout.replace('"', " ").split())


def test_the_table_says_the_same(tmp_path: Path) -> None:
    done = simulate(tmp_path)
    assert done.exit_code == 0 and "1 limited limit:user_id" in " ".join(done.stdout.split())


def test_a_missing_file_and_a_wrong_name_are_one_sentence(tmp_path: Path) -> None:
    options = ["identity", "simulate", str(tmp_path / "none"), "--policy", str(ROOT / "policy")]
    missing = CliRunner().invoke(app, options)
    assert missing.exit_code == 1 and "No such file" in missing.stderr
    wrong = CliRunner().invoke(app, ["identity", "show", "ann"])
    assert wrong.exit_code == 1 and "TYPE:VALUE" in wrong.stderr

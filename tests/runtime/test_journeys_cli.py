"""`nextbest journeys` and what `nextbest policy` says of stages that disappear."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.adapters import journey_changes, profile_reader
from pipeline.cli import journeys as command
from pipeline.cli import policy as policy_command
from pipeline.cli.main import app
from pipeline.core.model.records import JourneyChange
from pipeline.core.sections.journeys import Position
from pipeline.core.subject import Person, Redirect
from pipeline.policy.load import load
from tests.support import shop

MINUTE = 60_000
JOURNEY = "\njourneys:\n  j:\n    enter: {event: page}\n    stages: {STAGES}\n"
OLD = "{a: {next: {b: {event: page}}}, b: {next: {c: {event: click}}}, c: {goal: true}}"
NEW = "{a: {next: {c: {event: page}}}, c: {goal: true}}"


def move(was: str, to: str, how: str, at_ms: int, since_ms: int = 0, goal: bool = False) -> JourneyChange:
    return JourneyChange("shop", "j", was, to, how, at_ms, since_ms, 1, goal, "r", "", "")


def told() -> list[tuple[bytes, JourneyChange]]:
    found = []
    for who in range(10):
        name, step = b"%d" % who, (who + 1) * MINUTE
        found.append((name, move("", "a", "enter", 1)))
        if who < 8:
            found.append((name, move("a", "b", "event", 1 + step, 1)))
        if who < 4:
            found.append((name, move("b", "c", "event", 1 + step + MINUTE, 1 + step, True)))
        elif who < 8:
            found.append((name, move("b", "", "exit", 1 + step + MINUTE, 1 + step)))
    return found


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journey_changes, "moves", lambda _, tenant: told() if tenant == "shop" else [])
    monkeypatch.setattr(command, "_stages", lambda _, tenant, name: ("a", "b", "c") if name == "j" else None)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["journeys", *arguments])


def test_the_funnel_tells_how_many_came_went_on_and_dropped_out(cluster: None) -> None:
    done = run("funnel", "j", "--tenant", "shop", "--since", "1974-01-01", "--json")
    # Before 1974 nothing is looked at: the moves of this test lie at the beginning of time.
    assert json.loads(done.stdout)["entries"] == 0
    found = json.loads(run("funnel", "j", "--tenant", "shop", "--since", "36520d", "--json").stdout)
    assert (found["entries"], found["goals"]) == (10, 4)
    a, b, c = found["stages"]
    assert (a["entered"], a["went_on"], a["dropped"], a["in_now"]) == (10, {"b": 8}, {}, 2)
    assert (a["median_ms"], a["p90_ms"]) == (4 * MINUTE, 8 * MINUTE)
    assert (b["entered"], b["went_on"], b["dropped"]) == (8, {"c": 4}, {"exit": 4})
    assert (b["in_now"], b["conversion"]) == (0, 0.8)
    assert (c["entered"], c["in_now"], c["conversion"], c["median_ms"]) == (4, 4, 0.4, None)
    assert "10 entries, 4 of them reached the goal, 40.0%" in run(
        "funnel", "j", "--tenant", "shop", "--since", "36520d").stdout


def test_a_journey_that_nobody_knows_and_a_time_that_is_none_are_one_sentence(cluster: None) -> None:
    assert "There is no journey 'k'" in " ".join(run("funnel", "k").stderr.split())
    assert "is no time" in run("funnel", "j", "--since", "yesterday").stderr
    assert "--until is not after --since" in run("funnel", "j", "--since", "1h", "--until", "2h").stderr


def test_show_follows_an_alias_to_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"shop/device": Redirect(profile_id="shop/device", to="shop/ann"),
             "shop/ann": Person(profile_id="shop/ann", journeys={"j": Position("b", 5, 1, 1, 1)})}
    monkeypatch.setattr(profile_reader, "read", lambda *_: known)
    done = run("show", "shop/device", "--json")
    assert json.loads(done.stdout)["journeys"]["j"]["stage"] == "b"
    assert "(outside)" not in run("show", "shop/device").stdout
    monkeypatch.setattr(profile_reader, "read", lambda *_: {})
    assert run("show", "shop/nobody").exit_code == 1


@pytest.mark.parametrize(("stages", "said", "refused"), [
    (OLD, "", False),
    (NEW, "the stage b disappears; whoever is in it will leave the journey, which the policy does not say", True),
    (NEW + "\n    gone: leave", "the stage b disappears; whoever is in it will leave the journey", False),
    (NEW + "\n    was: {b: a}", "the stage b disappears; whoever is in it will go to a", False),
])
def test_publishing_says_what_becomes_of_people_and_refuses_what_is_not_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: str, said: str, refused: bool
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, text in ((old, OLD), (new, stages)):
        folder.mkdir()
        (folder / "policy.yaml").write_text(shop.POLICY + JOURNEY.replace("{STAGES}", text), "utf-8")

    class Live:
        def newest(self, tenant: str) -> Any:
            return load(old).policy

        def items(self, tenant: str) -> dict[str, str]:
            return {}

        def counted(self, tenant: str) -> dict[str, tuple[int, int]]:
            return {}

    sent: list[bytes] = []

    class Producer:
        def produce(self, topic: str, key: bytes, value: bytes, on_delivery: Any) -> None:
            sent.append(key)

        def flush(self, timeout_s: float) -> int:
            return 0

    monkeypatch.setattr(policy_command, "published", lambda _: Live())
    monkeypatch.setattr("pipeline.adapters.kafka.producer", lambda *_: Producer())
    checked = CliRunner().invoke(app, ["policy", "check", str(new), "--bootstrap", "nowhere:1"])
    assert checked.exit_code == 0 and said in " ".join(checked.stderr.split())
    done = CliRunner().invoke(app, ["policy", "publish", str(new)])
    assert (done.exit_code == 1) is refused and bool(sent) is not refused
    assert said in " ".join(done.stderr.split())
    assert CliRunner().invoke(app, ["policy", "publish", str(new), "--yes"]).exit_code == 0

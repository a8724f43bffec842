"""`nextbest models show`: the live release's models, what decides, and what was learnt of each item."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.adapters import model_outcomes
from pipeline.cli import models as command
from pipeline.cli.main import app
from pipeline.core.model.learning import ModelSnapshot, Observation
from pipeline.core.model.outcome_record import MatchedBy, Outcome
from pipeline.core.models.snapshots import body_of, digest_of
from pipeline.policy.directory import Directory
from tests.core.models.build import learnt
from tests.support import shop
from tests.support.trained_models import pipeline_of_scikit_learn
from tests.topology import test_trained_models as trained
from topics.catalog import BY_NAME, MODEL_SNAPSHOTS

POLICY = shop.POLICY.replace("placements:\n  hero:", """models:
  hero: {kind: beta, outcome: click, rewards: {from: -1, to: 1}, challenger: {model: next, share: 10}}
  next: {kind: gaussian, outcome: click, frozen: true}
  old: {kind: gaussian, outcome: click, pin: 7}
rankings:
  learnt: {model: hero}
outcomes:
  click: {event: {event: click}, window: 1h}
placements:
  hero:
    ranking: learnt""", 1)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    directory = Directory()
    for offset, record in enumerate(shop.publication(tmp_path, POLICY)):
        topic = BY_NAME[record.topic]
        directory.apply(topic.name, record.key or b"", _value(topic, record.value), offset)
    live = directory.live("shop")
    assert live is not None
    hero = live.policy.models["hero"]
    seen = [Observation("tips", (), 1.0), Observation("tips", (), -1.0), Observation("tips", (), 1.0),
            Observation("tips", (), 1.0), Observation("upgrade", (), -1.0)]
    body = body_of(learnt(hero, seen), ())
    directory.apply(MODEL_SNAPSHOTS.name, b"shop/%hero/3",
                    ModelSnapshot("shop", "hero", 3, 60_000, hero.form, 5, body, digest_of(body)), 0)
    monkeypatch.setattr(command, "followed", lambda *_: directory)
    monkeypatch.setattr(model_outcomes, "finals", lambda *_: [
        final(3, 1.0, 0.5), final(3, 0.0, 1.0), final(2, -1.0, 0.25), final(3, 9.0, 0.5, model="other"),
        final(3, 9.0, 0.5, outcome="purchase")])


def final(snapshot: int, reward: float, pscore: float, model: str = "hero", outcome: str = "click") -> Outcome:
    return Outcome("o", outcome, "shop/ann", 1, "tips", "tips", reward, MatchedBy.DECISION, True, "last", "r",
                   pscore=pscore, model=model, snapshot=snapshot)


def _value(topic: Any, value: bytes | None) -> Any:
    from pipeline.codecs import avro
    return None if value is None else avro.decode(topic, value)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["models", "show", *arguments, "--tenant", "shop"])


def test_a_model_is_shown_with_showings_and_mean_reward_in_the_outcomes_unit(cluster: None) -> None:
    [hero] = json.loads(run("hero", "--json").stdout)
    assert (hero["snapshot"], hero["at"]) == (3, "1970-01-01 00:01:00Z")
    assert hero["items"] == [{"item": "tips", "showings": 4.0, "mean_reward": 0.5},
                             {"item": "upgrade", "showings": 1.0, "mean_reward": -1.0}]
    assert hero["challenger"] == {"model": "next", "share": 0.1}


def test_of_one_model_it_is_shown_what_was_earned_under_each_snapshot(cluster: None) -> None:
    [hero] = json.loads(run("hero", "--json").stdout)
    assert [(one["snapshot"], one["showings"], one["mean_reward"], one["mean_propensity"])
            for one in hero["snapshots"]] == [(2, 1, -1.0, 0.25), (3, 2, 0.5, 0.75)]
    assert hero["snapshots"][1]["standard_error"] == pytest.approx(0.5 / 2**0.5)
    assert "Closed showings" in run("hero").stdout


def test_of_one_model_it_is_shown_how_much_it_explores_and_how_far_its_inputs_drifted(cluster: None) -> None:
    [hero] = json.loads(run("hero", "--json").stdout)
    assert hero["health"] == {"showings": 3, "explored": pytest.approx(1 / 3), "drift": [
        {"input": "propensity", "first": 1, "last": 1, "psi": None}]}
    printed = run("hero").stdout
    assert "Explored (propensity below 0.5): 33.3%" in printed and "too few" in printed


def test_all_models_are_shown_with_what_becomes_of_them(cluster: None) -> None:
    found = {one["model"]: one for one in json.loads(run("--json").stdout)}
    assert (found["next"]["snapshot"], found["next"]["frozen"], found["next"]["items"]) == (0, True, [])
    assert (found["old"]["snapshot"], found["old"]["pinned"]) == (None, 7)
    printed = run()
    assert printed.exit_code == 0 and "hero" in printed.stdout and "frozen" in printed.stdout


def test_an_unknown_model_is_said_with_those_there_are(cluster: None) -> None:
    done = run("heroo")
    assert done.exit_code == 1 and "hero, next, old" in done.output.replace("\n", " ")


def test_a_check_tells_what_a_model_trained_elsewhere_takes(tmp_path: Path) -> None:
    content = pipeline_of_scikit_learn().content
    (tmp_path / "buys.onnx").write_bytes(content)
    (tmp_path / "policy.yaml").write_text(trained.POLICY, "utf-8")
    said = CliRunner().invoke(app, ["policy", "check", str(tmp_path)]).output
    digest = hashlib.sha256(content).hexdigest()[:16]
    assert f"model buys: ONNX, {len(content):,} bytes, sha256 {digest}, a candidate takes " in said

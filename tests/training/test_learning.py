"""Models from training data: what they learn, how they are judged, and what is refused. Data are simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner, Result

from analysis.errors import AnalysisError
from analysis.off_policy.log import Log
from analysis.off_policy.sufficiency import too_few
from analysis.training import learning, model_file
from analysis.training.evaluation import evaluate, greedy
from analysis.training.learning import learn
from analysis.training.vectors import Rows, numbers, read_table, rows_of, scaled
from pipeline.cli.main import app

ITEMS = ("apples", "bread", "cheese")


def simulated(tmp_path: Path, rows: int = 3_000, **other: Any) -> Path:
    """A uniform policy over three items: the young click on apples, the others on bread."""
    chance = np.random.Generator(np.random.Philox(3))
    age = chance.integers(18, 80, rows)
    action = chance.integers(0, 3, rows)
    of_bread = np.where(action == 1, np.where(age < 45, 0.1, 0.6), 0.05)
    rate = np.where(action == 0, np.where(age < 45, 0.6, 0.1), of_bread)
    names = [ITEMS[one] for one in action]
    table = pa.table({
        "decided_ms": pa.array(range(1_000, 1_000 + rows), pa.int64()), "placement": ["hero"] * rows, "action": names,
        "pscore": [1 / 3] * rows, "position": pa.array([0] * rows, pa.int64()),
        "group": [f"g{number // 3}" for number in range(rows)], "candidates": [list(ITEMS)] * rows,
        "reward.click": (chance.random(rows) < rate).astype(float), "feature.profile.age": pa.array(age, pa.int64()),
        "feature.profile.young": pa.array(age < 45), "feature.candidate.value": [1.0] * rows,
        "feature.profile.plan": ["free"] * rows,
    } | {name: pa.array(values) for name, values in other.items()})
    file = tmp_path / "rows.parquet"
    pq.write_table(table, file)
    return file


def read(file: Path, *facts: str) -> Rows:
    table = read_table(file, "click", None)
    return rows_of(table, "click", scaled(table, facts or numbers(table)))


def test_numbers_and_truths_about_the_subject_are_what_a_model_reads(tmp_path: Path) -> None:
    rows = read(simulated(tmp_path))
    assert [one.fact for one in rows.features] == ["profile.age", "profile.young"]
    assert rows.x.shape == (3_000, 3) and rows.x.max() == 1.0 and (rows.x[:, 0] == 1).all()


def test_linucb_has_the_sums_of_its_definition(tmp_path: Path) -> None:
    rows = read(simulated(tmp_path))
    model = learn(rows, "linucb", "click", "hero", ridge=2.0)
    own = rows.action == "bread"
    learnt = model.items["bread"]
    assert learnt.a is not None and learnt.b is not None and learnt.rows == own.sum()
    a = 2.0 * np.eye(3)
    b = np.zeros(3)
    for x, reward in zip(rows.x[own], rows.reward[own], strict=True):
        a += np.outer(x, x)
        b += reward * x
    np.testing.assert_allclose(learnt.a, a, rtol=1e-12)
    np.testing.assert_allclose(learnt.b, b, rtol=1e-12)
    np.testing.assert_allclose(a @ learnt.weights, b, rtol=1e-9)


def test_logistic_is_that_of_scikit_learn_where_the_prior_is_the_origin(tmp_path: Path) -> None:
    rows = read(simulated(tmp_path))
    # At a rate of one half the prior is the origin, as scikit-learn has it.
    ones, zeros = np.flatnonzero(rows.reward == 1), np.flatnonzero(rows.reward == 0)
    chosen = np.zeros(len(rows), np.bool_)
    chosen[ones] = chosen[zeros[: len(ones)]] = True
    rows = rows.where(chosen)
    model = learn(rows, "logistic", "click", "hero", ridge=0.5)
    for item in ITEMS:
        own = rows.action == item
        theirs = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10, max_iter=1_000)
        theirs.fit(rows.x[own], rows.reward[own])
        np.testing.assert_allclose(model.items[item].weights, theirs.coef_[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["linucb", "logistic"])
def test_a_model_that_learnt_whom_to_show_what_earns_more_than_chance(tmp_path: Path, kind: Any) -> None:
    rows = read(simulated(tmp_path))
    older = rows.decided_ms < 3_000
    found = evaluate(learn(rows.where(older), kind, "click", "hero"), rows.where(~older), 0.0)
    assert found.verdict == "higher"
    for one in found.estimates:
        assert one.value == pytest.approx(0.6, abs=0.08) and one.low is not None and one.low < 0.6 < one.high  # type: ignore[operator]
    assert found.logged[0] == pytest.approx(0.25, abs=0.03)


def test_the_best_candidate_is_shown_and_never_what_is_none() -> None:
    eligible = np.array([[True, True, False], [True, True, True]])
    made = greedy(np.array([[1.0, 1.0, 9.0], [0.0, 3.0, 2.0]]), eligible, 0.3)
    np.testing.assert_allclose(made, [[0.5, 0.5, 0.0], [0.1, 0.8, 0.1]])


def test_an_item_that_was_never_shown_has_the_prior(tmp_path: Path) -> None:
    rows = read(simulated(tmp_path))
    model = learn(rows, "logistic", "click", "hero")
    np.testing.assert_allclose(model.scores(rows.x[:5], ("new",))[:, 0], model.prior[0])


def test_data_that_carry_nothing_are_said_to_be_too_few() -> None:
    action, pscore = np.tile([0, 1], 100), np.full(200, 0.5)
    target = np.tile([1.0, 0.0], (200, 1))
    rewards = np.zeros(200)
    rewards[:18] = 1.0
    assert "worth 9.0 rewarded rows" in too_few(Log(action, rewards, pscore, 2), target)
    rewards[:20] = 1.0
    assert too_few(Log(action, rewards, pscore, 2), target) == ""
    short = slice(0, 98)
    assert "worth 49 rows" in too_few(Log(action[short], rewards[short], pscore[short], 2), target[short])


def test_a_feature_that_is_not_known_leaves_the_row_out(tmp_path: Path) -> None:
    scores: dict[str, Any] = {"feature.profile.score": [None if number % 3 else 1.0 for number in range(3_000)]}
    file = simulated(tmp_path, **scores)
    assert [one.fact for one in read(file).features] == ["profile.age", "profile.young"]
    rows = read(file, "profile.score")
    assert len(rows) == 1_000 and rows.notes == ("2000 rows left out: a feature was not known",)


def test_a_model_past_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read(simulated(tmp_path))
    monkeypatch.setattr(learning, "NUMBERS_MAX", 3 * 9)
    learn(rows, "linucb", "click", "hero")
    monkeypatch.setattr(learning, "NUMBERS_MAX", 3 * 9 - 1)
    with pytest.raises(AnalysisError, match="name fewer"):
        learn(rows, "linucb", "click", "hero")
    monkeypatch.undo()
    model = trained(tmp_path)
    monkeypatch.setattr(model_file, "BYTES_MAX", 10)
    with pytest.raises(AnalysisError, match="this is no model"):
        model_file.read_model(model)


@pytest.mark.parametrize(("facts", "sentence"), [
    (("profile.plan",), "a vector is made of numbers and truths"), (("profile.none",), "no decision saw profile.none"),
    (("profile.age",) * 64, "name at most 63"),
])
def test_what_makes_no_vector_is_refused(tmp_path: Path, facts: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(AnalysisError, match=sentence):
        read(simulated(tmp_path), *facts)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def trained(tmp_path: Path, *more: str | Path) -> Path:
    to = tmp_path / "model.json"
    told = run("models", "train", "--from", simulated(tmp_path), "--out", to, "--outcome", "click", *more)
    assert told.exit_code == 0, told.output
    return to


def test_a_model_is_judged_by_the_time_that_it_did_not_learn_from(tmp_path: Path) -> None:
    model, verdict = trained(tmp_path), tmp_path / "evaluation.json"
    told = run("models", "evaluate", model, "--from", tmp_path / "rows.parquet", "--out", verdict, "--json")
    assert told.exit_code == 0, told.output
    made, learnt = json.loads(told.stdout), json.loads(model.read_text())
    assert made == json.loads(verdict.read_text())
    assert (made["rows"], learnt["trained"]["rows"]) == (900, 2_100)
    assert made["model"] == learnt["id"] and made["verdict"] == "higher"
    assert made["data_sha256"] == made["trained_by_sha256"] == learnt["trained"]["data_sha256"]


def test_one_file_gives_one_model(tmp_path: Path) -> None:
    first = trained(tmp_path).read_text()
    assert trained(tmp_path).read_text() == first


def test_a_model_that_was_changed_is_refused(tmp_path: Path) -> None:
    model = trained(tmp_path)
    told = json.loads(model.read_text())
    told["items"]["bread"]["weights"][0] += 1
    model.write_text(json.dumps(told))
    done = run("models", "evaluate", model, "--from", tmp_path / "rows.parquet")
    assert done.exit_code == 1 and "was changed since it was written" in " ".join(done.output.split())


def test_too_few_data_are_no_success(tmp_path: Path) -> None:
    model = trained(tmp_path, "--held-out", "0.01")
    done = run("models", "evaluate", model, "--from", tmp_path / "rows.parquet")
    assert done.exit_code == 1 and "too few" in done.output


@pytest.mark.parametrize(("more", "sentence"), [
    (("--outcome", "order"), "has no outcome order; there are: click"),
    (("--placement", "side"), "there is no placement side"),
    (("--held-out", "0.9", "--from", "nothing.parquet"), "cannot be read as Parquet"),
])
def test_what_cannot_be_trained_is_one_sentence(tmp_path: Path, more: tuple[str, ...], sentence: str) -> None:
    file, to = simulated(tmp_path), tmp_path / "model.json"
    done = run("models", "train", "--from", file, "--out", to, "--outcome", "click", *more)
    assert done.exit_code == 1 and sentence in " ".join(done.output.split())
    assert not to.exists()

"""Scores of a model trained elsewhere: one run for all candidates, each scored as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.core.models.learner import Feature
from pipeline.core.models.trained import Input, Tensor, Trained, rounded

FACTS = {"profile.spent": 2.0}


@dataclass
class _Session:
    """Answers what a function says of the first input; remembers how many rows each run had."""

    says: Callable[[NDArray[Any]], NDArray[Any] | None]
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    runs: list[int] = field(default_factory=list)

    def run(self, output: str, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
        self.runs.append(len(columns["x"]))
        return self.says(columns["x"])

    def row_us(self, output: str, columns: Mapping[str, NDArray[Any]]) -> float:
        return 1.0


def model(session: _Session, *features: Feature, column: int = -1) -> Trained:
    columns = features or (Feature("profile.spent"), Feature("candidate.value"))
    return Trained("m", "", 1_000, (Input("x", "float", columns),), "out", column, session)


def items(*values: float | None) -> list[dict[str, Any]]:
    return [{} if value is None else {"candidate.value": value} for value in values]


def test_all_candidates_are_scored_in_one_run() -> None:
    session = _Session(lambda x: x[:, 0] * x[:, 1])
    assert model(session).scores(FACTS, items(1.0, 2.0, 3.0)) == [2.0, 4.0, 6.0]
    assert session.runs == [3]


def test_one_with_an_unknown_fact_has_its_path_and_keeps_nobody_from_a_score() -> None:
    session = _Session(lambda x: x[:, 1])
    assert model(session).scores(FACTS, items(1.0, None, 3.0)) == [1.0, "candidate.value", 3.0]
    assert session.runs == [2]


def test_one_that_the_model_cannot_take_keeps_nobody_from_a_score() -> None:
    session = _Session(lambda x: None if (x[:, 1] < 0.0).any() else x[:, 1])
    assert model(session).scores(FACTS, items(1.0, -1.0, 3.0)) == [1.0, "the model's answer", 3.0]
    assert session.runs == [3, 1, 1, 1]


def test_what_is_no_finite_score_is_unknown() -> None:
    found = model(_Session(lambda x: np.where(x[:, 1] > 1.0, np.nan, np.inf))).scores(FACTS, items(1.0, 2.0))
    assert found == ["a finite score"] * 2


def test_an_answer_of_another_shape_is_unknown() -> None:
    assert model(_Session(lambda x: x[:1, 0])).scores(FACTS, items(1.0, 2.0)) == ["the model's answer"] * 2


def test_the_column_is_the_one_that_is_named_else_the_last() -> None:
    session = _Session(lambda x: np.column_stack([x[:, 1], 10.0 * x[:, 1]]))
    assert model(session).scores(FACTS, items(1.0)) == [10.0]
    assert model(session, column=0).scores(FACTS, items(1.0)) == [1.0]


def test_nobody_to_score_is_no_run() -> None:
    session = _Session(lambda x: x[:, 0])
    assert model(session).scores({}, items(1.0)) == ["profile.spent"] and session.runs == []


def test_named_values_of_a_string_are_columns() -> None:
    seen: list[Any] = []

    def says(x: NDArray[Any]) -> NDArray[Any]:
        seen.append(x.tolist())
        return x[:, 0]

    session = _Session(says)
    plan = Feature("profile.plan", ("free", "plus"), "free")
    for facts in ({"profile.plan": "plus"}, {"profile.plan": "other"}, {}):
        model(session, plan).scores(facts, [{}])
    assert seen == [[[0.0, 1.0]], [[0.0, 0.0]], [[1.0, 0.0]]]


@given(st.floats(-1e30, 1e30), st.floats(-1e-7, 1e-7))
def test_a_rounded_score_is_near_and_stays(score: float, error: float) -> None:
    assert abs(rounded(score) - score) <= 5.1e-6 * abs(score)
    assert rounded(rounded(score)) == rounded(score)
    assert abs(rounded(score * (1.0 + error)) - rounded(score)) <= 1.1e-5 * abs(score)


@given(st.lists(st.one_of(st.none(), st.floats(-1e300, 1e300)), max_size=12))
def test_a_candidate_in_a_batch_has_the_score_that_it_has_alone(values: list[float | None]) -> None:
    one = model(_Session(lambda x: None if (x[:, 1] > 1e20).any() else x[:, 0] + x[:, 1]))
    together = one.scores(FACTS, items(*values))
    assert together == [score for value in values for score in one.scores(FACTS, items(value))]

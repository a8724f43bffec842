"""What a file would make a worker do is read before anything runs it; what is garbage is said to be."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pipeline.core.models.trained import ContentError
from pipeline.onnx_models import graph
from pipeline.onnx_models.sessions import opened
from tests.support.trained_models import file_of, pipeline_of_scikit_learn, tensor_of, trees_of_lightgbm

X, OUT = tensor_of("x", "FLOAT", [None, 1]), tensor_of("out", "FLOAT", [None, 1])


def refused(content: bytes) -> str:
    with pytest.raises(ContentError) as caught:
        opened(content)
    assert caught.value.suggestion
    return str(caught.value)


def external(name: str) -> Any:
    """A tensor whose numbers are in another file of the machine."""
    tensor = numpy_helper.from_array(np.ones((1, 1), np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "passwords"
    return tensor


@pytest.mark.parametrize("content", [pipeline_of_scikit_learn, trees_of_lightgbm])
def test_what_libraries_export_is_allowed(content: Any) -> None:
    graph.check(content().content)


def test_chance_is_refused() -> None:
    node = helper.make_node("RandomUniformLike", ["x"], ["out"])
    assert "the operator 'RandomUniformLike'" in refused(file_of([node], [X], [OUT]))


def test_an_operator_of_another_domain_is_refused() -> None:
    node = helper.make_node("Identity", ["x"], ["out"], domain="com.example")
    assert "the operator 'com.example.Identity'" in refused(file_of([node], [X], [OUT]))


def test_a_loop_or_branch_is_refused() -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "inner", [], [tensor_of("y", "FLOAT", [1])])
    node = helper.make_node("Identity", ["x"], ["out"], body=inner)
    assert "a loop or branch" in refused(file_of([node], [X], [OUT]))


def test_numbers_in_another_file_are_refused_wherever_they_are_named() -> None:
    add = helper.make_node("Add", ["x", "w"], ["out"])
    assert "names another file" in refused(file_of([add], [X], [OUT], initializer=[external("w")]))
    constant = helper.make_node("Constant", [], ["w"], value=external("w"))
    assert "names another file" in refused(file_of([constant, add], [X], [OUT]))


def test_a_graph_of_too_many_operators_is_refused() -> None:
    names = ["x", *(f"n{index}" for index in range(graph.NODES_MAX)), "out"]
    nodes = [helper.make_node("Identity", [one], [other]) for one, other in pairwise(names)]
    assert "2,001 operators" in refused(file_of(nodes, [X], [OUT]))


def test_a_graph_that_is_wrong_is_refused_in_the_words_of_the_library() -> None:
    node = helper.make_node("Add", ["x", "nowhere"], ["out"])
    assert "onnxruntime" in refused(file_of([node], [X], [OUT]))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused(content: bytes) -> None:
    with pytest.raises(ContentError):
        graph.check(content)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_a_damaged_file_is_refused_or_a_session(seed: int, changes: int) -> None:
    chance, content = random.Random(seed), bytearray(pipeline_of_scikit_learn().content)
    for _ in range(changes):
        content[chance.randrange(len(content))] = chance.randrange(256)
    try:
        opened(bytes(content))
    except ContentError as error:
        assert str(error)


def test_a_run_that_wants_memory_without_end_fails_and_others_go_on() -> None:
    names = ["x", *(f"n{index}" for index in range(40))]
    nodes = [helper.make_node("Concat", [one, one], [other], axis=1) for one, other in pairwise(names)]
    nodes.append(helper.make_node("ReduceSum", [names[-1]], ["out"], keepdims=1))
    doubled = opened(file_of(nodes, [X], [OUT]))
    assert doubled.run("out", {"x": np.ones((1, 1), np.float32)}) is None
    answer = opened(trees_of_lightgbm().content).run("probabilities", {"features": np.ones((3, 5), np.float32)})
    assert answer is not None and answer.shape == (3, 2)


def test_one_file_has_one_session() -> None:
    content = pipeline_of_scikit_learn().content
    assert opened(content) is opened(bytes(bytearray(content)))


def test_what_a_session_cannot_take_is_no_answer() -> None:
    session = opened(pipeline_of_scikit_learn().content)
    assert session.run("probabilities", {"spent": np.zeros((1, 1), np.float32)}) is None
    assert session.run("nowhere", {}) is None

"""Statistics: sums that give the same in any order and partition, decay, partial and negative rewards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.model.learning import Observation
from pipeline.core.models.learner import KINDS, Kind
from pipeline.core.models.snapshots import worked_out
from pipeline.core.models.statistics import Statistics, inverse_after
from tests.core.models.build import learner, learnt

ADDITIVE: Final[tuple[Kind, ...]] = ("beta", "gaussian", "linucb", "linear_thompson", "hybrid")
COLUMNS: Final[Mapping[Kind, tuple[int, int]]] = {
    "beta": (0, 0), "gaussian": (0, 0),
    "linucb": (2, 1), "linear_thompson": (2, 1), "logistic": (2, 1), "hybrid": (2, 1),
}


def observations(kind: Kind) -> st.SearchStrategy[list[Observation]]:
    size = 0 if kind in ("beta", "gaussian") else 4
    numbers = st.floats(-3.0, 3.0)
    one = st.builds(Observation, st.sampled_from("abc"), st.tuples(*[numbers] * size), st.floats(0.0, 1.0))
    return st.lists(one, max_size=12)


def close(a: Statistics, b: Statistics) -> bool:
    return a.items.keys() == b.items.keys() and all(
        np.allclose(np.frombuffer(a.items[name]), np.frombuffer(b.items[name]), atol=1e-9) for name in a.items
    ) and np.allclose(np.frombuffer(a.shared or b""), np.frombuffer(b.shared or b""), atol=1e-9)


@pytest.mark.parametrize("kind", ADDITIVE)
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_two_parts_of_a_log_merge_to_the_whole_in_either_order(kind: Kind, data: st.DataObject) -> None:
    one = learner(kind, *COLUMNS[kind])
    log = data.draw(observations(kind))
    cut = data.draw(st.integers(0, len(log)))
    first, second, whole = learnt(one, log[:cut]), learnt(one, log[cut:]), learnt(one, log)
    assert close(first.merged(second), whole) and close(second.merged(first), whole)


@pytest.mark.parametrize("kind", ADDITIVE)
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_decay_is_a_factor_of_everything_and_adds_up_over_time(kind: Kind, data: st.DataObject) -> None:
    one = learner(kind, *COLUMNS[kind])
    log, a, b = data.draw(observations(kind)), data.draw(st.floats(0.0, 1.0)), data.draw(st.floats(0.0, 1.0))
    whole = learnt(one, log)
    assert close(whole.decayed(a).decayed(b), whole.decayed(a * b))
    assert close(whole.decayed(1.0), whole)
    half = len(log) // 2
    first, second = learnt(one, log[:half]), learnt(one, log[half:])
    assert close(first.merged(second).decayed(a), first.decayed(a).merged(second.decayed(a)))


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_never_changed_in_place(kind: Kind) -> None:
    one = learner(kind, *COLUMNS[kind])
    vector = (1.0, 0.5, -0.5, 2.0) if one.columns else ()
    before = learnt(one, [Observation("a", vector, 1.0)])
    kept = Statistics(dict(before.items), before.shared)
    before.updated(Observation("a", vector, 0.0), one)
    assert before.items == kept.items and before.shared == kept.shared


@pytest.mark.parametrize("kind", ADDITIVE)
def test_a_reward_in_parts_comes_to_the_same_as_at_once(kind: Kind) -> None:
    one = learner(kind, *COLUMNS[kind])
    vector = (1.0, 0.5, -0.5, 2.0) if one.columns else ()
    parts = [Observation("a", vector, 0.0), Observation("a", vector, 0.25, False, 0.0),
             Observation("a", vector, 0.5, False, 0.25)]
    assert close(learnt(one, parts), learnt(one, [Observation("a", vector, 0.75)]))


def test_rewards_of_one_showing_stay_within_the_range_however_many_parts_they_come_in() -> None:
    one = learner("beta")
    parts = [Observation("a", (), 0.8), Observation("a", (), 0.8, False, 0.8), Observation("a", (), 0.8, False, 1.6)]
    assert np.frombuffer(learnt(one, parts).items["a"]).tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_a_negative_reward_lowers_the_mean() -> None:
    for kind in ("beta", "gaussian"):
        one = learner(kind, reward_range=(-1.0, 1.0), prior_mean=0.0)
        snapshot = worked_out(one, learnt(one, [Observation("bad", (), -1.0), Observation("none", (), 0.0)]))
        bad, none, unknown = snapshot.posterior(one, ["bad", "none", "new"], [(), (), ()]).means().tolist()
        assert bad < none == pytest.approx(unknown)


def test_an_item_past_the_bound_is_not_taken_and_the_known_ones_go_on() -> None:
    one = learner("beta", items_max=1)
    found = learnt(one, [Observation("a", (), 1.0), Observation("b", (), 1.0), Observation("a", (), 0.0)])
    assert found.items.keys() == {"a"} and np.frombuffer(found.items["a"])[0] == 2.0


def test_a_vector_of_another_length_is_not_taken() -> None:
    one = learner("linucb", 2)
    assert learnt(one, [Observation("a", (1.0, 2.0), 1.0)]).items == {}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(*[st.floats(-5.0, 5.0)] * 4), min_size=1, max_size=20))
def test_sherman_and_morrison_agree_with_the_inverse(vectors: list[tuple[float, ...]]) -> None:
    a, inverse = np.eye(4), np.eye(4)
    for vector in vectors:
        x = np.array(vector)
        a, inverse = a + np.outer(x, x), inverse_after(inverse, x)
    assert np.allclose(inverse, np.linalg.inv(a), atol=1e-7)


def test_a_logistic_model_comes_to_the_probabilities_of_its_log() -> None:
    one = learner("logistic", 1, ridge=0.1)
    log = [Observation("a", (1.0, float(n % 2)), 1.0 if n % 10 < (8 if n % 2 else 2) else 0.0) for n in range(2_000)]
    # Of the ten numbers the odd ones are below 8 four times in five, the even ones below 2 once in five.
    snapshot = worked_out(one, learnt(one, log))
    even, odd = snapshot.posterior(one, ["a", "a"], [(1.0, 0.0), (1.0, 1.0)]).means().tolist()
    assert even == pytest.approx(0.2, abs=0.03) and odd == pytest.approx(0.8, abs=0.03)

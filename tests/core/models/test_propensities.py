"""Propensities: what the quadrature says is what so many draws come to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.models.posterior import Family, Posterior
from pipeline.core.models.quadrature import betas_largest, normal_cdf, normals_largest
from pipeline.core.models.randomness import Chance, Floats
from pipeline.core.models.selection import best, drawn, explored_share, mixed

DRAWS = 200_000


def posterior(family: Family, first: list[float], second: list[float], **more: object) -> Posterior:
    count = len(first)
    parts = {"weight": np.ones(count), "known": np.ones(count, dtype=np.bool_), "fallback": 0.0} | more
    return Posterior(family, np.array(first), np.array(second), **parts)  # type: ignore[arg-type]


def simulated(one: Posterior) -> Floats:
    """Shares of 200,000 draws in which each is the largest; ties are shared."""
    every = Posterior(one.family, np.tile(one.first, DRAWS), np.tile(one.second, DRAWS), np.tile(one.weight, DRAWS),
                      np.tile(one.known, DRAWS), one.fallback)
    scores = every.sampled(Chance("simulated")).reshape(DRAWS, -1)
    best = scores == scores.max(axis=1, keepdims=True)
    found: Floats = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return found


def within(found: Floats, counted: Floats) -> bool:
    """Within five standard errors of what is counted, and one draw."""
    return bool((np.abs(found - counted) <= 5.0 * np.sqrt(found * (1.0 - found) / DRAWS) + 1.0 / DRAWS).all())


@pytest.mark.parametrize(("mean", "sd"), [
    ([0.0, 0.5, 1.0], [1.0, 1.0, 1.0]), ([0.0, 0.1, 0.2, -3.0], [0.1, 0.5, 0.05, 2.0]), ([5.0, 5.0], [1e-3, 1e-3]),
    ([0.1 * n for n in range(8)], [0.3] * 8), ([0.0, 9.0], [1.0, 1.0]),
])
def test_normals_are_the_largest_as_often_as_is_said(mean: list[float], sd: list[float]) -> None:
    found = normals_largest(np.array(mean), np.array(sd))
    assert found is not None and within(found, simulated(posterior("normal", mean, sd)))


@pytest.mark.parametrize(("a", "b"), [
    ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]), ([2.0, 30.0, 5.0], [8.0, 90.0, 20.0]), ([300.0, 310.0], [9_000.0, 9_010.0]),
    ([0.5, 2.0], [0.5, 2.0]), ([1.0] * 5, [float(n) for n in range(1, 6)]),
])
def test_betas_are_the_largest_as_often_as_is_said(a: list[float], b: list[float]) -> None:
    found = betas_largest(np.array(a), np.array(b))
    assert found is not None and within(found, simulated(posterior("beta", a, b)))


def test_two_betas_agree_with_the_closed_form() -> None:
    # P(X > Y) for whole shapes, by the sum over X's shape a of Beta functions.
    a1, b1, a2, b2 = 7, 12, 5, 9
    def log_beta(a: int, b: int) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    exact = sum(np.exp(log_beta(a2 + i, b1 + b2) - np.log(b1 + i) - log_beta(1 + i, b1) - log_beta(a2, b2))
                for i in range(a1))
    found = betas_largest(np.array([a1, a2], dtype=float), np.array([b1, b2], dtype=float))
    assert found is not None and found[0] == pytest.approx(exact, abs=1e-7)


def test_two_normals_agree_with_the_closed_form() -> None:
    found = normals_largest(np.array([0.3, -0.2]), np.array([0.7, 1.9]))
    exact = float(normal_cdf(np.array([0.5 / np.hypot(0.7, 1.9)]))[0])
    assert found is not None and found[0] == pytest.approx(exact, abs=1e-8)


def test_a_constant_among_draws_has_its_chance() -> None:
    one = posterior("normal", [0.0, 0.0, 0.4, 9.0], [1.0, 0.5, 0.0, 0.0],
                    known=np.array([True, True, True, False]), fallback=0.4)
    found, draws = one.largest(np.arange(4), "c")
    assert draws == 0 and found[2] == found[3] and within(found, simulated(one))


def test_weighted_logits_are_counted_and_the_error_is_said() -> None:
    one = posterior("logit", [0.0, -1.0], [1.0, 1.0], weight=np.array([1.0, 2.0]))
    found, draws = one.largest(np.arange(2), "c")
    expected = simulated(one)
    assert draws == 4_096
    assert (np.abs(found - expected) <= 5.0 * np.sqrt(expected * (1.0 - expected) / draws)).all()


def test_a_bound_that_is_the_same_each_time_is_shared_by_those_that_tie() -> None:
    found, draws = posterior("fixed", [1.0, 0.5, 0.2], [0.0, 0.5, 0.1]).largest(np.arange(3), "c")
    assert draws == 0 and found.tolist() == [0.5, 0.5, 0.0]


def test_a_model_that_does_not_draw_is_chosen_from_as_one_that_does() -> None:
    one = posterior("fixed", [1.0, 0.5, 0.2, 1.0], [0.0, 0.5, 0.1, 0.0])
    for number in range(50):
        plain = best(one.bounds().tolist(), [0, 1, 2], 0.3, 0.05, "d", str(number))
        whole = drawn(one, [0, 1, 2], 0.3, 0.05, "d", str(number))
        assert (plain.pick, plain.scores) == (whole.pick, whole.scores)
        assert plain.propensities == pytest.approx(whole.propensities, abs=1e-15)


@pytest.mark.parametrize("family", ["fixed", "normal", "logit", "beta"])
def test_draws_fall_on_each_as_often_as_its_propensity_says(family: Family) -> None:
    one = posterior(family, [1.0, 1.5, 2.0], [1.0, 1.2, 0.9])
    counts, said = np.zeros(3), np.zeros(3)
    rounds = 2_000
    for number in range(rounds):
        found = drawn(one, [0, 1, 2], 0.1, 0.05, "d", str(number))
        counts[found.pick] += 1
        said = np.array(found.propensities)
    assert (np.abs(counts / rounds - said) <= 5.0 * np.sqrt(said * (1.0 - said) / rounds)).all()


def test_a_counted_propensity_of_what_was_chosen_is_never_nothing() -> None:
    one = posterior("logit", [0.0, -30.0], [0.1, 0.1], weight=np.array([1.0, 2.0]))
    picks = [drawn(one, [0, 1], 0.5, 0.0, "d", str(number)) for number in range(20)]
    assert {found.pick for found in picks} == {0, 1}
    assert all(found.propensities[found.pick] > 0.0 and found.error(0.5) > 0.0 for found in picks)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=50).filter(lambda shares: sum(shares) > 0.0),
       st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_mixtures_sum_to_one_and_keep_every_floor(shares: list[float], epsilon: float, least: float) -> None:
    own = np.array(shares) / sum(shares)
    found = mixed(own, explored_share(len(own), epsilon, least))
    assert found.sum() == pytest.approx(1.0)
    assert (found >= min(least, 1.0 / len(own)) - 1e-12).all() and (found >= epsilon / len(own) - 1e-12).all()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-3.0, 3.0), st.floats(0.05, 2.0)), min_size=1, max_size=30))
def test_propensities_of_normals_sum_to_one(numbers: list[tuple[float, float]]) -> None:
    found = normals_largest(np.array([m for m, _ in numbers]), np.array([s for _, s in numbers]))
    assert found is not None and found.sum() == pytest.approx(1.0) and (found >= 0.0).all()


def test_a_quadrature_past_its_bound_is_left_to_counting() -> None:
    assert normals_largest(np.zeros(100), np.geomspace(1e-6, 1.0, 100)) is None
    assert betas_largest(np.geomspace(1.0, 1e6, 100), np.geomspace(1.0, 1e6, 100)) is None


def test_the_same_words_give_the_same_numbers_for_ever() -> None:
    chance = Chance("decision", "hero", "model")
    assert chance.uniforms(2).tolist() == UNIFORMS
    assert chance.normals(2) == pytest.approx(NORMALS, abs=1e-15)
    assert chance.gammas(np.array([0.5, 3.0])) == pytest.approx(GAMMAS, abs=1e-14)


UNIFORMS = [0.7613083449487401, 0.73767618920325]
NORMALS = [1.3086888108381733, 1.5224889204664924]
GAMMAS = [0.09842801371507363, 1.7791910856975641]


def test_gammas_and_betas_have_their_means_and_variances() -> None:
    shapes = np.repeat([0.3, 1.0, 4.5], 50_000)
    drawn_ = Chance("moments").gammas(shapes).reshape(3, -1)
    assert drawn_.mean(axis=1) == pytest.approx([0.3, 1.0, 4.5], rel=0.03)
    assert drawn_.var(axis=1) == pytest.approx([0.3, 1.0, 4.5], rel=0.05)
    betas = Chance("moments").betas(np.full(50_000, 2.0), np.full(50_000, 6.0))
    assert betas.mean() == pytest.approx(0.25, rel=0.01) and betas.var() == pytest.approx(0.0208, rel=0.05)

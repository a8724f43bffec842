"""The simulated shop: a model that reads segments learns, beats what needs no model, and recovers from a change."""

from __future__ import annotations

import numpy as np
import pytest

from analysis import shop

SEEDS, SHOWINGS = range(4), 3_200


@pytest.mark.parametrize("kind", ["linucb", "linear_thompson"])
def test_regret_falls_beats_what_does_not_learn_and_recovers_after_a_change(kind: str) -> None:
    learnt, fixed, uniform = (shop.runs(one, SEEDS, SHOWINGS) for one in (kind, "best fixed", "uniform"))
    regret = [mean for mean, _ in shop.by_block(learnt, 8)]
    assert regret[3] < 0.5 * regret[0]
    assert regret[4] > 2 * regret[3], "the taste changed, and it does not know yet"
    assert regret[7] < 0.5 * regret[4]
    for one, other, none in zip(learnt, fixed, uniform, strict=True):
        assert one.clicks > other.clicks and one.clicks > none.clicks


def test_every_way_has_the_same_subjects_and_luck_and_the_taste_changes_half_way() -> None:
    one, again = (shop.runs("uniform", [3], 800)[0] for _ in range(2))
    assert one == again
    assert np.array_equal(shop.tastes(399, 800), shop.TASTES) and not np.array_equal(shop.tastes(400, 800), shop.TASTES)
    assert sorted(shop.TASTES.argmax(axis=1)) == [0, 1, 2, 3]


def test_rewards_are_known_late() -> None:
    told: list[int] = []
    shop.run(lambda *_: 0, lambda *_: told.append(1), 0, 80)
    assert len(told) == 80 - shop.DELAY

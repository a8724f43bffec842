"""Buckets are even, stay put, and know nothing of each other."""

from __future__ import annotations

from typing import Any

from pipeline.core.decide.decision import decide
from pipeline.core.decide.experiments import assigned, drawn
from pipeline.core.hashing import fraction
from pipeline.core.identity.merge import merged
from pipeline.core.subject import Person

from .build import agreed, asked, made

SUBJECTS = [f"shop/{number}" for number in range(4_000)]
NOW_MS = 1_790_000_000_000


def _experiments(**declared: Any) -> dict[str, Any]:
    live = made({"experiments": declared})
    return {one.id: one for one in live.policy.experiments}


def _arms(weights: dict[str, float]) -> list[str]:
    one = _experiments(e={"variations": {name: {"weight": weight} for name, weight in weights.items()}})["e"]
    return [arm.id if (arm := drawn(one, subject)) else "" for subject in SUBJECTS]


def test_fractions_are_evenly_spread() -> None:
    counts = [0] * 10
    for subject in SUBJECTS:
        counts[int(fraction("layer", "home", subject) * 10)] += 1
    # Chi-squared with 9 degrees of freedom: 27.9 is passed once in a thousand.
    assert sum((count - 400) ** 2 / 400 for count in counts) < 27.9


def test_arms_get_their_weights() -> None:
    arms = _arms({"a": 1, "b": 2, "c": 1})
    assert abs(arms.count("b") / len(arms) - 0.5) < 0.03
    assert abs(arms.count("a") / len(arms) - 0.25) < 0.03


def test_a_changed_weight_moves_only_to_or_from_that_arm() -> None:
    before, after = _arms({"a": 1, "b": 1, "c": 1}), _arms({"a": 2, "b": 1, "c": 1})
    moved = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert all(to == "a" for _, to in moved)
    assert abs(len(moved) / len(before) - (1 / 2 - 1 / 3)) < 0.03, "as few as the weights ask for"


def test_a_new_arm_moves_nobody_between_the_others() -> None:
    before, after = _arms({"a": 1, "b": 1}), _arms({"a": 1, "b": 1, "c": 1})
    assert {to for one, to in zip(before, after, strict=True) if one != to} == {"c"}


def test_a_wider_slice_takes_subjects_in_and_moves_nobody() -> None:
    narrow = _experiments(e={"slice": {"from": 0, "to": 20}, "variations": {"a": {}, "b": {}}})["e"]
    wide = _experiments(e={"slice": {"from": 0, "to": 50}, "variations": {"a": {}, "b": {}}})["e"]
    for subject in SUBJECTS:
        was = assigned(narrow, subject, {}, {}, NOW_MS)
        assert was is None or assigned(wide, subject, {}, {}, NOW_MS) == was
    share = sum(assigned(wide, subject, {}, {}, NOW_MS) is not None for subject in SUBJECTS) / len(SUBJECTS)
    assert abs(share - 0.5) < 0.03


def test_experiments_of_one_layer_never_share_a_subject() -> None:
    both = _experiments(one={"layer": "home", "slice": {"from": 0, "to": 50}, "variations": {"a": {}}},
                        two={"layer": "home", "slice": {"from": 50, "to": 100}, "variations": {"a": {}}})
    for subject in SUBJECTS:
        met = [assigned(one, subject, {}, {}, NOW_MS) for one in both.values()]
        assert sum(arm is not None for arm in met) == 1


def test_experiments_of_different_layers_are_independent() -> None:
    both = _experiments(one={"variations": {"a": {}, "b": {}}}, two={"variations": {"a": {}, "b": {}}})
    counts: dict[tuple[str, str], int] = {}
    for subject in SUBJECTS:
        pair = tuple(arm.id for one in both.values() if (arm := assigned(one, subject, {}, {}, NOW_MS)))
        counts[pair] = counts.get(pair, 0) + 1  # type: ignore[index, arg-type]
    assert len(counts) == 4
    assert sum((count - 1_000) ** 2 / 1_000 for count in counts.values()) < 16.3


def test_exposure_is_told_once_and_only_when_there_was_something_to_decide() -> None:
    policy: dict[str, Any] = {"experiments": {"e": {"variations": {"x": {}}}}}
    live = made(policy, {"a": {"eligibility": "profile.plan == 'pro'"}})
    nothing = decide(asked("r0"), agreed(), live, NOW_MS)
    assert nothing.exposures == ()
    live = made(policy, {"a": {}})
    first = decide(asked("r1"), agreed(), live, NOW_MS)
    assert first.exposures == (("e", "x"),)
    assert first.decisions[0].experiment == "e:x"
    second = decide(asked("r2"), first.profile, live, NOW_MS)
    assert second.exposures == () and second.decisions[0].experiment == "e:x"


def test_an_assignment_survives_a_merge() -> None:
    device = Person(profile_id="shop/device", assignments={"e": "b"})
    person = Person(profile_id="shop/person")
    assert merged(person, device).assignments == {"e": "b"}
    known = Person(profile_id="shop/person", assignments={"e": "control"})
    assert merged(known, device).assignments == {"e": "control"}, "the profile that stays keeps its own"

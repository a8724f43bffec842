"""A placement filled by a model: what is chosen, with which probability, by which snapshot; the same when replayed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.core.decide.decision import DecisionResult, decide
from pipeline.core.decide.live import Live, with_models
from pipeline.core.model.learning import ModelSnapshot, Observation
from pipeline.core.model.problems import DefinitionError
from pipeline.core.model.records import CandidateAudit
from pipeline.core.models.learner import KINDS
from pipeline.core.models.snapshots import body_of, digest_of
from pipeline.core.sections.section import changed
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person
from tests.core.build import agreed, asked, made
from tests.core.models.build import learnt

NOW_MS = 1_790_000_000_000
CLICK = {"click": {"event": {"event": "click"}, "window": "1h"}}
ITEMS = {name: {"attributes": {"value": value}} for name, value in {"a": 1.0, "b": 2.0, "c": 3.0}.items()}
FEATURES = ["profile.age", {"fact": "profile.plan", "values": ["free", "plus"], "default": "free"}, "candidate.value"]


def live(model: dict[str, Any] | None = None, ranking: dict[str, Any] | None = None, **more: Any) -> Live:
    """The tests' policy, whose placements are filled by a model."""
    policy = {"models": {"m": {"kind": "beta", "outcome": "click"} | (model or {})},
              "outcomes": CLICK,
              "rankings": {"learnt": {"model": "m"} | (ranking or {})},
              "placements": {"hero": {"ranking": "learnt"}, "tiles": {"ranking": "learnt"}}} | more
    return made(policy, ITEMS)


def somebody(**traits: Any) -> Person:
    return changed(agreed(), traits={name: Trait(value, 1) for name, value in traits.items()})


def taught(there: Live, observations: Iterable[Observation], number: int = 4, model: str = "m") -> Live:
    """With the snapshot that the observations come to."""
    one = there.policy.models[model]
    statistics = learnt(one, observations)
    body = body_of(statistics, ())
    return with_models(there, [ModelSnapshot("shop", model, number, 1, one.form, 1, body, digest_of(body))])


def audit_of(result: DecisionResult, item: str) -> CandidateAudit:
    return next(one for one in result.candidates if one.item_id == item)


def seen(item: str, times: int, share: float) -> list[Observation]:
    return [Observation(item, (), float(n < times * share)) for n in range(times)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_fills_a_placement_and_names_model_snapshot_and_vectors(kind: str) -> None:
    features = {"features": FEATURES} if kind not in ("beta", "gaussian") else {}
    result = decide(asked(), somebody(age=40), live({"kind": kind, **features}), NOW_MS)
    use = result.models["hero"]
    chosen = result.decisions[0].item_id
    assert (use.model, use.snapshot, result.reason) == ("m", 0, "decided")
    assert use.vectors == {chosen: (1.0, 40.0, 1.0, 0.0, {"a": 1.0, "b": 2.0, "c": 3.0}[chosen]) if features else ()}
    assert {"model", "model.mean"} <= audit_of(result, chosen).terms.keys()


def test_the_propensities_of_a_place_sum_to_one_over_many_requests() -> None:
    there = taught(live(), [*seen("a", 50, 0.2), *seen("b", 50, 0.3), *seen("c", 50, 0.25)])
    count, shares, said = 2_000, {"a": 0, "b": 0, "c": 0}, {}
    for number in range(count):
        chosen = decide(asked(f"r{number}"), agreed(), there, NOW_MS).decisions[0]
        shares[chosen.item_id] += 1
        said[chosen.item_id] = chosen.propensity
    assert sum(said.values()) == pytest.approx(1.0)
    assert all(abs(shares[name] / count - said[name]) < 5.0 * np.sqrt(said[name] / count) for name in said)


def test_the_last_place_of_all_has_the_propensity_one() -> None:
    result = decide(asked(placements="tiles", max_variants=3), agreed(), live(), NOW_MS)
    assert len(result.decisions) == 3 and result.decisions[-1].propensity == 1.0
    assert result.decisions[0].propensity == pytest.approx(1.0 / 3.0)


def test_the_floor_of_exploration_is_in_the_propensity() -> None:
    there = taught(live({"exploration": {"epsilon": 0.3}}), [*seen("a", 900, 0.9), *seen("b", 900, 0.1),
                                                             *seen("c", 900, 0.1)])
    said = {one.item_id: one.propensity for number in range(60)
            for one in decide(asked(f"r{number}"), agreed(), there, NOW_MS).decisions}
    assert said == {"a": pytest.approx(0.8), "b": pytest.approx(0.1), "c": pytest.approx(0.1)}


def test_what_was_learnt_decides() -> None:
    there = taught(live(), [*seen("a", 900, 0.9), *seen("b", 900, 0.1), *seen("c", 900, 0.1)])
    result = decide(asked(), agreed(), there, NOW_MS)
    assert (result.decisions[0].item_id, result.models["hero"].snapshot) == ("a", 4)
    assert audit_of(result, "b").outcome == "outranked" and audit_of(result, "b").terms["model.mean"] < 0.2


def test_other_terms_multiply_the_models_score() -> None:
    there = taught(live({}, {"formula": "candidate.value == 2.0 ? 5.0 : 1.0"}),
                   [*seen("a", 900, 0.5), *seen("b", 900, 0.4), *seen("c", 900, 0.1)])
    result = decide(asked(), agreed(), there, NOW_MS)
    assert result.decisions[0].item_id == "b"
    # Of weighted betas the propensity is counted, and its error is said.
    assert audit_of(result, "b").terms["model.propensity_error"] >= 0.0


def test_an_unknown_feature_gives_the_declared_score_and_is_not_learnt_from() -> None:
    there = live({"kind": "linucb", "features": ["profile.age"], "fallback_score": 0.5})
    result = decide(asked(), agreed(), there, NOW_MS)
    chosen = result.decisions[0]
    assert chosen.score == 0.5 and chosen.propensity == pytest.approx(1.0 / 3.0)
    assert result.models["hero"].vectors == {} and audit_of(result, chosen.item_id).terms["model.unknown"] == 1.0


def test_a_cap_takes_an_item_out_of_the_draw() -> None:
    there = live(caps={"none": {"count": "decision", "per": "item", "limit": 1, "window": "7d", "for": {"item": "a"}}})
    first = [decide(asked(f"r{number}"), agreed(), there, NOW_MS) for number in range(40)]
    took = next(one for one in first if one.decisions[0].item_id == "a")
    second = decide(asked("again"), took.profile, there, NOW_MS + 1)
    assert second.decisions[0].item_id in ("b", "c") and second.decisions[0].propensity == pytest.approx(0.5)


def test_a_cap_that_items_share_lets_no_more_through_than_it_has_room_for() -> None:
    there = live(caps={"two": {"count": "decision", "per": "all", "limit": 2, "window": "7d"}})
    result = decide(asked(placements="tiles", max_variants=3), agreed(), there, NOW_MS)
    assert len(result.decisions) == 2
    assert sorted(one.outcome for one in result.candidates) == ["capped", "chosen", "chosen"]
    again = decide(asked("r2", placements="tiles", max_variants=3), result.profile, there, NOW_MS + 1)
    assert again.reason == "capped"


def test_a_limit_of_diversity_holds_among_drawn_items() -> None:
    items = {name: {**one, "tags": ["same"]} for name, one in ITEMS.items()}
    there = made({"outcomes": CLICK, "models": {"m": {"kind": "beta", "outcome": "click"}},
                  "rankings": {"learnt": {"model": "m"}},
                  "placements": {"tiles": {"ranking": "learnt", "diversity": [{"per": "tag", "at_most": 2}]}}}, items)
    result = decide(asked(placements="tiles", max_variants=3), agreed(), there, NOW_MS)
    assert len(result.decisions) == 2
    assert sorted(one.outcome for one in result.candidates) == ["chosen", "chosen", "too_similar"]


def test_a_challenger_decides_for_its_share_and_the_same_subjects() -> None:
    models = {"m": {"kind": "beta", "outcome": "click", "challenger": {"model": "n", "share": 30}},
              "n": {"kind": "gaussian", "outcome": "click"}}
    there = made({"outcomes": CLICK, "models": models, "rankings": {"learnt": {"model": "m"}},
                  "placements": {"hero": {"ranking": "learnt"}}}, ITEMS)
    used: list[str] = []
    for number in range(400):
        person = changed(agreed(), profile_id=f"shop/{number}")
        names = {decide(asked(request), person, there, NOW_MS).models["hero"].model for request in ("r1", "r2")}
        assert len(names) == 1
        used += names
    assert used.count("n") / len(used) == pytest.approx(0.3, abs=0.1)


def test_a_pinned_snapshot_that_is_not_there_shows_the_fallback() -> None:
    there = live({"pin": 7})
    result = decide(asked(), agreed(), there, NOW_MS)
    assert (result.reason, result.fallback) == ("unknown:model", True)
    assert decide(asked(), agreed(), taught(there, seen("a", 9, 1.0), 7), NOW_MS).models["hero"].snapshot == 7


def test_a_replay_with_the_same_snapshot_decides_the_same_and_with_another_does_not() -> None:
    there = taught(live(), [*seen("a", 50, 0.2), *seen("b", 50, 0.3)])
    once = decide(asked(), agreed(), there, NOW_MS)
    assert decide(asked(), agreed(), replace(there), NOW_MS) == once
    assert decide(asked(), agreed(), live(), NOW_MS).candidates != once.candidates


@pytest.mark.parametrize(("model", "said"), [
    ({"kind": "linucb"}, "learns from features"), ({"features": ["profile.age"]}, "reads no features"),
    ({"kind": "linucb", "features": ["profile.agee"]}, "there is no number, boolean or string attribute"),
    ({"kind": "linucb", "features": ["profile.plan"]}, "is a string"),
    ({"kind": "linucb", "features": [{"fact": "profile.age", "values": ["x"]}]}, "is no string"),
    ({"kind": "linucb", "features": [{"fact": "profile.age", "default": "x"}]}, "is no int"),
    ({"kind": "linucb", "features": [{"fact": "profile.plan", "values": ["x"], "default": "y"}]}, "none of the values"),
    ({"kind": "linucb", "features": [{"fact": "profile.plan", "values": ["x", "x"]}]}, "named twice"),
    ({"kind": "linucb", "features": [{"fact": "profile.plan", "values": [f"v{n}" for n in range(63)]}, "profile.age"]},
     "make 65 columns"),
    ({"kind": "linucb", "items_max": 10_000, "features": [{"fact": "profile.plan", "values": ["x", "y", "z"]}]},
     "bytes for 10000 items"),
    ({"kind": "hybrid", "features": ["profile.age"]}, "shares what it learns"),
    ({"kind": "linucb", "features": ["profile.age"], "cold_start": ["candidate.value"]}, "no cold start"),
    ({"rewards": {"from": 1.0, "to": 0.0}}, "is no range"), ({"prior": {"mean": 2.0}}, "is no reward between"),
    ({"challenger": {"model": "m", "share": 5.0}}, "cannot challenge itself"),
    ({"challenger": {"model": "x", "share": 5.0}}, "there is no model"),
    ({"outcome": "clik"}, "models.m.outcome: there is no outcome 'clik' .did you mean 'click'"),
])
def test_what_is_wrong_with_a_model_is_said(model: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        live(model)


def test_a_learning_model_draws_by_itself() -> None:
    with pytest.raises(DefinitionError, match="draws by itself"):
        live({}, {"lottery": True})
    with pytest.raises(DefinitionError, match="there is no model 'x'"):
        live({}, {"model": "x"})

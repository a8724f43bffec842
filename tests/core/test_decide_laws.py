"""What holds for every catalog, subject and request: the same bytes again, and nothing that should not matter does."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.consent.answers import recorded
from pipeline.core.decide.decision import DecisionResult, decide
from pipeline.core.decide.live import Live, arrange
from pipeline.core.model.records import Basis, ConsentGrant, OptIn
from pipeline.core.model.values import replaced
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person

from .build import agreed, asked, made

NOW_MS = 1_790_000_000_000
POLICY: dict[str, Any] = {
    "caps": {"tag": {"count": "decision", "per": "tag", "limit": 2, "window": "1d"},
             "seen": {"count": "impression", "per": "item", "limit": 1, "window": {"calendar": "day"}}},
    "rankings": {"value": {"formula": "candidate.value * features.propensity"},
                 "draw": {"formula": "candidate.value", "lottery": True}},
    "placements": {"hero": {"ranking": "value"},
                   "tiles": {"ranking": "draw", "diversity": [{"per": "campaign", "at_most": 1}]}},
    "experiments": {"e": {"for": {"placement": "tiles"}, "variations": {"control": {}, "no_a": {"without": ["a"]}}}},
    "holdouts": {"h": {"share": 20, "for": {"campaign": "y"}}},
}
RULES = ["true", "profile.age >= 18", "profile.plan == 'pro' || profile.member", "candidate.value > 2.0",
         "context.page == '/'"]

_items = st.dictionaries(st.sampled_from("abcdefgh"), st.fixed_dictionaries({
    "priority": st.integers(-2, 3), "tags": st.lists(st.sampled_from(["t", "u"]), max_size=2, unique=True),
    "campaign": st.sampled_from(["", "x", "y"]), "eligibility": st.sampled_from(RULES),
    "suitability": st.sampled_from(RULES),
    "attributes": st.fixed_dictionaries({"value": st.sampled_from([0.5, 1.0, 2.5, 9.0])}),
}), min_size=1)
_traits = st.fixed_dictionaries({}, optional={
    "age": st.integers(10, 30), "plan": st.sampled_from(["pro", "free"]), "member": st.booleans(),
    "features.propensity": st.sampled_from([0.0, 0.3, 1.0])})
_requests = st.builds(
    lambda serial, both, wanted, page: asked(
        f"r{serial}", ["tiles", "hero"] if both else ["hero"], max_variants=wanted, attributes={"page": page}),
    st.integers(0, 30), st.booleans(), st.integers(1, 3), st.sampled_from(["/", "/x"]))


def _subject(traits: dict[str, Any]) -> Person:
    return agreed(Person(profile_id="shop/subject", traits={name: Trait(value, 1) for name, value in traits.items()}))


def _outcome(result: DecisionResult) -> str:
    # The reason of a fallback speaks of all that were stopped, so it may take another one into account.
    reason = "" if result.fallback else result.reason
    return repr((result.decisions, reason, result.profile, result.exposures, result.changes))


@settings(max_examples=150, deadline=None)
@given(_items, _traits, _requests)
def test_the_same_arguments_decide_the_same(items: dict[str, Any], traits: dict[str, Any], request: Any) -> None:
    first, second = made(POLICY, items), made(POLICY, dict(reversed(items.items())))
    a, b = decide(request, _subject(traits), first, NOW_MS), decide(request, _subject(traits), second, NOW_MS)
    assert repr(a) == repr(b), "and the order of the catalog is nothing"


@settings(max_examples=100, deadline=None)
@given(_items, _traits, _requests)
def test_an_item_that_is_not_eligible_changes_nothing(
    items: dict[str, Any], traits: dict[str, Any], request: Any
) -> None:
    more = {**items, "zz": {"eligibility": "profile.age > 99", "priority": 99, "tags": ["t"], "campaign": "x"}}
    without, with_it = made(POLICY, items), made(POLICY, more)
    assert _outcome(decide(request, _subject(traits), without, NOW_MS)) == _outcome(
        decide(request, _subject(traits), with_it, NOW_MS))


@settings(max_examples=100, deadline=None)
@given(_items, _traits, _requests)
def test_every_candidate_is_accounted_for_and_nothing_is_empty(
    items: dict[str, Any], traits: dict[str, Any], request: Any
) -> None:
    result = decide(request, _subject(traits), made(POLICY, items), NOW_MS)
    for placement in request.placements:
        assert sorted(one.item_id for one in result.candidates if one.placement == placement) == sorted(items)
        assert any(one.placement == placement for one in result.decisions)
    chosen = {(one.placement, one.item_id) for one in result.decisions if not one.fallback}
    assert chosen == {(one.placement, one.item_id) for one in result.candidates if one.outcome == "chosen"}
    assert len({item for _, item in chosen}) == len(chosen), "no item twice in one request"


@settings(max_examples=60, deadline=None)
@given(_items, _traits, st.lists(_requests, min_size=1, max_size=6))
def test_deciding_does_not_change_its_arguments(
    items: dict[str, Any], traits: dict[str, Any], requests: list[Any]
) -> None:
    live = made(POLICY, items)
    profile: Person = _subject(traits)
    for number, request in enumerate(requests):
        before = repr(profile)
        result = decide(replaced(request, request_id=str(number)), profile, live, NOW_MS + number)
        assert repr(profile) == before
        profile = result.profile or profile


def test_without_consent_nothing_is_kept() -> None:
    profile = Person(profile_id="shop/subject")
    result = decide(asked(), profile, made(POLICY, {"a": {}}), NOW_MS)
    assert result.profile is profile
    assert result.candidates == [] and result.reason == "no_consent"
    assert '"given": false' in result.consent


def test_the_audit_proves_which_consent_let_it_pass() -> None:
    result = decide(asked(), agreed(), made(POLICY, {"a": {}}), NOW_MS)
    [proof] = json.loads(result.consent)["purposes"]
    assert (proof["purpose"], proof["given"], proof["why"]) == ("personalization", True, "granted")
    assert (proof["answer"]["at_ms"], proof["answer"]["basis"]) == (1, "consent")


def test_the_audit_proves_the_basis_the_confirmation_and_where_the_evidence_is() -> None:
    live = made(POLICY | {"consent": {"purposes": {"personalization": {
        "bases": ["consent", "legitimate_interest"], "double_opt_in": ["web"], "lasts": "10d"}}}}, {"a": {}})
    yes = ConsentGrant("personalization", True, NOW_MS - 5, "web", 'the "centre"', None, Basis.CONSENT, OptIn.CONFIRMED,
                       "form-7")
    interest = ConsentGrant("personalization", True, NOW_MS - 9, basis=Basis.LEGITIMATE_INTEREST, source="crm")
    no = ConsentGrant("personalization", False, NOW_MS - 1, source="letter")
    for said, why, basis in (([interest, yes], "granted", "consent"), ([interest], "granted", "legitimate_interest"),
                             ([interest, yes, no], "refused", "consent"), ([], "missing", None)):
        profile = Person(profile_id="shop/subject", consent=recorded({}, said, live.policy.purposes, NOW_MS))
        result = decide(asked(), profile, live, NOW_MS)
        [proof] = json.loads(result.consent)["purposes"]
        assert (proof["why"], (proof["answer"] or {}).get("basis")) == (why, basis)
        assert (result.reason == "no_consent") == (why != "granted")
        if yes in said and no not in said:
            assert proof["answer"] == {
                "channel": "web", "granted": True, "basis": "consent", "opt_in": "confirmed", "at_ms": NOW_MS - 5,
                "source": 'the "centre"', "proof": "form-7", "expires_at_ms": NOW_MS - 5 + 10 * 86_400_000}


def test_a_lottery_draws_by_weight_and_says_the_probability() -> None:
    live: Live = made({"rankings": {"draw": {"formula": "candidate.value", "lottery": True}},
                       "placements": {"hero": {"ranking": "draw"}}},
                      {"a": {"attributes": {"value": 3.0}}, "b": {"attributes": {"value": 1.0}}})
    drawn = [decide(asked(f"r{number}"), agreed(), live, NOW_MS).decisions[0] for number in range(2_000)]
    share = sum(one.item_id == "a" for one in drawn) / len(drawn)
    assert 0.72 < share < 0.78
    assert {one.item_id: one.propensity for one in drawn} == {"a": 0.75, "b": 0.25}


def test_a_lottery_says_the_probability_among_what_could_still_be_shown() -> None:
    items = {name: {"attributes": {"value": value}, "tags": tags} for name, value, tags in (
        ("a", 6.0, ["t"]), ("b", 3.0, ["t"]), ("c", 1.0, []), ("unbound", 90.0, []))}
    items["unbound"]["variants"] = {"default": {"content": {"t": "{{ profile.name }}"}}}
    live = made({"rankings": {"draw": {"formula": "candidate.value", "lottery": True}}, "placements": {
        "tiles": {"ranking": "draw", "diversity": [{"per": "tag", "at_most": 1}]}}}, items)
    for number in range(50):
        chosen = decide(asked(f"r{number}", "tiles", max_variants=2), agreed(), live, NOW_MS).decisions
        first = {"a": 0.6, "b": 0.3, "c": 0.1}[chosen[0].item_id]
        # Once one with the tag is shown the other cannot be: c is all that is left.
        second = {"a": 1.0, "b": 1.0, "c": {"a": 6 / 9, "b": 3 / 9}.get(chosen[1].item_id)}[chosen[0].item_id]
        assert [one.propensity for one in chosen] == [first, second]


def test_offers_without_weight_are_drawn_evenly() -> None:
    live = made({"rankings": {"draw": {"formula": "candidate.value", "lottery": True}},
                 "placements": {"hero": {"ranking": "draw"}}},
                {name: {"attributes": {"value": 0.0}} for name in "abcd"})
    drawn = [decide(asked(f"r{number}"), agreed(), live, NOW_MS).decisions[0] for number in range(100)]
    assert {one.item_id for one in drawn} == set("abcd") and {one.propensity for one in drawn} == {0.25}


def test_a_thousand_offers_of_which_twenty_are_on_the_placement_are_twenty_candidates() -> None:
    items = {f"i{number}": {"placements": ["hero" if number % 50 == 0 else "tiles"]} for number in range(1_000)}
    live = made({}, items)
    assert len(live.slots["hero", "web"].candidates) == 20
    assert len(decide(asked(), agreed(), live, NOW_MS).candidates) == 20


def test_what_cannot_be_evaluated_names_what_was_missing_and_what_was_seen() -> None:
    live = made({}, {"a": {"eligibility": "profile.plan == 'pro' && profile.age >= 18"}})
    profile = agreed(Person(profile_id="shop/subject", traits={"plan": Trait("pro", 1)}))
    (audit,) = decide(asked(), profile, live, NOW_MS).candidates
    assert (audit.outcome, audit.clause, audit.values) == ("unknown:profile.age", "profile.age >= 18", {})
    known = agreed(Person(profile_id="shop/subject", traits={"plan": Trait("pro", 1), "age": Trait(7, 1)}))
    (audit,) = decide(asked(), known, live, NOW_MS).candidates
    assert (audit.outcome, audit.clause, audit.values) == ("not_eligible", "profile.age >= 18", {"profile.age": "7"})


def test_a_capped_candidate_tells_the_counter_and_when_there_is_room_again() -> None:
    live = made({"caps": {"c": {"count": "decision", "per": "item", "limit": 1, "window": "1h"}}}, {"a": {}})
    first = decide(asked("r1"), agreed(), live, NOW_MS)
    (audit,) = decide(asked("r2"), first.profile, live, NOW_MS + 5).candidates
    assert (audit.outcome, audit.clause) == ("capped", "at most 1 decision per item in 1h")
    assert audit.values == {"used": "1", "limit": "1", "counter": "c|a", "free_at_ms": str(NOW_MS + 3_600_000)}


def test_a_later_catalog_version_is_the_one_named() -> None:
    live = made({}, {"a": {}}, version=7)
    assert arrange("shop", live.policy, live.items.values(), 8).catalog_version == 8

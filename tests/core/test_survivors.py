"""Mutants that survived `make mutants` once: each would be noticed here."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline.agents._identity import take
from pipeline.agents._undo import let_go
from pipeline.agents.inbox import handle
from pipeline.core import caps, links, rotation, statements, windows
from pipeline.core.catalog import ItemCompiler
from pipeline.core.cel.reference import Reference, Refused
from pipeline.core.decide import decide
from pipeline.core.definitions import Window
from pipeline.core.hashing import digest
from pipeline.core.model import Account, Identifier, IdentityEvent, IdentityKind, InboxRecord
from pipeline.core.problems import DefinitionError
from pipeline.core.profile import Counter, Given, Link, Member, Profile, Rotation, Trait
from pipeline.core.release import second_opinion
from pipeline.core.release.limits import describe
from pipeline.core.rules import compile_rule, passes
from pipeline.core.words import Basis
from pipeline.flow import Accept
from pipeline.runtime.fates import LaneContext

from .build import SUBJECT, agreed, asked, made
from .test_tcf import WRITTEN_MS
from .test_tcf import encode as tc_string

NOW_MS = 1_790_000_000_000


def test_of_reservations_that_ran_out_the_newest_are_remembered() -> None:
    held = {f"d{number}/a/hero/web": NOW_MS - number for number in range(caps.LATE_MAX + 5)}
    kept = caps.reserved(Counter(held=held), "new/a/hero/web", NOW_MS + 1_000, NOW_MS).held
    assert set(kept) == {"new/a/hero/web", *(f"d{number}/a/hero/web" for number in range(caps.LATE_MAX))}


@pytest.mark.parametrize("priority", [2**63, -(2**63) - 1, True, 1.5])
def test_a_priority_is_a_whole_number_of_64_bits(priority: object) -> None:
    with pytest.raises(DefinitionError):
        ItemCompiler(made().policy).compile(
            "a", f'{{"kind": "offer", "order": ["d"], "priority": {str(priority).lower()}, "variants": {{"d": {{}}}}}}')


def test_a_problem_of_an_item_says_at_which_attribute() -> None:
    body = '{"kind": "offer", "order": ["d"], "variants": {"d": {}}, "attributes": {"nothing": 1, "value": "x"}}'
    with pytest.raises(DefinitionError) as caught:
        ItemCompiler(made().policy).compile("a", body)
    assert {one.path for one in caught.value.problems} == {
        ("items", "a", "attributes", "nothing"), ("items", "a", "attributes", "value")}


def test_a_list_may_hold_what_is_known_of_the_subject() -> None:
    types = {"profile.plan": "string", "profile.country": "string"}
    rule = compile_rule("profile.plan in [profile.country, 'free']", types)
    assert passes(rule, {"profile.plan": "DE", "profile.country": "DE"}, {})
    assert passes(rule, {"profile.plan": "free", "profile.country": "DE"}, {})
    assert not passes(rule, {"profile.plan": "plus", "profile.country": "DE"}, {})


def test_what_the_fallback_chain_shows_was_not_ranked() -> None:
    placements = {"hero": {"fallback": {"item": "welcome", "chain": ["a"]}}}
    live = made({"placements": placements}, {"a": {"placements": ["tiles"]}})
    (shown,) = decide(asked(), agreed(), live, NOW_MS).decisions
    assert (shown.item_id, shown.score, shown.propensity) == ("a", 0.0, 1.0)


def test_an_audit_names_the_item_and_what_kept_it_back() -> None:
    quiet = made({"channels": {"web": {"do_not_contact": "profile.age > 3"}}}, {"a": {}})
    profile = agreed(Profile(profile_id=SUBJECT, traits={"age": Trait(4)}))
    (one,) = decide(asked(), profile, quiet, NOW_MS).candidates
    assert (one.item_id, one.outcome) == ("a", "do_not_contact")
    held = made({"holdouts": {"none": {"share": 100}}}, {"a": {}})
    (one,) = [audit for audit in decide(asked(), agreed(), held, NOW_MS).candidates if audit.outcome == "held_out"]
    assert one.item_id == "a" and list(one.values) == ["share"]


def test_who_was_erased_is_forgotten_in_what_was_given_up_too() -> None:
    gone = Identifier("email", "gone")
    evidence = Link("email", links.LINKED, "e", 1, 1)
    inner = Profile(profile_id="shop/b", links={"gone": evidence, "c": evidence})
    state = Profile(profile_id="shop/b", alias_of="shop/a", given=Given("shop/a", "e", 1, inner))
    after = links.forgotten(state, gone, "shop/gone")
    assert after.given is not None and after.given.to == "shop/a"
    assert set(after.given.state.links) == {"c"}
    to_her = replace(state, given=Given("shop/gone", "e", 1, inner))
    assert links.forgotten(to_her, gone, "shop/gone").given is None


@pytest.mark.parametrize(("window", "said"), [
    ({"kind": "calendar", "unit": "week", "count": 2}, "at most 3 click per item per calendar 2 weeks (UTC)"),
    ({"kind": "calendar", "unit": "day", "count": 1, "local": True},
     "at most 3 click per item per calendar day (subject zone)"),
    ({"kind": "calendar", "unit": "day"}, "at most 3 click per item per calendar day (UTC)"),
    ({"kind": "rolling", "length_ms": 5_400_000}, "at most 3 click per item in 90m"),
    ({"kind": "session"}, "at most 3 click per item in a session"),
    ({"kind": "lifetime"}, "at most 3 click per item ever"),
])
def test_a_cap_in_words(window: dict[str, Any], said: str) -> None:
    assert describe({"limit": 3, "counted": "click", "scope": "item", "window": window}) == said


def test_the_term_of_a_formula_is_called_score() -> None:
    live = made({"rankings": {"r": {"formula": "candidate.value * 2.0"}}, "placements": {"hero": {"ranking": "r"}}},
                {"a": {"attributes": {"value": 3.0}}})
    (one,) = decide(asked(), agreed(), live, NOW_MS).candidates
    assert one.terms == {"candidate.value": 3.0, "score": 6.0}


def test_what_the_cel_library_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Reference, _text: str) -> None:
        raise Refused("no such overload")

    monkeypatch.setattr(Reference, "check", refuse)
    (problem,) = second_opinion.disagreements({"1 + 1 == 2": ("segments", "s", "rule")}, {})
    assert problem.path == ("segments", "s", "rule") and "no such overload" in problem.message


def test_what_is_given_up_by_a_newer_name_says_the_newer_key() -> None:
    state = Profile(profile_id="shop/old", rotation=Rotation(taken=("older",), first="shop/older", at_ms=7))
    newer = rotation.named(state, Identifier("email", "new", ["old"]))
    assert newer == Rotation("shop/new", (), ("older",), "shop/older", 7)
    assert rotation.named(state, Identifier("email", "old")) == replace(newer, successor="")
    assert rotation.named(replace(state, rotation=None), Identifier("email", "old")) is None


def test_a_shared_device_that_is_let_go_keeps_what_is_known_of_its_key() -> None:
    live = made({"identity": {}}, {"a": {}})
    turned = Rotation(taken=("older",), first="shop/older")
    state = Profile(profile_id="shop/d1", alias_of="shop/u1", rotation=turned, mentions={"shop/u9": 1})
    outcome = let_go("e", "shop/d1", Identifier("device", "d1"), NOW_MS, "", state,
                     LaneContext(lambda _tenant: live, NOW_MS))
    assert isinstance(outcome, Accept)
    assert (outcome.state.alias_of, outcome.state.rotation) == (None, turned)
    assert outcome.state.mentions.keys() >= {"shop/u9"}


def test_what_time_alone_changes_is_computed_with_the_account() -> None:
    rule = "account.tier == 'gold' && now > timestamp('2020-01-01T00:00:00Z')"
    live = made({"segments": {"gold": {"rule": rule}}}, {"a": {}})
    known = replace(live, accounts={"shop/@acme": Account("shop/@acme", 1, NOW_MS, {"tier": "gold"})})
    members = {"shop/@acme": Member((), NOW_MS)}
    profile = agreed(Profile(profile_id=SUBJECT, accounts=members, segments_due_ms=NOW_MS))
    outcome = handle(InboxRecord("due", SUBJECT, SUBJECT, due_ms=NOW_MS), profile,
                     LaneContext(lambda _tenant: known, NOW_MS))
    assert isinstance(outcome, Accept) and list(outcome.state.segments) == ["gold"]


@pytest.mark.parametrize(("zone", "day", "start"), [
    ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00"), ("Asia/Beirut", "2022-03-27", "2022-03-26T22:00:00"),
    ("America/Havana", "2024-03-10", "2024-03-10T05:00:00"), ("Africa/Cairo", "2023-04-28", "2023-04-27T22:00:00"),
])
def test_a_day_whose_midnight_is_skipped_begins_with_the_first_moment_there_is(zone: str, day: str, start: str) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=ZoneInfo(zone))
    window = Window("calendar", unit="day", local=True)
    begins, _ = windows.bounds(window, windows.millis(noon.astimezone(UTC)), ZoneInfo(zone))
    assert windows.moment(begins).replace(tzinfo=None).isoformat() == start


def test_every_statement_of_a_tc_string_says_which_string() -> None:
    text = tc_string(interest={1}, interested={8}, purposes={1}, consented={8}, disclosed={8})
    purposes = {"purposes": {"p": {"bases": ["consent", "legitimate_interest"]}},
                "tcf": {"vendor": 8, "purposes": {"p": [1]}}, "tracking": None}
    policy = made({"consent": purposes, "channels": {"web": {"purposes": []}, "email": {"purposes": []}}}).policy
    assert policy.tcf is not None
    said = statements.of_tc_string(text, policy.tcf, policy.purposes, WRITTEN_MS)
    assert {grant.basis for grant in said} == {Basis.CONSENT, Basis.LEGITIMATE_INTEREST}
    assert {grant.proof for grant in said} == {f"tcf:{digest(text)}"}


def test_a_logout_by_a_newer_name_leaves_the_key_that_it_came_to() -> None:
    live = made({"identity": {}}, {"a": {}})
    event = IdentityEvent("e", "shop/new", IdentityKind.LOGOUT, NOW_MS, subject_type="device", earlier=["old"])
    state = Profile(profile_id="shop/old", alias_of="shop/u1")
    outcome = take(event, "shop/old", state, LaneContext(lambda _tenant: live, NOW_MS))
    assert isinstance(outcome, Accept) and outcome.state.profile_id == "shop/old"

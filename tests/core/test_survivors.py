"""Mutants that survived `make mutants` once: each would be noticed here."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline.agents import _rotation, _router
from pipeline.agents._apply import apply_erasure
from pipeline.agents._identity import take
from pipeline.agents._undo import ask_back, let_go, revive_redirect
from pipeline.agents.inbox import handle
from pipeline.codecs.checks import check_inbox
from pipeline.core import learn, subject
from pipeline.core.consent import statements
from pipeline.core.decide import caps
from pipeline.core.decide.decision import decide
from pipeline.core.hashing import digest
from pipeline.core.identity import links, rotation
from pipeline.core.model.moments import millis, moment
from pipeline.core.model.problems import DefinitionError
from pipeline.core.model.records import (
    Account,
    DecisionRequest,
    ErasureAction,
    ErasureRequest,
    FeedbackEvent,
    FeedbackKind,
    Identifier,
    IdentityEvent,
    IdentityKind,
    InboxRecord,
    LinkKind,
    LinkStep,
)
from pipeline.core.model.values import replaced
from pipeline.core.model.windows import Calendar, bounds, window_of
from pipeline.core.model.words import Basis
from pipeline.core.release import second_opinion
from pipeline.core.release.catalog import ItemCompiler
from pipeline.core.release.limits import describe
from pipeline.core.rules import signals
from pipeline.core.rules.cel.reference import Reference, Refused
from pipeline.core.rules.cel.syntax import RuleError
from pipeline.core.rules.rule import compile_rule, passes
from pipeline.core.rules.templates import compile_template
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.links import ASKED_BACK, CLAIMED, GIVEN_UP, LINKED, Link
from pipeline.core.sections.memberships import Member
from pipeline.core.sections.section import changed
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import SEGMENTS_TIMER, Given, Person, Redirect, Rotation
from pipeline.flow import Accept, Forward, Reason
from pipeline.runtime.fates import LaneContext
from topics.catalog import ACCOUNTS, PROFILE_INBOX

from .build import SUBJECT, agreed, asked, made
from .test_tcf import WRITTEN_MS
from .test_tcf import encode as tc_string

NOW_MS = 1_790_000_000_000


def test_of_reservations_that_ran_out_the_newest_are_remembered() -> None:
    held = {f"d{number}/a/hero/web/1": NOW_MS - number for number in range(caps.LATE_MAX + 5)}
    kept = caps.reserved(Counter(held=held), "new/a/hero/web/1", NOW_MS + 1_000, NOW_MS).held
    assert set(kept) == {"new/a/hero/web/1", *(f"d{number}/a/hero/web/1" for number in range(caps.LATE_MAX))}


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
    profile = agreed(Person(profile_id=SUBJECT, traits={"age": Trait(4)}))
    (one,) = decide(asked(), profile, quiet, NOW_MS).candidates
    assert (one.item_id, one.outcome) == ("a", "do_not_contact")
    held = made({"holdouts": {"none": {"share": 100}}}, {"a": {}})
    (one,) = [audit for audit in decide(asked(), agreed(), held, NOW_MS).candidates if audit.outcome == "held_out"]
    assert one.item_id == "a" and list(one.values) == ["share"]


def test_who_was_erased_is_forgotten_in_what_was_given_up_too() -> None:
    gone = Identifier("email", "gone")
    evidence = Link("email", LINKED, "e", 1, 1)
    inner = Person(profile_id="shop/b", links={"gone": evidence, "c": evidence})
    state = Redirect(profile_id="shop/b", to="shop/a", given=Given("shop/a", "e", 1, inner))
    after = links.forgotten(state, gone, "shop/gone")
    assert after.given is not None and after.given.to == "shop/a"
    assert set(after.given.state.links) == {"c"}
    to_her = changed(state, given=Given("shop/gone", "e", 1, inner))
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
    assert describe({"limit": 3, "counted": "click", "scope": "item"}, window_of(window)) == said


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
    state = Person(profile_id="shop/old", rotation=Rotation(taken=("older",), first="shop/older", at_ms=7))
    newer = rotation.named(state, Identifier("email", "new", ["old"]))
    assert newer == Rotation("shop/new", (), ("older",), "shop/older", 7)
    assert rotation.named(state, Identifier("email", "old")) == replaced(newer, successor="")
    assert rotation.named(changed(state, rotation=None), Identifier("email", "old")) is None


def test_a_shared_device_that_is_let_go_keeps_what_is_known_of_its_key() -> None:
    live = made({"identity": {}}, {"a": {}})
    turned = Rotation(taken=("older",), first="shop/older")
    state = Redirect(profile_id="shop/d1", to="shop/u1", rotation=turned, mentions={"shop/u9": 1})
    outcome = let_go("e", "shop/d1", Identifier("device", "d1"), NOW_MS, "", state,
                     LaneContext(lambda _tenant: live, NOW_MS))
    assert isinstance(outcome, Accept)
    assert isinstance(outcome.state, Person) and outcome.state.rotation == turned
    assert outcome.state.mentions.keys() >= {"shop/u9"}


def test_what_time_alone_changes_is_computed_with_the_account() -> None:
    rule = "account.tier == 'gold' && now > timestamp('2020-01-01T00:00:00Z')"
    live = made({"segments": {"gold": {"rule": rule}}}, {"a": {}})
    known = replace(live, accounts={"shop/@acme": Account("shop/@acme", 1, NOW_MS, {"tier": "gold"})})
    members = {"shop/@acme": Member((), NOW_MS)}
    profile = agreed(Person(profile_id=SUBJECT, accounts=members, timers={SEGMENTS_TIMER: NOW_MS}))
    outcome = handle(InboxRecord("due", SUBJECT, SUBJECT, due_ms=NOW_MS), profile,
                     LaneContext(lambda _tenant: known, NOW_MS))
    assert isinstance(outcome, Accept) and list(outcome.state.segments) == ["gold"]


@pytest.mark.parametrize(("zone", "day", "start"), [
    ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00"), ("Asia/Beirut", "2022-03-27", "2022-03-26T22:00:00"),
    ("America/Havana", "2024-03-10", "2024-03-10T05:00:00"), ("Africa/Cairo", "2023-04-28", "2023-04-27T22:00:00"),
])
def test_a_day_whose_midnight_is_skipped_begins_with_the_first_moment_there_is(zone: str, day: str, start: str) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=ZoneInfo(zone))
    window = Calendar(unit="day", local=True)
    begins, _ = bounds(window, millis(noon.astimezone(UTC)), ZoneInfo(zone))
    assert moment(begins).replace(tzinfo=None).isoformat() == start


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
    state = Redirect(profile_id="shop/old", to="shop/u1")
    outcome = take(event, "shop/old", state, LaneContext(lambda _tenant: live, NOW_MS))
    assert isinstance(outcome, Accept) and outcome.state.profile_id == "shop/old"


def test_who_is_erased_while_she_follows_somebody_tells_him_and_has_the_rest_erased() -> None:
    other = Link("email", LINKED, "e", 1, 1)
    state = Redirect(profile_id="shop/d1", to="shop/u1", links={"e1": other})
    request = ErasureRequest("job", "shop/d1", ErasureAction.ERASE, NOW_MS)
    outcome = apply_erasure(request, "shop/d1", state, LaneContext(lambda _tenant: None, NOW_MS))
    assert isinstance(outcome, Accept)
    told = {emit.key for emit in outcome.emits if emit.topic is PROFILE_INBOX}
    assert told == {"shop/e1", "shop/u1"}


def test_an_account_that_came_over_alone_is_published_as_it_is() -> None:
    asked = subject.Account(profile_id="shop/@new", rotation=Rotation(taking=("@old",)))
    given = subject.Account(profile_id="shop/@old", traits={"tier": Trait("gold")}, version=3)
    over = LinkStep(LinkKind.HAND_OVER, Identifier("", "@old"), "shop/@new", NOW_MS)
    event = InboxRecord("e", "shop/@new", "shop/@old", merge=given, link=over)
    outcome = _rotation._taken_over(event, over, given, asked, LaneContext(lambda _tenant: None, NOW_MS))
    assert isinstance(outcome, Accept) and outcome.reason is Reason.TAKEN_OVER
    told = {emit.key: emit.value for emit in outcome.emits if emit.topic is ACCOUNTS}
    account = told["shop/@new"]
    assert isinstance(account, Account) and account.traits == {"tier": "gold"}


def test_what_comes_back_to_who_follows_somebody_else_by_now_goes_on_under_its_own_event() -> None:
    redirect = Redirect(profile_id="shop/d1", to="shop/u2", alias_event="later",
                   given=Given("shop/u1", "first", 1, Person(profile_id="shop/d1")))
    step = LinkStep(LinkKind.REVIVE, Identifier("device", "d1"), "shop/u1", NOW_MS, cause="first")
    event = InboxRecord("undo", "shop/d1", "shop/u1", merge=Person(profile_id="shop/d1"), link=step)
    nobody = LaneContext(lambda _tenant: None, NOW_MS)
    outcome = revive_redirect(event, step, Person(profile_id="shop/d1"), redirect, nobody)
    assert isinstance(outcome, Accept)
    [emit] = outcome.emits
    assert isinstance(emit.value, InboxRecord)
    assert (emit.key, emit.value.event_id, emit.value.from_subject) == ("shop/u2", "undo", "shop/d1")


def test_what_an_alias_passes_on_joined_what_it_gave_up_when_it_gave_up() -> None:
    kept = Given("shop/u1", "alias", 77, Person(profile_id="shop/d1"))
    redirect = Redirect(profile_id="shop/d1", to="shop/u1", alias_event="alias", alias_at=1, given=kept)
    given = Person(profile_id="shop/e1", traits={"plan": Trait("free")}, alias_at=2)
    outcome = _router._pass_on(InboxRecord("e", "shop/d1", "shop/e1", merge=given), given, redirect)
    assert isinstance(outcome, Accept) and outcome.state.given is not None
    assert outcome.state.given.state.merged["shop/e1"].at_ms == 77


def test_a_step_with_a_time_that_is_none_is_said_to_be_the_steps() -> None:
    step = LinkStep(LinkKind.CLAIM, Identifier("email", "e"), "shop/u1", -5)
    said = check_inbox(InboxRecord("e", "shop/e", "shop/u1", link=step))
    assert said is not None and said.startswith("link.at_ms")


def test_a_request_that_is_none_has_no_consent_to_show() -> None:
    result = decide(asked(placements="nowhere"), agreed(), made({}, {"a": {}}), NOW_MS)
    assert (result.reason, result.consent, result.error) == ("invalid_request", "", "unknown_placement:nowhere")


def test_an_event_tidies_counters_by_the_time_at_which_it_is_taken_up() -> None:
    live = made({"caps": {"clicked": {"count": "click", "per": "item", "limit": 1, "window": "1d"}}}, {"a": {}})
    old = {f"clicked|gone{number}": Counter((NOW_MS - 9 * 86_400_000,), 1) for number in range(600)}
    profile = changed(agreed(), counters=old)
    learnt = learn.feedback(profile, FeedbackEvent("e", SUBJECT, FeedbackKind.CLICK, NOW_MS, item_id="a"), live, NOW_MS)
    assert learnt is not None and list(learnt[0].counters) == ["clicked|a"]


def test_places_are_taken_for_what_a_claimed_identifier_brings() -> None:
    after = links.reserved(Person(profile_id="shop/u1"), [Identifier("email", "e1")], "d1", "e", 5, 9, "web")
    assert after.links == {"e1": Link("email", CLAIMED, "e", 5, 9, "web", "with:d1")}


@pytest.mark.parametrize("part", ["item", "kind", "tag", "campaign", "placement", "channel"])
def test_whatever_a_cap_is_for_must_be_there(part: str) -> None:
    known = {"item": ["a"], "kind": ["offer"], "tag": ["sale"], "campaign": ["spring"], "placement": ["hero"],
             "channel": ["web"]}
    items = {"a": {"tags": ["sale"], "campaign": "spring"}}

    def cap(**reach: Any) -> dict[str, Any]:
        return {"caps": {"c": {"count": "decision", "per": "all", "limit": 1, "window": "1d", "for": reach}}}

    assert decide(asked(), agreed(), made(cap(**{part: known[part]}), items), NOW_MS).reason == "decided"
    if part in ("placement", "channel"):
        with pytest.raises(DefinitionError, match="nowhere"):
            made(cap(**{part: ["nowhere"]}), items)


@pytest.mark.parametrize(("written", "event", "meant"), [
    ({"channel": ["web"]}, {"channel": "web"}, True), ({"channel": ["web"]}, {"channel": "app"}, False),
    ({"placement": ["hero"]}, {"placement": "hero"}, True), ({"placement": ["hero"]}, {}, False),
    ({"item": ["a"]}, {"item_id": "a"}, True), ({"item": ["a"]}, {"item_id": "b"}, False),
    ({"name": ["/x"]}, {"name": "/x"}, True), ({"name": ["/x"]}, {"name": "/y"}, False),
])
def test_a_signal_is_about_what_it_names(written: dict[str, Any], event: dict[str, Any], meant: bool) -> None:
    live = made({"signals": {"s": {"count": {"event": ["click"], **written}}}}, {"a": {}, "b": {}})
    (signal,) = live.policy.signals
    happened = FeedbackEvent("e", SUBJECT, FeedbackKind.CLICK, NOW_MS, **event)
    assert signals.matches(signal.steps[0], happened, ()) is meant


def test_a_gap_with_nothing_in_it_is_said_where_it_is() -> None:
    with pytest.raises(RuleError) as caught:
        compile_template("Hi {{ }}", {})
    assert caught.value.at == len("Hi {{")


def test_an_alias_that_is_asked_back_says_so_at_its_own_key() -> None:
    own = Link("email", GIVEN_UP, "alias", 1, 1)
    state = Redirect(profile_id="shop/e1", to="shop/u1", alias_event="alias", links={"e1": own})
    event = IdentityEvent("undo", "shop/e1", IdentityKind.UNMERGE, NOW_MS)
    outcome = ask_back(event, Identifier("email", "e1"), state)
    assert isinstance(outcome, Accept) and outcome.state.links["e1"].outcome == ASKED_BACK


@pytest.mark.parametrize(
    ("value", "fits"), [("1e999", False), ("-1e999", False), ("NaN", False), ("1.5", True), ("7", True)])
def test_an_attribute_is_a_finite_number(value: str, fits: bool) -> None:
    body = f'{{"kind": "offer", "order": ["d"], "variants": {{"d": {{}}}}, "attributes": {{"value": {value}}}}}'
    compiler = ItemCompiler(made().policy)
    if fits:
        assert compiler.compile("a", body.replace("7", "7.0"))
    else:
        with pytest.raises(DefinitionError):
            compiler.compile("a", body)


def test_nothing_divided_by_nothing_is_no_number() -> None:
    types = {"profile.a": "double", "profile.b": "double"}
    for a, b, said in ((0.0, 0.0, "profile.a / profile.b != profile.a / profile.b"),
                       (1.0, 0.0, "profile.a / profile.b > 1e300"), (-1.0, 0.0, "profile.a / profile.b < -1e300")):
        assert passes(compile_rule(said, types), {"profile.a": a, "profile.b": b}, {})


def test_an_audit_says_what_was_shown_instead() -> None:
    items = {"a": {"priority": 5, "instead": "b", "variants": {"default": {"content": {"t": "{{ profile.name }}"}}}},
             "b": {"placements": ["tiles"]}}
    audits = decide(asked(), agreed(), made({}, items), NOW_MS).candidates
    [unbound] = [one for one in audits if one.outcome == "unbound"]
    assert (unbound.item_id, unbound.stage, unbound.values["instead"]) == ("a", "binding", '"b"')


def test_a_problem_says_at_which_key_it_is() -> None:
    account = {"count": "decision", "per": "all", "limit": 1, "of": "account",
               "window": {"calendar": "day", "zone": "subject"}}
    stages = [{"name": "one", "rule": "true"}, {"name": "one", "rule": "true"}]
    with pytest.raises(DefinitionError) as caught:
        made({"caps": {"c": account}, "lifecycle": {"stages": stages}}, {"a": {}})
    assert {one.path for one in caught.value.problems} == {("caps", "c", "window"), ("lifecycle", "stages", 1, "name")}


@pytest.mark.parametrize(("earlier", "reason"), [(["c"], Reason.FORWARDED), ([], Reason.DECIDED)])
def test_a_retry_by_way_of_an_earlier_hash_goes_where_its_first_try_went(earlier: list[str], reason: Reason) -> None:
    """Found by `make sim SEED=7698`: `c` was an alias when it sent r1 on; then it was undone, and its key changed."""
    state = Person(profile_id="shop/c", forwarded={"r1": "shop/e"})
    request = DecisionRequest("r1", "shop/C", "web", ["hero"], earlier=["c"])
    record = InboxRecord("r1", "shop/c", "shop/c", request=request, earlier=earlier)
    outcome = handle(record, state, LaneContext(lambda _tenant: None, NOW_MS))
    assert outcome.reason is reason
    if isinstance(outcome, Forward):
        assert outcome.emit.key == "shop/e" and outcome.emit.value.earlier == []  # type: ignore[attr-defined]

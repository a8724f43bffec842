"""What becomes of each record: retries, repeats, aliases, merges, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.agents import catalog, feedback, identity, inbox, policy, requests
from pipeline.core.decide.live import Live
from pipeline.core.model.records import (
    CatalogItem,
    ConsentGrant,
    DecisionReply,
    FeedbackEvent,
    FeedbackKind,
    IdentityEvent,
    IdentityKind,
    PolicyRelease,
)
from pipeline.core.sections.retries import REQUESTS_MAX
from pipeline.core.sections.seen import EVENTS_MAX
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person, Redirect, carrying_replies
from pipeline.flow import EVERYTHING_KNOWN, Accept, DeadLetter, Drop, Emit, Fate, Forward, Outcome, Reason
from tests.support.beside import Beside
from topics.catalog import DECISION_AUDIT, DECISION_REPLIES, DECISIONS, SEGMENT_CHANGES

from .build import SUBJECT, agreed, asked, made
from .small_world import SmallWorld

NOW_MS = 1_790_000_000_000
LIVE = made({"segments": {"adults": {"rule": "profile.age >= 18"}},
             "caps": {"c": {"count": "decision", "per": "item", "limit": 2, "window": "7d"}}}, {"a": {}})


@dataclass
class Context:
    now_ms: int = NOW_MS
    release: Live | None = LIVE
    kept: Mapping[str, bytes] = field(default_factory=dict)
    known_ms: int = EVERYTHING_KNOWN

    def live(self, tenant: str) -> Live | None:
        return self.release

    def reported_ms(self) -> int:
        return self.known_ms

    def beside(self, name: str) -> bytes | None:
        return self.kept.get(name)


def accepted(outcome: Outcome) -> Accept:
    assert isinstance(outcome, Accept), outcome
    return outcome


def replies(emits: tuple[Emit, ...]) -> list[DecisionReply]:
    return [emit.value for emit in emits if emit.topic is DECISION_REPLIES]  # type: ignore[misc]


def traits(event_id: str, at_ms: int = NOW_MS, subject: str = SUBJECT, **values: Any) -> IdentityEvent:
    return IdentityEvent(event_id, subject, IdentityKind.TRAITS, at_ms, values)


def alias(event_id: str, given_up: str, winner: str) -> IdentityEvent:
    return IdentityEvent(event_id, given_up, IdentityKind.ALIAS, NOW_MS, alias_of=winner)


def test_a_decision_is_published_audited_and_answered() -> None:
    done = accepted(requests.handle(asked("r", reply_partition=5, digest="d"), agreed(), Context()))
    assert done.reason is Reason.DECIDED
    assert [emit.topic for emit in done.emits] == [DECISION_REPLIES, DECISIONS, DECISION_AUDIT]
    reply, decision, audit = (emit.value for emit in done.emits)
    assert decision.decision_id == audit.decision_id == reply.decision_id  # type: ignore[attr-defined]
    assert done.emits[0].partition == 5 and done.emits[0].key == "r"
    # What the decision read of the profile: the consent that the placement asks for, and nothing else.
    assert audit.profile_before == agreed(None, "personalization")  # type: ignore[attr-defined]


def test_nobody_waiting_means_no_reply() -> None:
    done = accepted(requests.handle(asked("r"), agreed(), Context()))
    assert [emit.topic for emit in done.emits] == [DECISIONS, DECISION_AUDIT]


def test_a_retry_gets_the_remembered_answer_and_nothing_is_counted_again() -> None:
    request = asked("r", reply_partition=0, digest="d")
    first = accepted(requests.handle(request, agreed(), Context()))
    again = requests.handle(request, first.state, Context(NOW_MS + 5, kept=first.beside or {}))
    assert isinstance(again, Drop) and again.reason is Reason.REPEATED_REQUEST
    assert replies(again.emits) == replies(first.emits)


def test_another_request_under_a_used_id_is_an_error() -> None:
    first = accepted(requests.handle(asked("r", reply_partition=0, digest="d"), agreed(), Context()))
    other = requests.handle(asked("r", reply_partition=0, digest="other"), first.state, Context())
    assert isinstance(other, Drop)
    (reply,) = replies(other.emits)
    assert reply.error == "request_id_reused" and reply.decisions == []


def test_the_audit_leaves_out_the_memory_of_earlier_requests() -> None:
    first = accepted(requests.handle(asked("r1"), agreed(), Context()))
    second = accepted(requests.handle(asked("r2"), first.state, Context()))
    assert second.emits[1].value.profile_before.requests == {}  # type: ignore[attr-defined]
    assert set(second.state.requests) == {"r1", "r2"}


def test_memory_is_bounded_by_number_and_by_time() -> None:
    profile = agreed()
    for number in range(REQUESTS_MAX + 5):
        profile = accepted(requests.handle(asked(f"r{number}"), profile, Context(NOW_MS + number))).state
    assert len(profile.requests) == REQUESTS_MAX and "r4" not in profile.requests
    later = accepted(requests.handle(asked("late"), profile, Context(NOW_MS + 700_000))).state
    assert list(later.requests) == ["late"]
    for number in range(EVENTS_MAX + 5):
        event = FeedbackEvent(f"f{number}", SUBJECT, FeedbackKind.VIEW, NOW_MS + number, item_id="a")
        profile = accepted(feedback.handle(event, profile, Context(NOW_MS + 10_000))).state
    assert len(profile.event_ids) == EVENTS_MAX


def test_a_profile_stays_small_whatever_its_producers_send() -> None:
    live = made({"caps": {"c": {"count": "click", "per": "item", "limit": 1, "window": "1h"}}}, {"a": {}})
    profile = agreed()
    for number in range(700):
        event = FeedbackEvent(f"f{number}", SUBJECT, FeedbackKind.CLICK, NOW_MS + number * 60_000,
                              item_id=f"i{number}")
        profile = accepted(feedback.handle(event, profile, Context(NOW_MS + number * 60_000, live))).state
        event_of_all = IdentityEvent(f"t{number}", SUBJECT, IdentityKind.TRAITS, NOW_MS + number, {f"t{number}": 1},
                                     [ConsentGrant(f"p{number}", True, NOW_MS + number)])
        profile = accepted(identity.handle(event_of_all, profile, Context(NOW_MS + number * 60_000, live))).state
    assert len(profile.counters) <= 512
    assert (len(profile.traits), len(profile.consent)) == (256, 128)


def test_what_can_still_stop_something_is_not_forgotten() -> None:
    live = made({"caps": {"c": {"count": "click", "per": "item", "limit": 1, "window": "lifetime"}}}, {"i0": {}})
    profile = agreed()
    for number in range(600):
        event = FeedbackEvent(f"f{number}", SUBJECT, FeedbackKind.CLICK, NOW_MS, item_id=f"i{number}")
        profile = accepted(feedback.handle(event, profile, Context(NOW_MS, live))).state
    done = accepted(requests.handle(asked("r"), profile, Context(NOW_MS, live)))
    assert done.emits[0].value.reason == "capped"  # type: ignore[attr-defined]


def test_without_a_policy_the_answer_says_so() -> None:
    done = accepted(requests.handle(asked("r", reply_partition=0), None, Context(release=None)))
    (reply,) = replies(done.emits)
    assert (reply.fallback, reply.reason, reply.decisions) == (True, "no_policy", [])


def test_a_wrong_request_is_answered_with_what_is_wrong() -> None:
    wrong = requests.handle(asked("r", "nowhere", reply_partition=0), agreed(), Context())
    assert isinstance(wrong, Drop) and replies(wrong.emits)[0].error == "unknown_placement:nowhere"


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_the_newest_trait_wins_in_whatever_order_events_come(order: tuple[str, str]) -> None:
    events = {"old": traits("old", NOW_MS - 10, plan="free"), "new": traits("new", NOW_MS - 5, plan="pro")}
    profile = None
    for name in order:
        profile = accepted(identity.handle(events[name], profile, Context())).state
    assert profile is not None and profile.traits["plan"] == Trait("pro", NOW_MS - 5)


def test_a_clock_that_runs_ahead_does_not_win_for_ever() -> None:
    ahead = accepted(identity.handle(traits("e1", NOW_MS + 10**9, plan="wrong"), None, Context())).state
    after = accepted(identity.handle(traits("e2", NOW_MS + 5, plan="right"), ahead, Context(NOW_MS + 10))).state
    assert after.traits["plan"].value == "right"


def test_a_repeated_event_is_dropped() -> None:
    first = accepted(feedback.handle(FeedbackEvent("f", SUBJECT, FeedbackKind.VIEW, NOW_MS), agreed(), Context()))
    again = feedback.handle(FeedbackEvent("f", SUBJECT, FeedbackKind.VIEW, NOW_MS), first.state, Context())
    assert again == Drop(Reason.DUPLICATE_EVENT)
    once = accepted(identity.handle(traits("e", age=3), None, Context()))
    assert identity.handle(traits("e", age=3), once.state, Context()) == Drop(Reason.DUPLICATE_EVENT)


def test_behaviour_without_consent_is_not_learnt() -> None:
    event = FeedbackEvent("f", SUBJECT, FeedbackKind.VIEW, NOW_MS, item_id="a")
    assert feedback.handle(event, None, Context()) == Drop(Reason.NO_CONSENT)


def test_a_segment_that_is_entered_is_told_once() -> None:
    entered = accepted(identity.handle(traits("e1", age=20), None, Context()))
    (emit,) = entered.emits
    assert emit.topic is SEGMENT_CHANGES and emit.value.segment == "adults"  # type: ignore[attr-defined]
    assert emit.value.cause == "e1" and emit.value.entered  # type: ignore[attr-defined]
    assert accepted(identity.handle(traits("e2", age=21), entered.state, Context())).emits == ()
    left = accepted(identity.handle(traits("e3", NOW_MS + 1, age=9), entered.state, Context(NOW_MS + 1)))
    assert [emit.value.entered for emit in left.emits] == [False]  # type: ignore[attr-defined]


def merge_into(winner: Person | None, given_up: Person | None) -> tuple[Person, Person]:
    """The redirect and the winner after `shop/device` was aliased to `shop/person`."""
    world = SmallWorld(NOW_MS, LIVE)
    world.states = {state.profile_id: state for state in (winner, given_up) if state is not None}
    world.send(alias("x", "shop/device", "shop/person"))
    return world.states["shop/device"], world.states["shop/person"]


def decided(profile_id: str, count: int) -> Person:
    profile, beside = agreed(Person(profile_id=profile_id)), Beside()
    for number in range(count):
        request = asked(f"{profile_id}-{number}", digest="d")
        outcome = accepted(requests.handle(request, profile, Context(NOW_MS - 100 + number)))
        beside.put("", outcome)
        profile = outcome.state
    return carrying_replies(profile, beside)


@pytest.mark.parametrize(
    ("device", "person", "left"), [(0, 0, 2), (1, 0, 1), (0, 1, 1), (1, 1, 0), (2, 0, 0), (2, 2, 0)])
def test_caps_follow_a_merge_and_neither_reset_nor_count_twice(device: int, person: int, left: int) -> None:
    redirect, winner = merge_into(decided("shop/person", person), decided("shop/device", device))
    assert isinstance(redirect, Redirect) and redirect.to == "shop/person"
    shown = 0
    for number in range(4):
        done = accepted(requests.handle(asked(f"after-{number}"), winner, Context(NOW_MS + number)))
        winner = done.state
        shown += not done.emits[0].value.fallback  # type: ignore[attr-defined]
    assert shown == left


def test_a_retry_of_a_request_to_the_alias_gets_its_answer_after_the_merge() -> None:
    request = asked("shop/device-0", digest="d", reply_partition=0)
    redirect, winner = merge_into(None, decided("shop/device", 1))
    sent_on = requests.handle(request, redirect, Context())
    assert isinstance(sent_on, Forward) and sent_on.emit.key == "shop/person"
    answered = inbox.handle(sent_on.emit.value, winner, Context())  # type: ignore[arg-type]
    assert isinstance(answered, Drop) and answered.reason is Reason.REPEATED_REQUEST
    assert replies(answered.emits)[0].decisions[0].item_id == "a"


def test_two_requests_of_one_id_of_two_subjects_that_became_one_are_each_answered_as_before() -> None:
    answers, states, wanted = {}, {}, {}
    for who in ("shop/person", "shop/device"):
        request = asked("r", digest=who, reply_partition=0)
        first = accepted(requests.handle(request, agreed(Person(profile_id=who)), Context()))
        [answers[who]] = replies(first.emits)
        states[who], wanted[who] = first.state, request
    redirect, winner = merge_into(states["shop/person"], states["shop/device"])
    own = requests.handle(wanted["shop/person"], winner, Context())
    sent_on = requests.handle(wanted["shop/device"], redirect, Context())
    assert isinstance(sent_on, Forward)
    given = inbox.handle(sent_on.emit.value, winner, Context())  # type: ignore[arg-type]
    for outcome, who in ((own, "shop/person"), (given, "shop/device")):
        assert isinstance(outcome, Drop) and outcome.reason is Reason.REPEATED_REQUEST
        assert replies(outcome.emits) == [answers[who]]
    third = requests.handle(asked("r", digest="of nobody", reply_partition=0), winner, Context())
    assert isinstance(third, Drop) and replies(third.emits)[0].error == "request_id_reused"


def test_a_retry_goes_where_the_first_try_went_also_when_the_alias_follows_somebody_else_by_then() -> None:
    redirect, _ = merge_into(None, None)
    request = asked("r", digest="d")
    first = accepted(requests.handle(request, redirect, Context()))
    world = SmallWorld(NOW_MS, LIVE)
    world.states["shop/device"] = first.state
    world.send(alias("y", "shop/device", "shop/other"))
    moved = world.states["shop/device"]
    assert isinstance(moved, Redirect) and moved.to == "shop/other"
    again = requests.handle(request, moved, Context())
    assert isinstance(again, Forward) and again.emit.key == "shop/person"
    other = accepted(requests.handle(asked("r2"), moved, Context()))
    assert other.emits[0].key == "shop/other"


def test_later_events_of_an_alias_reach_the_profile() -> None:
    redirect, winner = merge_into(None, None)
    outcome = identity.handle(traits("e", subject="shop/device", age=30), redirect, Context())
    assert isinstance(outcome, Forward) and outcome.emit.key == "shop/person"
    after = accepted(inbox.handle(outcome.emit.value, winner, Context())).state  # type: ignore[arg-type]
    assert after.traits["age"].value == 30 and after.profile_id == "shop/person"
    seen = feedback.handle(FeedbackEvent("f", "shop/device", FeedbackKind.VIEW, NOW_MS), redirect, Context())
    assert isinstance(seen, Forward) and seen.reason is Reason.FORWARDED


def test_a_merge_keeps_the_newest_and_the_strictest() -> None:
    device = Person(profile_id="shop/device", traits={"plan": Trait("pro", 5), "age": Trait(3, 1)},
                     consent={"marketing": ConsentGrant("marketing", False, 7)})
    person = Person(profile_id="shop/person", traits={"plan": Trait("free", 4), "age": Trait(4, 2)},
                     consent={"marketing": ConsentGrant("marketing", True, 7)})
    _, winner = merge_into(person, device)
    assert winner.traits == {"plan": Trait("pro", 5), "age": Trait(4, 2)}
    assert winner.consent["marketing"].granted is False
    assert winner.merged.keys() == {"shop/device"}


def test_an_alias_to_itself_or_another_tenant_is_refused() -> None:
    for winner in (SUBJECT, "other/x", ""):
        refused = identity.handle(alias("x", SUBJECT, winner), None, Context())
        assert isinstance(refused, DeadLetter) and refused.reason is Reason.INVALID


def test_a_ring_of_aliases_is_cut_in_one_place_and_keeps_the_state() -> None:
    world, one = SmallWorld(NOW_MS, LIVE), decided("shop/one", 1)
    world.states["shop/one"] = one
    world.start(alias("e1", "shop/two", "shop/one"))
    world.start(alias("e2", "shop/one", "shop/two"))
    world.deliver()
    real = [state for state in world.states.values() if isinstance(state, Person)]
    assert len(real) == 1, "one alias was undone, the other one stands"
    assert real[0].counters == one.counters


def test_catalog_and_policy_records_are_checked() -> None:
    good = '{"kind": "offer", "variants": {"default": {}}}'
    assert accepted(catalog.handle(CatalogItem("shop", "a", good), None, Context())).reason is Reason.APPLIED
    for body in ("", "[]", "{}", '{"kind": "offer", "variants": {}, "eligibility": "profile.age >"}'):
        refused = catalog.handle(CatalogItem("shop", "a", body), None, Context())
        assert isinstance(refused, DeadLetter) and "nextbest policy check" in refused.detail
    assert accepted(policy.handle(PolicyRelease("shop", "r", "", 1), None, Context())).reason is Reason.APPLIED
    for record in (PolicyRelease("shop", "", "", 1), PolicyRelease("shop", "r", "{}", 1)):
        assert isinstance(policy.handle(record, None, Context()), DeadLetter)


def test_every_outcome_is_one_of_the_four_fates() -> None:
    assert {Fate.ACCEPT, Fate.DROP, Fate.DEAD_LETTER, Fate.REDIRECT} == set(Fate)

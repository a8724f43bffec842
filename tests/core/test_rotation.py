"""The key of the hashes is changed: what is kept under an earlier hash comes over, in whatever order it is met."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.core.decide.experiments import held_out
from pipeline.core.hashing import decision_id_of
from pipeline.core.identity import rotation
from pipeline.core.identity.identifiers import identifier, subject_key
from pipeline.core.identity.privacy_jobs import job_of, subjects_of
from pipeline.core.model.records import (
    ConsentGrant,
    DecisionReply,
    DecisionRequest,
    ErasureAction,
    ErasureReceipt,
    ErasureRequest,
    FeedbackEvent,
    FeedbackKind,
    Identifier,
    IdentityEvent,
    IdentityKind,
    Membership,
)
from pipeline.core.sections.links import LEFT, LIMITED, LINKED, SELF, UNMERGED
from pipeline.core.subject import Erased, lasting_name
from pipeline.flow import Reason
from topics.catalog import ACCOUNTS, DECISION_REPLIES, DECISIONS

from .build import made
from .small_world import SmallWorld

NOW_MS = 1_790_000_000_000
_TYPES = {"u": "user_id", "e": "email", "d": "device"}
OLD, NEW, BOTH = ("-old",), ("-new",), ("-new", "-old")


def who(name: str, keys: tuple[str, ...]) -> Identifier:
    """`u1` as an endpoint that lists these keys knows it; the first letter says the type."""
    newest, *earlier = keys
    return Identifier(_TYPES[name[0]], name + newest, [name + key for key in earlier])


class Shop(SmallWorld):
    """Events by what an endpoint would make of them."""

    def __init__(self, **policy: Any) -> None:
        super().__init__(NOW_MS, made({"caps": {
            "clicked": {"count": "click", "per": "all", "limit": 100, "window": "lifetime"},
            "once": {"count": "decision", "per": "item", "limit": 1, "window": "24h"},
        }, "consent": {"tracking": None}, **policy}, {"a": {}}))
        self.serial = 0

    def says(self, name: str, keys: tuple[str, ...], kind: IdentityKind, *others: str, **more: Any) -> None:
        subject = who(name, keys)
        self.serial += 1
        at_ms = more.pop("at_ms", NOW_MS + self.serial)
        self.now_ms = max(self.now_ms, at_ms)
        self.send(IdentityEvent(f"i{self.serial}", f"shop/{subject.hash}", kind, at_ms, subject_type=subject.type,
                                identifiers=[who(one, keys) for one in others], earlier=subject.earlier, **more))

    def identify(self, name: str, keys: tuple[str, ...], *others: str, **more: Any) -> None:
        self.says(name, keys, IdentityKind.IDENTIFY, *others, **more)

    def click(self, name: str, keys: tuple[str, ...]) -> None:
        subject = who(name, keys)
        self.serial += 1
        self.send(FeedbackEvent(f"c{self.serial}", f"shop/{subject.hash}", FeedbackKind.CLICK, NOW_MS,
                                earlier=subject.earlier))

    def ask(self, name: str, keys: tuple[str, ...], request_id: str = "") -> DecisionReply:
        subject = who(name, keys)
        self.serial += 1
        self.send(DecisionRequest(request_id or f"r{self.serial}", f"shop/{subject.hash}", "web", ["hero"], digest="d",
                                  reply_partition=0, earlier=subject.earlier))
        reply = [emit.value for emit in self.emits if emit.topic is DECISION_REPLIES][-1]
        assert isinstance(reply, DecisionReply)
        return reply

    def profile(self, name: str, keys: tuple[str, ...]) -> Any:
        return self.states[self.owner(f"shop/{who(name, keys).hash}")]

    def clicks(self, name: str, keys: tuple[str, ...]) -> int:
        counter = self.profile(name, keys).counters.get("clicked|")
        return counter.total if counter else 0

    def agrees(self, name: str, keys: tuple[str, ...], granted: bool = True) -> None:
        self.serial += 1
        self.says(name, keys, IdentityKind.CONSENT,
                  consent=[ConsentGrant("personalization", granted, NOW_MS + self.serial)])


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_a_profile_comes_over_with_its_first_record_and_the_next_ones_are_one_hop_again(shop: Shop) -> None:
    shop.agrees("u1", OLD)
    assert not shop.ask("u1", OLD).fallback
    assert shop.ask("u1", BOTH).fallback, "the cap was full under the old key"
    assert shop.owner("shop/u1-old") == shop.owner("shop/u1-new") == "shop/u1-new"
    assert shop.reasons[Reason.TAKEN_OVER] == 1
    shop.start(FeedbackEvent("c", "shop/u1-new", FeedbackKind.CLICK, NOW_MS, earlier=["u1-old"]))
    assert shop.inbox == [] and shop.clicks("u1", NEW) == 1
    shop.click("u1", OLD)
    shop.click("u1", NEW)
    assert shop.clicks("u1", NEW) == 3, "an endpoint on the old setting, and one that lists the old key no longer"


def test_without_a_change_under_way_nothing_is_kept_or_sent_for_it(shop: Shop) -> None:
    shop.identify("u1", OLD, "e1")
    shop.click("u1", OLD)
    assert all(state.rotation is None for state in shop.states.values())


@pytest.mark.parametrize("first", ["u1", "e1", "d1"])
def test_in_whatever_order_identifiers_are_met_each_finds_the_profile(shop: Shop, first: str) -> None:
    shop.agrees("u1", OLD)
    shop.identify("u1", OLD, "e1", "d1")
    shop.ask("u1", OLD)
    assert shop.ask(first, BOTH).fallback, "the user's consent and the user's cap"
    for name in ("e1", "d1", "u1"):
        shop.click(name, BOTH)
    keys = [f"shop/{name}-{key}" for name in ("u1", "e1", "d1") for key in ("old", "new")]
    assert {shop.owner(key) for key in keys} == {"shop/u1-new"}
    assert shop.clicks("u1", BOTH) == 3


def test_an_identify_under_the_new_key_brings_every_identifier_over_and_counts_none_twice(shop: Shop) -> None:
    shop.identify("u1", OLD, "e1", "d1")
    shop.identify("u1", BOTH, "e1", "d1")
    own = shop.profile("u1", NEW)
    assert {name: link.outcome for name, link in own.links.items()} == {
        "u1-new": SELF, "e1-new": LINKED, "d1-new": LINKED}
    for name in ("u1", "e1", "d1"):
        # The old key is taken out of the setting, and nobody meets the old hashes any more.
        shop.click(name, NEW)
    assert shop.clicks("u1", NEW) == 3


def test_two_people_stay_two_by_the_limits_that_they_were_kept_apart_by(shop: Shop) -> None:
    shop.identify("u1", OLD, "e1")
    shop.identify("u2", BOTH, "e1")
    shop.identify("u1", BOTH, "e1")
    assert shop.owner("shop/e1-new") == "shop/u1-new" != shop.owner("shop/u2-new")
    refused = shop.profile("u2", NEW).links["e1-new"]
    assert (refused.outcome, refused.cause) == (LIMITED, "limit:user_id")


@pytest.mark.parametrize("keys", [OLD, BOTH])
def test_a_device_follows_the_latest_login_whichever_keys_the_doors_list(shop: Shop, keys: tuple[str, ...]) -> None:
    shop.identify("u1", OLD, "d1")
    shop.click("d1", BOTH)
    shop.identify("u2", keys, "d1")
    shop.click("d1", OLD)
    shop.click("d1", BOTH)
    assert (shop.clicks("u1", OLD), shop.clicks("u2", keys)) == (1, 2)
    left = [link.outcome for name, link in shop.profile("u1", OLD).links.items() if name.startswith("d1")]
    assert left == [LEFT]
    shop.says("d1", BOTH, IdentityKind.LOGOUT)
    shop.click("d1", OLD)
    assert shop.clicks("d1", NEW) == 1 and shop.clicks("u2", keys) == 2
    left = [link.outcome for name, link in shop.profile("u2", keys).links.items() if name.startswith("d1")]
    assert left == [LEFT]


@pytest.mark.parametrize("keys", [OLD, BOTH, NEW])
def test_a_merge_from_before_is_undone(shop: Shop, keys: tuple[str, ...]) -> None:
    shop.click("e1", OLD)
    shop.identify("u1", OLD, "e1")
    shop.click("u1", OLD)
    shop.identify("u1", BOTH, "e1")
    shop.says("e1", keys, IdentityKind.UNMERGE)
    assert (shop.clicks("e1", keys), shop.clicks("u1", keys)) == (1, 1)
    assert shop.profile("u1", NEW).links["e1-new"].outcome == UNMERGED
    shop.click("e1", NEW)
    assert shop.clicks("e1", OLD) == 2
    assert shop.reasons[Reason.UNMERGED] == 2


@pytest.mark.parametrize(("old", "new"), [(OLD, BOTH), (BOTH, OLD), (BOTH, BOTH)])
def test_an_alias_joins_whichever_keys_its_door_lists(shop: Shop, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    shop.click("e1", OLD)
    shop.click("u1", OLD)
    winner, subject = who("u1", new), who("e1", old)
    shop.send(IdentityEvent("a", f"shop/{subject.hash}", IdentityKind.ALIAS, NOW_MS, alias_of=f"shop/{winner.hash}",
                            subject_type="email", earlier=subject.earlier, alias_earlier=winner.earlier))
    shop.click("e1", BOTH)
    shop.click("u1", BOTH)
    assert shop.clicks("u1", BOTH) == shop.clicks("e1", BOTH) == 4
    shop.click("e1", OLD)
    assert shop.clicks("u1", OLD) == 5


def test_a_withdrawal_under_one_key_is_in_force_under_the_other(shop: Shop) -> None:
    shop.agrees("u1", OLD)
    shop.agrees("u1", BOTH, granted=False)
    assert shop.ask("u1", OLD).reason == "no_consent"
    shop.agrees("u1", OLD)
    assert not shop.ask("u1", BOTH).fallback


def test_a_retry_at_another_door_gets_the_answer_of_the_first(shop: Shop) -> None:
    shop.agrees("u1", OLD)
    first = shop.ask("u1", OLD, "r")
    assert shop.ask("u1", BOTH, "r") == first == shop.ask("u1", OLD, "r")
    assert sum(emit.topic is DECISIONS for emit in shop.emits) == 1


def test_what_chance_dealt_stays_dealt(shop: Shop) -> None:
    shop.click("u1", OLD)
    shop.click("u1", BOTH)
    assert lasting_name(shop.profile("u1", NEW)) == "shop/u1-old"
    shop.click("u2", BOTH)
    assert lasting_name(shop.profile("u2", NEW)) == "shop/u2-new"
    assert held_out.__doc__


def test_a_key_left_out_at_first_and_listed_later_joins_what_was_kept_beside_each_other(shop: Shop) -> None:
    for keys in (OLD, NEW, BOTH):
        shop.click("u1", keys)
    assert shop.clicks("u1", NEW) == shop.clicks("u1", OLD) == 3


def test_what_was_asked_once_is_remembered_by_a_bounded_number_of_names() -> None:
    shop = Shop()
    for number in range(12):
        shop.send(FeedbackEvent(f"c{number}", "shop/n", FeedbackKind.CLICK, NOW_MS, earlier=[f"o{number}"]))
    known = shop.states["shop/n"].rotation
    assert known is not None and len(known.taken) == rotation.TAKEN_MAX
    shop.send(FeedbackEvent("c", "shop/n", FeedbackKind.CLICK, NOW_MS, earlier=["o0"]))
    assert shop.states["shop/n"].counters["clicked|"].total == 13


# -- accounts -------------------------------------------------------------------------------------------------------


def group(number: int, key: str, earlier: list[str], **more: Any) -> IdentityEvent:
    return IdentityEvent(f"g{number}", f"shop/@{key}", IdentityKind.TRAITS, NOW_MS + number, earlier=earlier, **more)


def test_an_account_comes_over_and_is_published_under_every_key_its_members_know(shop: Shop) -> None:
    shop.send(group(1, "old", [], traits={"plan": "pro"}))
    shop.send(group(2, "new", ["@old"], traits={"seats": 5}), group(3, "old", [], traits={"seats": 7}))
    account = shop.states["shop/@new"]
    assert {name: trait.value for name, trait in account.traits.items()} == {"plan": "pro", "seats": 7}
    said = [(emit.key, emit.value.version) for emit in shop.emits if emit.topic is ACCOUNTS]  # type: ignore[attr-defined]
    assert said == [("shop/@old", 1), ("shop/@new", 1), ("shop/@old", 1), ("shop/@new", 2), ("shop/@old", 2),
                    ("shop/@new", 3), ("shop/@old", 3)]


def test_a_membership_is_one_under_both_keys_and_ended_by_either(shop: Shop) -> None:
    shop.says("u1", OLD, IdentityKind.GROUP, membership=Membership("shop/@old", ["buyer"]))
    shop.says("u1", BOTH, IdentityKind.GROUP, membership=Membership("shop/@new", [], earlier=["@old"]))
    assert [(key, one.roles) for key, one in shop.profile("u1", NEW).accounts.items()] == [("shop/@new", ("buyer",))]
    shop.says("u1", NEW, IdentityKind.GROUP, membership=Membership("shop/@new", left=True))
    assert [one.left for one in shop.profile("u1", NEW).accounts.values()] == [True]


# -- the edge -------------------------------------------------------------------------------------------------------


def test_the_first_key_hashes_and_the_others_say_what_was_kept_before() -> None:
    known = identifier((b"new", b"old"), "shop", "email", "Ann@Example.com")
    before = identifier((b"old",), "shop", "email", "ann@example.com")
    assert known.earlier == [before.hash] and before.earlier == []
    assert subject_key((b"new", b"old"), "shop", "email", "ann@example.com") == f"shop/{known.hash}"


# -- erasure --------------------------------------------------------------------------------------------------------


def erased(shop: Shop) -> set[str]:
    return {name.partition("/")[2] for name, state in shop.states.items() if isinstance(state, Erased)}


@pytest.mark.parametrize("met", [OLD, BOTH])
@pytest.mark.parametrize("keys", [OLD, BOTH])
@pytest.mark.parametrize("asked_about", ["u1", "e1"])
def test_to_erase_somebody_reaches_every_hash(
    shop: Shop, asked_about: str, keys: tuple[str, ...], met: tuple[str, ...]
) -> None:
    shop.click("e1", OLD)
    shop.identify("u1", OLD, "e1")
    shop.click("u1", met)
    shop.click("e1", met)
    shop.identify("u2", met, "e2")
    subject = who(asked_about, keys)
    shop.now_ms += 1_000
    shop.send(ErasureRequest("job", f"shop/{subject.hash}", ErasureAction.ERASE, shop.now_ms, earlier=subject.earlier))
    kept = {name.partition("/")[2] for name in shop.states if name[5:7] in ("u1", "e1")}
    assert erased(shop) == kept and not any(name.startswith("u2") for name in erased(shop))
    receipts = [emit.value for emit in shop.emits if isinstance(emit.value, ErasureReceipt)]
    [whole] = [one for one in receipts if one.part_of is None]
    assert {one.profile_id for one in receipts} >= set(whole.identifiers)
    for name in ("u1", "e1"):
        for endpoint in (OLD, BOTH, OLD):
            shop.click(name, endpoint)
            assert isinstance(shop.profile(name, endpoint), Erased)
    shop.serial += 5_000
    shop.agrees("u1", BOTH)
    assert not shop.ask("u1", OLD).fallback, "who comes back is one person again, whichever endpoint asks"
    assert shop.owner("shop/u1-old") == "shop/u1-new"


def test_the_answer_to_somebody_erased_is_found_by_whoever_asked_with_or_without_a_policy(shop: Shop) -> None:
    shop.click("u1", BOTH)
    shop.send(ErasureRequest("job", "shop/u1-new", ErasureAction.ERASE, shop.now_ms))
    for request_id, live in (("r-policy", shop.live), ("r-none", None)):
        shop.live = live
        reply = shop.ask("u1", BOTH, request_id)
        assert reply.fallback and reply.decision_id == decision_id_of("shop/u1-new", request_id, ["u1-old"])


@pytest.mark.parametrize("action", list(ErasureAction))
def test_a_job_names_an_identifier_under_a_key_it_had_before_it_joined(shop: Shop, action: ErasureAction) -> None:
    shop.click("e1", OLD)
    shop.click("e1", BOTH)
    shop.identify("u1", BOTH, "e1")
    asked = ErasureRequest("job", "shop/u1-new", action, shop.now_ms)
    shop.send(asked)
    receipts = [emit.value for emit in shop.emits if isinstance(emit.value, ErasureReceipt)]
    job = job_of([asked], receipts, "job")
    assert job is not None and job.status == "done"
    assert set(job.identifiers) >= {"shop/u1-new", "shop/e1-new", "shop/e1-old"}
    assert subjects_of(receipts, ["shop/u1-new"]) >= {"shop/e1-old"}
    missing = [one for one in receipts if one.profile_id != "shop/e1-new"]
    job = job_of([asked], missing, "job")
    assert job is not None and job.status == "running"


@pytest.mark.parametrize(("first", "then"), [(OLD, NEW), (NEW, OLD)])
def test_what_was_kept_beside_somebody_erased_goes_the_same_way(
    shop: Shop, first: tuple[str, ...], then: tuple[str, ...]
) -> None:
    shop.click("u1", first)
    shop.click("u1", then)
    subject = who("u1", then)
    shop.send(ErasureRequest("job", f"shop/{subject.hash}", ErasureAction.ERASE, shop.now_ms))
    shop.click("u1", BOTH)
    assert erased(shop) == {"u1-old", "u1-new"}

"""Who is joined to whom, what is left out and why: identifiers, limits, shared devices, logout."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.core.identity import links
from pipeline.core.model.records import (
    ConsentGrant,
    FeedbackEvent,
    FeedbackKind,
    Identifier,
    IdentityEvent,
    IdentityKind,
)
from pipeline.core.sections.links import EVIDENCE_MAX, JOINED, LEFT, LIMITED, LINKED, SELF
from pipeline.core.subject import Redirect
from pipeline.flow import Reason

from .build import made
from .small_world import SmallWorld

NOW_MS = 1_790_000_000_000
CAPS = {"clicked": {"count": "click", "per": "all", "limit": 100, "window": "lifetime"}}


def world(**identity: Any) -> SmallWorld:
    return SmallWorld(NOW_MS, made({"identity": identity, "caps": CAPS, "consent": {"tracking": None}}, {"a": {}}))


_TYPES = {"u": "user_id", "e": "email", "a": "anonymous_id", "d": "device"}


def identifier(name: str) -> Identifier:
    """`u1`, `e1`, …: the first letter says the type."""
    return Identifier(_TYPES[name[0]], name)


def identify(subject: str, *others: str, id_: str = "", at_ms: int = NOW_MS, **traits: Any) -> IdentityEvent:
    event_id = id_ or f"i-{subject}-{'-'.join(others)}-{at_ms}"
    return IdentityEvent(event_id, f"shop/{subject}", IdentityKind.IDENTIFY, at_ms, traits,
                         identifiers=[identifier(one) for one in others], subject_type=_TYPES[subject[0]])


def click(subject: str, id_: str) -> FeedbackEvent:
    return FeedbackEvent(id_, f"shop/{subject}", FeedbackKind.CLICK, NOW_MS)


def act(kind: IdentityKind, subject: str, id_: str, at_ms: int = NOW_MS, **more: Any) -> IdentityEvent:
    return IdentityEvent(id_, f"shop/{subject}", kind, at_ms, subject_type=_TYPES.get(subject[0], ""), **more)


def outcomes(made_world: SmallWorld, owner: str) -> dict[str, str]:
    return {name: link.outcome for name, link in made_world.states[f"shop/{owner}"].links.items()}


def clicks(made_world: SmallWorld, owner: str) -> int:
    counter = made_world.states[f"shop/{owner}"].counters.get("clicked|")
    return counter.total if counter else 0


def test_an_identify_joins_every_identifier_and_what_was_known_under_it() -> None:
    shop = world()
    shop.send(click("a1", "c1"), click("u1", "c2"), identify("u1", "e1", "a1", plan="pro"))
    assert {shop.owner(f"shop/{name}") for name in ("u1", "e1", "a1")} == {"shop/u1"}
    assert clicks(shop, "u1") == 2
    assert outcomes(shop, "u1") == {"u1": SELF, "e1": LINKED, "a1": JOINED}
    evidence = shop.states["shop/u1"].links["a1"]
    assert (evidence.type, evidence.event_id, evidence.at_ms) == ("anonymous_id", f"i-u1-e1-a1-{NOW_MS}", NOW_MS)


def test_a_repeated_identify_changes_nothing_and_sends_nothing() -> None:
    shop = world()
    shop.send(identify("u1", "e1"))
    before = dict(shop.states)
    shop.send(identify("u1", "e1"))
    assert shop.states == before
    shop.start(identify("u1", "e1", id_="again"))
    assert shop.inbox == [], "what is held is not claimed anew"


def test_two_people_with_one_email_stay_two_and_the_evidence_says_why() -> None:
    shop = world()
    shop.send(click("u1", "c1"), identify("u1", "e1"), identify("u2", "e1", "a2"))
    assert (shop.owner("shop/e1"), shop.owner("shop/u2"), shop.owner("shop/a2")) == ("shop/u1", "shop/u2", "shop/u2")
    refused = shop.states["shop/u2"].links["e1"]
    assert (refused.outcome, refused.cause) == (LIMITED, "limit:user_id")
    assert clicks(shop, "u1") == 1 and clicks(shop, "u2") == 0
    assert shop.reasons[Reason.IDENTIFIER_LIMITED] == 1


def test_a_profile_that_an_email_began_joins_the_user_with_everything_it_has() -> None:
    shop = world()
    shop.send(click("a1", "c1"), identify("e1", "a1", plan="pro"), click("u1", "c2"), identify("u1", "e1"))
    assert {shop.owner(f"shop/{name}") for name in ("u1", "e1", "a1")} == {"shop/u1"}
    assert clicks(shop, "u1") == 2 and shop.states["shop/u1"].traits["plan"].value == "pro"
    assert outcomes(shop, "u1") == {"u1": SELF, "e1": JOINED, "a1": JOINED}


def test_past_a_limit_the_weakest_identifiers_are_left_out() -> None:
    shop = world(types={"email": {"limit": 2}}, max_links=4)
    shop.send(identify("u1", "a1", "e1", "e2", "e3", "d1", "d2"))
    assert outcomes(shop, "u1") == {
        "u1": SELF, "e1": LINKED, "e2": LINKED, "e3": LIMITED, "d1": LINKED,
        "d2": LIMITED, "a1": LIMITED,
    }
    causes = {name: link.cause for name, link in shop.states["shop/u1"].links.items() if link.cause}
    assert causes == {"e3": "limit:email", "d2": links.MAX_LINKS, "a1": links.MAX_LINKS}
    assert shop.owner("shop/a1") == "shop/a1"


def test_a_window_gives_room_again() -> None:
    shop = world(types={"email": {"limit": 1, "window": "1d"}})
    shop.send(identify("u1", "e1"), identify("u1", "e2", id_="x"))
    assert outcomes(shop, "u1")["e2"] == LIMITED
    shop.now_ms += 86_400_001
    shop.send(identify("u1", "e2", id_="y"))
    assert outcomes(shop, "u1")["e2"] == LINKED


def test_a_profile_takes_up_so_many_others_and_no_more() -> None:
    shop = world(max_merges=2)
    for number in range(4):
        shop.send(click(f"a{number}", f"c{number}"), identify("u1", f"a{number}"))
    assert clicks(shop, "u1") == 2
    assert shop.states["shop/u1"].links["a3"].cause == links.MAX_MERGES


def test_priority_says_who_is_strongest() -> None:
    shop = world(priority=["device"], max_links=3)
    shop.send(identify("u1", "e1", "d1", "a1"))
    assert outcomes(shop, "u1") == {
        "u1": SELF, "d1": LINKED, "e1": LINKED, "a1": LIMITED}


# -- shared devices -------------------------------------------------------------------------------------------------


def test_a_device_follows_the_latest_login_and_joins_nobody() -> None:
    shop = world()
    shop.send(click("a1", "c1"), identify("u1", "a1"), click("a1", "c2"))
    shop.send(identify("u2", "a1", at_ms=NOW_MS + 5), click("a1", "c3"))
    assert shop.owner("shop/a1") == "shop/u2"
    assert (clicks(shop, "u1"), clicks(shop, "u2")) == (2, 1)
    assert outcomes(shop, "u1")["a1"] == LEFT
    shop.send(identify("u1", "a1", at_ms=NOW_MS + 9), click("a1", "c4"))
    assert shop.owner("shop/a1") == "shop/u1" and clicks(shop, "u1") == 3


@pytest.mark.parametrize("delivered", [0, 1, 2, 3])
def test_the_latest_login_is_the_latest_by_event_time_in_whatever_order(delivered: int) -> None:
    shop = world()
    shop.now_ms += 100
    shop.send(identify("u1", "a1"))
    shop.start(identify("u2", "a1", at_ms=NOW_MS + 5))
    shop.deliver(delivered)
    shop.start(identify("u1", "a1", at_ms=NOW_MS + 9))
    shop.deliver()
    assert shop.owner("shop/a1") == "shop/u1"
    shop.send(identify("u2", "a1", at_ms=NOW_MS + 7, id_="late"))
    assert shop.owner("shop/a1") == "shop/u1", "an older login that arrives late takes nothing away"
    assert outcomes(shop, "u2")["a1"] == LEFT


def test_after_a_logout_the_device_is_nobodys_until_the_next_login() -> None:
    shop = world()
    shop.send(click("a1", "c1"), identify("u1", "a1"), act(IdentityKind.LOGOUT, "a1", "out", NOW_MS + 1))
    shop.send(click("a1", "c2"))
    assert (clicks(shop, "u1"), clicks(shop, "a1")) == (1, 1)
    assert outcomes(shop, "u1")["a1"] == LEFT
    shop.send(identify("u2", "a1", at_ms=NOW_MS + 2))
    assert (clicks(shop, "u1"), clicks(shop, "u2")) == (1, 1)


def test_a_logout_lets_the_device_go_too_and_an_account_or_email_never() -> None:
    shop = world()
    shop.send(identify("u1", "a1", "d1", "e1"))
    shop.send(act(IdentityKind.LOGOUT, "a1", "out", NOW_MS + 1, identifiers=[identifier("d1"), identifier("e1")]))
    assert {name: shop.owner(f"shop/{name}") for name in ("a1", "d1", "e1")} == {
        "a1": "shop/a1", "d1": "shop/d1", "e1": "shop/u1"}


def test_a_logout_from_before_the_latest_login_lets_nothing_go() -> None:
    shop = world()
    shop.now_ms += 10
    shop.send(identify("u1", "a1", at_ms=NOW_MS + 5), act(IdentityKind.LOGOUT, "a1", "out", NOW_MS + 1))
    assert shop.owner("shop/a1") == "shop/u1"
    shop.send(identify("u1", "a1", at_ms=NOW_MS + 8), act(IdentityKind.LOGOUT, "a1", "out2", NOW_MS + 7))
    assert shop.owner("shop/a1") == "shop/u1", "the login that its owner knows of is later: it is claimed anew"


# -- aliases --------------------------------------------------------------------------------------------------------


def alias(old: str, new: str, id_: str = "", at_ms: int = NOW_MS) -> IdentityEvent:
    return act(IdentityKind.ALIAS, old, id_ or f"alias-{old}-{new}", at_ms, alias_of=f"shop/{new}")


def test_an_alias_joins_two_users_though_an_identify_may_not() -> None:
    shop = world()
    shop.send(click("u1", "c1"), click("u2", "c2"), alias("u1", "u2"))
    assert shop.owner("shop/u1") == "shop/u2" and clicks(shop, "u2") == 2


@pytest.mark.parametrize("order", [("u1", "u2", "u3"), ("u3", "u1", "u2"), ("u2", "u3", "u1")])
def test_chains_and_rings_of_aliases_end_in_one_profile(order: tuple[str, ...]) -> None:
    shop = world()
    after = {"u1": "u2", "u2": "u3", "u3": "u1"}
    shop.send(*(click(name, f"c-{name}") for name in order), *(alias(name, after[name]) for name in order))
    owners = {shop.owner(f"shop/{name}") for name in order}
    assert len(owners) == 1
    assert clicks(shop, owners.pop().partition("/")[2]) == 3
    assert sum(not isinstance(state, Redirect) for state in shop.states.values()) == 1


def test_a_profile_that_is_full_takes_no_alias_and_says_so() -> None:
    shop = world(max_links=3)
    shop.send(*(alias(f"a{number}", "u1") for number in range(4)))
    kept = shop.states["shop/u1"].links
    assert [name for name, link in kept.items() if link.cause == links.MAX_LINKS] == ["a2", "a3"]
    assert shop.owner("shop/a3") == "shop/a3"


def test_evidence_is_bounded() -> None:
    shop = world(max_links=2)
    for number in range(100):
        shop.now_ms += 1
        shop.send(identify("u1", f"a{number}"))
    kept = shop.states["shop/u1"].links
    assert len(kept) == 2 + EVIDENCE_MAX and "a99" in kept and "u1" in kept


def test_consent_of_a_joined_profile_is_the_strictest() -> None:
    shop = world()
    said = [IdentityEvent(f"c-{name}", f"shop/{name}", IdentityKind.CONSENT, NOW_MS,
                          consent=[ConsentGrant("marketing", granted, NOW_MS)])
            for name, granted in (("u1", True), ("a1", False))]
    shop.send(*said, identify("u1", "a1"))
    assert not shop.states["shop/u1"].consent["marketing"].granted

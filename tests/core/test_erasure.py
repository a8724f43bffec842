"""Who goes with somebody erased, and that no step of joining or undoing, early or late, brings anybody back."""

from __future__ import annotations

import pytest

from pipeline.core.model.records import (
    ConsentGrant,
    ErasureAction,
    ErasureReceipt,
    ErasureRequest,
    IdentityEvent,
    IdentityKind,
    InboxRecord,
)
from pipeline.core.sections.links import HELD
from pipeline.core.subject import SETTLE_TIMER, Erased
from pipeline.flow import Reason

from .small_world import SmallWorld
from .test_links import NOW_MS, act, alias, click, identify, outcomes
from .test_links import world as empty_world
from .test_unmerge import together, unmerge


def erase(name: str, job: str = "job") -> ErasureRequest:
    return ErasureRequest(job, f"shop/{name}", ErasureAction.ERASE, NOW_MS)


def world() -> SmallWorld:
    shop = empty_world()
    shop.now_ms += 1_000
    return shop


def gone(shop: SmallWorld) -> set[str]:
    """Who was erased. Looks that nothing but the fact is left of them."""
    found = {name: state for name, state in shop.states.items() if isinstance(state, Erased)}
    for name, state in found.items():
        assert state == Erased(profile_id=name, at_ms=state.at_ms, timers=state.timers)
    return {name.partition("/")[2] for name in found}


def whole(shop: SmallWorld) -> ErasureReceipt:
    [receipt] = [one.value for one in shop.emits
                 if isinstance(one.value, ErasureReceipt) and one.value.part_of is None]
    return receipt


@pytest.mark.parametrize("asked_about", ["u1", "e1", "a1"])
def test_identifiers_that_brought_nothing_go_too(asked_about: str) -> None:
    shop = world()
    shop.send(click("a1", "c1"), identify("u1", "e1", "a1"), identify("u2", "e2"), erase(asked_about))
    assert gone(shop) == {"u1", "e1", "a1"}
    assert set(whole(shop).identifiers) == {"shop/u1", "shop/e1", "shop/a1"}


def test_what_an_identifier_gave_up_is_not_kept_at_it() -> None:
    shop = together()
    assert shop.states["shop/a1"].given is not None
    shop.send(erase("u1"), unmerge("a1"))
    assert gone(shop) == {"u1", "a1"} and shop.reasons[Reason.NOTHING_TO_UNDO] == 1


@pytest.mark.parametrize("steps", range(4))
@pytest.mark.parametrize("asked_about", ["u1", "a1"])
def test_a_revival_under_way_brings_nobody_back(asked_about: str, steps: int) -> None:
    shop = together()
    shop.start(unmerge("a1"))
    shop.deliver(steps)
    shop.start(erase(asked_about))
    shop.deliver()
    assert asked_about in gone(shop)
    for name, state in shop.states.items():
        end = shop.states[shop.owner(name)]
        assert isinstance(state, Erased) or not (isinstance(end, Erased) or state.given), name
    if steps < 1:
        assert gone(shop) == {"u1", "a1"}


@pytest.mark.parametrize("steps", range(6))
def test_a_join_under_way_is_either_forgotten_or_never_made(steps: int) -> None:
    shop = world()
    shop.send(click("e1", "c1"), identify("e1", "a1"), click("u1", "c2"))
    shop.start(identify("u1", "e1", plan="pro"))
    shop.deliver(steps)
    shop.start(erase("u1"))
    shop.deliver()
    assert "u1" in gone(shop)
    if isinstance(shop.states["shop/e1"], Erased):
        assert gone(shop) == {"u1", "e1", "a1"}
    else:
        assert gone(shop) == {"u1"} and shop.owner("shop/a1") == shop.owner("shop/e1") == "shop/e1"
        assert shop.reasons[Reason.ERASED] == 1


@pytest.mark.parametrize("steps", range(6))
def test_who_waits_for_an_erased_identifier_holds_no_place_for_it(steps: int) -> None:
    shop = world()
    shop.send(click("e1", "c1"), identify("e1", "a1"), click("u1", "c2"))
    shop.start(identify("u1", "e1"))
    shop.deliver(steps)
    shop.start(erase("e1"))
    shop.deliver()
    assert {"e1", "a1"} <= gone(shop)
    assert whole(shop).profile_id in ("shop/e1", "shop/u1")
    if not isinstance(shop.states["shop/u1"], Erased):
        held = {name for name, outcome in outcomes(shop, "u1").items() if outcome in HELD}
        assert held == {"u1"} and "e1" not in shop.states["shop/u1"].links


def test_an_erased_identifier_is_not_claimed_again_before_it_begins_anew() -> None:
    shop = world()
    shop.send(click("a1", "c1"), erase("a1"), identify("u1", "a1", at_ms=NOW_MS + 2_000))
    assert gone(shop) == {"a1"} and "a1" not in outcomes(shop, "u1")
    at_ms = shop.now_ms + 5
    shop.now_ms += 10
    shop.send(IdentityEvent("anew", "shop/a1", IdentityKind.CONSENT, at_ms, subject_type="anonymous_id",
                            consent=[ConsentGrant("tracking", True, at_ms)]))
    shop.send(identify("u1", "a1", at_ms=at_ms))
    assert gone(shop) == set() and shop.owner("shop/a1") == "shop/u1"


def test_a_shared_device_goes_with_whoever_it_was_and_its_next_owner_lets_go_of_it() -> None:
    shop = world()
    shop.send(click("a1", "c1"), identify("u1", "a1"), identify("u2", "a1", at_ms=NOW_MS + 1), erase("u1"))
    assert gone(shop) == {"u1", "a1"}
    assert "a1" not in shop.states["shop/u2"].links


def test_a_part_that_became_a_profile_of_its_own_takes_along_who_joined_it_there() -> None:
    shop = world()
    shop.send(click("a1", "c1"), identify("u1", "a1"), act(IdentityKind.LOGOUT, "a1", "out", NOW_MS + 1),
              click("d1", "c2"), alias("d1", "a1"), erase("u1"))
    assert gone(shop) == {"u1", "a1", "d1"}


def test_a_profile_that_arrives_at_one_begun_anew_is_still_the_erased_ones() -> None:
    shop = world()
    shop.send(click("u1", "c1"), click("a1", "c2"))
    shop.start(identify("u1", "a1"))
    shop.deliver(1)
    merge = shop.inbox.pop(0)
    assert merge.merge is not None
    shop.send(erase("u1"))
    at_ms = shop.now_ms + 5
    shop.now_ms += 10
    shop.send(IdentityEvent("anew", "shop/u1", IdentityKind.CONSENT, at_ms, subject_type="user_id",
                            consent=[ConsentGrant("tracking", True, at_ms)]))
    shop.inbox.append(merge)
    shop.deliver()
    assert gone(shop) == {"a1"} and shop.states["shop/u1"].counters == {}


def test_an_erased_key_looks_once_more_and_then_never() -> None:
    shop = together()
    shop.send(erase("u1"))
    due_ms = shop.states["shop/a1"].timers.get(SETTLE_TIMER)
    for _ in range(2):
        shop.inbox.append(InboxRecord("due", "shop/a1", "shop/a1", due_ms=due_ms))
        shop.deliver()
    assert not shop.states["shop/a1"].timers and shop.reasons[Reason.NOTHING_DUE] == 1

"""A merge undone: everything goes back exactly once, what cannot be told apart stays, and to repeat it is harmless."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.identity import undo
from pipeline.core.identity.merge import merged
from pipeline.core.model.records import ConsentGrant, IdentityEvent, IdentityKind, InboxRecord
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.links import UNMERGED
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import UNDO_TIMER, Person
from pipeline.flow import Reason

from .small_world import SmallWorld
from .test_links import NOW_MS, act, alias, click, clicks, identify, outcomes, world


def unmerge(name: str, id_: str = "undo", at_ms: int = NOW_MS + 50) -> IdentityEvent:
    return act(IdentityKind.UNMERGE, name, id_, at_ms)


def consent(name: str, granted: bool, at_ms: int) -> IdentityEvent:
    return IdentityEvent(f"consent-{name}-{at_ms}", f"shop/{name}", IdentityKind.CONSENT, at_ms,
                         consent=[ConsentGrant("marketing", granted, at_ms)])


def together() -> SmallWorld:
    """`a1` brought two clicks and a plan to `u1`, which had one click and another plan."""
    shop = world()
    shop.now_ms += 100
    shop.send(click("u1", "c1"), identify("u1", plan="free", city="Rome"), click("a1", "c2"), click("a1", "c3"),
              identify("a1", plan="pro", at_ms=NOW_MS + 1), identify("u1", "a1", at_ms=NOW_MS + 2))
    assert clicks(shop, "u1") == 3 and shop.states["shop/u1"].traits["plan"].value == "pro"
    return shop


def test_what_an_identifier_brought_goes_back_with_it() -> None:
    shop = together()
    shop.send(unmerge("a1"))
    person, visitor = shop.states["shop/u1"], shop.states["shop/a1"]
    assert (clicks(shop, "u1"), clicks(shop, "a1")) == (1, 2)
    assert {name: trait.value for name, trait in person.traits.items()} == {"plan": "free", "city": "Rome"}
    assert {name: trait.value for name, trait in visitor.traits.items()} == {"plan": "pro"}
    assert person.merged == {} and isinstance(visitor, Person) and visitor.given is None
    assert outcomes(shop, "u1")["a1"] == UNMERGED


def test_what_came_since_the_merge_stays_with_the_person() -> None:
    shop = together()
    shop.send(click("a1", "c4"), unmerge("a1"), click("a1", "c5"))
    assert (clicks(shop, "u1"), clicks(shop, "a1")) == (2, 3)


def test_to_undo_it_twice_is_to_undo_it_once() -> None:
    shop = together()
    shop.send(unmerge("a1"))
    before = dict(shop.states)
    shop.send(unmerge("a1"), unmerge("a1", "another"))
    assert shop.states == before and shop.reasons[Reason.NOTHING_TO_UNDO] == 1


def test_every_record_of_an_undoing_may_come_twice() -> None:
    shop = together()
    shop.start(unmerge("a1"))
    while shop.inbox:
        record = shop.inbox[0]
        shop.deliver(1)
        shop.inbox.insert(0, record)
        shop.deliver(1)
    assert (clicks(shop, "u1"), clicks(shop, "a1")) == (1, 2)


def test_events_from_before_the_undoing_do_not_join_again_and_later_ones_do() -> None:
    shop = together()
    shop.send(unmerge("a1"), identify("u1", "a1", id_="older", at_ms=NOW_MS + 40))
    assert shop.owner("shop/a1") == "shop/a1"
    shop.send(identify("u1", "a1", id_="newer", at_ms=NOW_MS + 60))
    assert shop.owner("shop/a1") == "shop/u1" and clicks(shop, "u1") == 3


def test_records_on_the_way_while_it_is_undone_are_neither_lost_nor_doubled() -> None:
    for steps in range(4):
        shop = together()
        shop.start(unmerge("a1"))
        shop.deliver(steps)
        shop.start(click("a1", "c9"))
        shop.deliver()
        assert clicks(shop, "u1") + clicks(shop, "a1") == 4, steps


def test_a_link_in_the_middle_of_a_chain_is_taken_out_of_whoever_holds_it() -> None:
    shop = together()
    shop.send(click("u2", "c9"), alias("u1", "u2"), unmerge("a1"))
    assert (clicks(shop, "a1"), clicks(shop, "u2")) == (2, 2)
    shop.send(unmerge("u1", "undo-2"))
    assert (clicks(shop, "a1"), clicks(shop, "u1"), clicks(shop, "u2")) == (2, 1, 1)


def test_a_profile_comes_back_with_what_it_had_taken_up() -> None:
    shop = together()
    shop.send(click("u2", "c9"), alias("u1", "u2"), unmerge("u1"))
    assert (clicks(shop, "u1"), clicks(shop, "u2")) == (3, 1)
    assert shop.owner("shop/a1") == "shop/u1"
    shop.send(unmerge("a1", "undo-2"))
    assert (clicks(shop, "a1"), clicks(shop, "u1"), clicks(shop, "u2")) == (2, 1, 1)


def test_a_refusal_given_to_the_whole_holds_for_both_and_a_grant_goes_back_to_whose_it_was() -> None:
    shop = world()
    shop.now_ms += 100
    shop.send(consent("a1", True, NOW_MS), identify("u1", "a1"), unmerge("a1"))
    assert "marketing" not in shop.states["shop/u1"].consent and shop.states["shop/a1"].consent["marketing"].granted
    shop.send(identify("u1", "a1", id_="again", at_ms=NOW_MS + 60), consent("u1", False, NOW_MS + 70),
              unmerge("a1", "undo-2", NOW_MS + 80))
    assert [shop.states[f"shop/{name}"].consent["marketing"].granted for name in ("a1", "u1")] == [False, False]


def test_an_identifier_without_a_state_just_leaves() -> None:
    shop = world()
    shop.send(identify("u1", "e1"), unmerge("e1"))
    assert shop.owner("shop/e1") == "shop/e1" and outcomes(shop, "u1")["e1"] == UNMERGED


def test_after_a_logout_the_merge_before_it_can_still_be_undone() -> None:
    shop = together()
    shop.send(act(IdentityKind.LOGOUT, "a1", "out", NOW_MS + 10), click("a1", "c7"), unmerge("a1"))
    assert (clicks(shop, "u1"), clicks(shop, "a1")) == (1, 3)


def test_when_the_time_to_undo_is_over_the_copy_is_forgotten() -> None:
    shop = together()
    redirect = shop.states["shop/a1"]
    due_ms = shop.now_ms + 30 * 86_400_000
    assert redirect.timers == {UNDO_TIMER: due_ms} and redirect.given is not None
    shop.now_ms = due_ms
    shop.inbox.append(InboxRecord("due", "shop/a1", "shop/a1", due_ms=due_ms))
    shop.deliver()
    assert shop.states["shop/a1"].given is None
    assert shop.owner("shop/a1") == "shop/u1"
    shop.send(unmerge("a1"))
    assert clicks(shop, "u1") == 3 and shop.owner("shop/a1") == "shop/a1", "it leaves, and what it brought stays"


_moments = st.lists(st.integers(0, 50), max_size=8).map(lambda found: tuple(sorted(found)))


@st.composite
def profiles(draw: st.DrawFn, name: str) -> Person:
    counters = draw(st.dictionaries(st.sampled_from("xyz"), _moments, max_size=3))
    traits = draw(st.dictionaries(st.sampled_from("pq"), st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=2))
    return Person(profile_id=
        f"shop/{name}", traits={key: Trait(value, at) for key, (value, at) in traits.items()},
        behaviour=draw(st.dictionaries(st.sampled_from("vw"), _moments.filter(bool), max_size=2)),
        counters={key: Counter(times, len(times), {f"{name}{key}": 9}) for key, times in counters.items()},
    )


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(profiles("own"), profiles("given"), profiles("later"))
def test_undoing_gives_back_exactly_what_merging_brought(own: Person, other: Person, later: Person) -> None:
    whole = merged(own, other, "m1", 1)
    assert undo.without(whole, other, 2, "given").counters == own.counters
    assert undo.without(whole, other, 2, "given").behaviour == own.behaviour
    if not any(own.traits.get(name) == trait for name, trait in other.traits.items()):
        assert undo.without(whole, other, 2, "given").traits == own.traits
    both = undo.without(merged(whole, later, "m2", 2), other, 3, "given")
    assert both.counters == merged(own, later, "m2", 2).counters
    assert both.behaviour == merged(own, later, "m2", 2).behaviour

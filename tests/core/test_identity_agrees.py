"""Where an identifier leads, the evidence, the export and the erasure say the same, whatever was joined, undone and
erased before, and in whatever order the inboxes deliver; and no undoing permits what was refused."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.agents import inbox
from pipeline.core.consent.permission import given as agreed_to
from pipeline.core.decide import caps
from pipeline.core.identity.erasure import identifiers
from pipeline.core.model.records import (
    ConsentGrant,
    DecisionReply,
    DecisionRequest,
    FeedbackEvent,
    FeedbackKind,
    IdentityEvent,
    IdentityKind,
    InboxRecord,
)
from pipeline.core.model.words import Basis
from pipeline.core.sections.links import HELD, JOINED, LEFT, LIMITED, UNMERGED
from pipeline.core.subject import Erased, Person
from pipeline.flow import Reason
from tests.sim.agreements import disagreements, traces

from .build import made
from .small_world import Context, SmallWorld
from .test_erasure import erase
from .test_links import CAPS, NOW_MS, act, alias, click, clicks, identify, outcomes, world

NAMES = ("u1", "u2", "e1", "e2", "d1", "a1", "a2")


def test_what_came_along_with_a_device_stays_with_the_person_it_came_to() -> None:
    shop = world()
    shop.send(click("a1", "c1"), identify("d1", "a1"), identify("u1", "d1", at_ms=NOW_MS + 1),
              identify("u2", "d1", at_ms=NOW_MS + 2), click("a1", "c2"))
    assert (shop.owner("shop/a1"), shop.owner("shop/d1")) == ("shop/u1", "shop/u2")
    assert (outcomes(shop, "u1")["a1"], outcomes(shop, "u1")["d1"]) == (JOINED, LEFT)
    assert clicks(shop, "u1") == 2 and "shop/a1" in identifiers("shop/u1", shop.states["shop/u1"], "shop/u1")
    assert not list(disagreements(shop.states, shop.owner, lambda _: False))


def test_an_untyped_profile_counts_as_somebodys_account() -> None:
    shop = world()
    shop.send(click("u1", "c1"), alias("e1", "u1"), identify("u2", "e1", at_ms=NOW_MS + 1))
    assert (shop.owner("shop/u1"), shop.owner("shop/e1")) == ("shop/u1", "shop/u1")
    assert (outcomes(shop, "u2")["e1"], shop.states["shop/u2"].links["e1"].cause) == (LIMITED, "limit:user_id")


def test_an_unmerge_takes_back_no_other_link() -> None:
    shop = world()
    shop.now_ms += 1_000
    shop.send(click("u1", "c1"), click("a1", "c2"), identify("u1", "a1"), click("u2", "c3"), alias("u1", "u2"),
              act(IdentityKind.UNMERGE, "u1", "undo", NOW_MS + 50))
    assert outcomes(shop, "u2")["u1"] == UNMERGED
    assert shop.owner("shop/a1") == "shop/u1", "what came along goes back along"
    shop.send(erase("u2"))
    assert not isinstance(shop.states["shop/u1"], Erased) and not list(traces(shop.states))


def test_an_erasure_reaches_the_evidence_of_others() -> None:
    shop = world()
    shop.now_ms += 1_000
    shop.send(identify("u1", "e1"), identify("u2", "e1", at_ms=NOW_MS + 1))
    assert outcomes(shop, "u2")["e1"] == LIMITED and shop.states["shop/e1"].mentions
    shop.send(erase("u1"))
    assert not list(traces(shop.states)) and "e1" not in outcomes(shop, "u2")


def test_an_erasure_reaches_evidence_that_came_along_with_a_merge() -> None:
    shop = world()
    shop.now_ms += 1_000
    shop.send(identify("u1", "u2"), identify("e1", "u1", at_ms=NOW_MS + 1), erase("u1"))
    assert all(isinstance(shop.states[key], Erased) for key in ("shop/u1", "shop/e1"))
    assert not list(traces(shop.states)) and not shop.states["shop/u2"].mentions


def test_one_who_was_only_mentioned_is_forgotten_where_that_was() -> None:
    shop = world()
    shop.now_ms += 1_000
    shop.send(identify("u1", "e1"), identify("u2", "e1", at_ms=NOW_MS + 1), erase("u2"))
    assert not list(traces(shop.states)) and not shop.states["shop/e1"].mentions


def test_the_oldest_mention_past_the_limit_is_forgotten_on_both_sides() -> None:
    shop = world()
    shop.send(identify("u0", "e1"), *(identify(f"u{number}", "e1") for number in range(1, 40)))
    naming = {key for key, state in shop.states.items() if "e1" in state.links and key != "shop/e1"}
    assert naming == {"shop/u0", *shop.states["shop/e1"].mentions} and len(naming) == 33


def test_a_retry_meets_the_answer_of_the_key_that_became_an_alias() -> None:
    live = made({"identity": {}, "caps": {"c": {"count": "decision", "per": "item", "limit": 1, "window": "1d"}},
                 "consent": {"tracking": None}}, {"a": {"priority": 1}, "b": {}})
    shop = SmallWorld(NOW_MS, live)
    for name in ("d1", "u1", "u2"):
        shop.send(IdentityEvent(f"yes-{name}", f"shop/{name}", IdentityKind.CONSENT, NOW_MS - 9,
                                consent=[ConsentGrant("personalization", True, NOW_MS - 9)]))
    request = DecisionRequest("r", "shop/d1", "web", ["hero"], reply_partition=0)
    shop.send(request, identify("u1", "d1"), identify("u2", "d1", at_ms=NOW_MS + 1), request)
    first, again = (one.value for one in shop.emits if isinstance(one.value, DecisionReply) and one.value.decisions)
    assert first == again and first.decisions[0].item_id == "a"
    assert caps.EMPTY != shop.states["shop/u1"].counters["c|a"] and not shop.states["shop/u2"].counters


def _said(name: str, purpose: str, granted: bool, at_ms: int, basis: Basis = Basis.CONSENT) -> IdentityEvent:
    return IdentityEvent(f"said-{name}-{at_ms}-{granted}-{basis}", f"shop/{name}", IdentityKind.CONSENT, at_ms,
                         subject_type="user_id" if name[0] == "u" else "anonymous_id",
                         consent=[ConsentGrant(purpose, granted, at_ms, basis=basis)])


def _consenting() -> SmallWorld:
    shop = SmallWorld(NOW_MS + 1_000, made({"identity": {}, "caps": CAPS, "consent": {
        "tracking": None, "purposes": {"ads": {"bases": ["consent", "legitimate_interest"]}}}}, {"a": {}}))
    return shop


def _allowed(shop: SmallWorld, name: str) -> bool:
    assert shop.live is not None
    return agreed_to(shop.states[f"shop/{name}"].consent, shop.live.policy.purposes["ads"], "web", shop.now_ms)


def test_undoing_a_merge_does_not_bring_back_what_was_refused_before_it() -> None:
    shop = _consenting()
    shop.send(_said("u1", "ads", True, NOW_MS - 30, Basis.LEGITIMATE_INTEREST), _said("u1", "ads", False, NOW_MS - 20),
              _said("a1", "ads", True, NOW_MS - 10))
    assert not _allowed(shop, "u1")
    shop.send(identify("u1", "a1"), act(IdentityKind.UNMERGE, "a1", "undo", NOW_MS + 50))
    assert not _allowed(shop, "u1") and _allowed(shop, "a1")


_answer = st.tuples(st.booleans(), st.integers(1, 6), st.sampled_from([Basis.CONSENT, Basis.LEGITIMATE_INTEREST]))


@settings(max_examples=300, deadline=None)
@given(*(st.lists(_answer, max_size=3) for _ in range(3)), st.permutations(["a1", "a2"]))
def test_undoing_merges_never_loosens(own: Any, first: Any, second: Any, order: list[str]) -> None:
    shop = _consenting()
    for name, said in (("u1", own), ("a1", first), ("a2", second)):
        shop.send(click(name, f"c-{name}"),
                  *(_said(name, "ads", yes, NOW_MS - 10 * at, basis) for yes, at, basis in said))
    before = {name: _allowed(shop, name) for name in ("u1", "a1", "a2")}
    shop.send(identify("u1", "a1"), identify("u1", "a2", at_ms=NOW_MS + 1))
    for place, name in enumerate(order):
        shop.send(act(IdentityKind.UNMERGE, name, f"undo-{name}", NOW_MS + 50 + place))
    for name, allowed in before.items():
        assert not _allowed(shop, name) or allowed, f"{name} allows what was not allowed"


def test_what_both_sides_set_in_one_millisecond_is_left_with_both() -> None:
    shop = _consenting()
    shop.send(_said("u1", "ads", True, NOW_MS - 10), _said("a1", "ads", True, NOW_MS - 10), click("a1", "c"),
              identify("u1", at_ms=NOW_MS - 5, plan="pro"), identify("a1", at_ms=NOW_MS - 5, plan="pro"),
              identify("u1", "a1"), act(IdentityKind.UNMERGE, "a1", "undo", NOW_MS + 50))
    for name in ("u1", "a1"):
        assert _allowed(shop, name) and shop.states[f"shop/{name}"].traits["plan"].value == "pro"


def test_an_undone_merge_leaves_the_moments_that_were_counted_before_it() -> None:
    live = made({"identity": {}, "caps": {"c": {"count": "click", "per": "all", "limit": 2, "window": "12h"}},
                 "consent": {"tracking": None}}, {"a": {}})
    shop = SmallWorld(NOW_MS + 1_000, live)

    def clicked(name: str, at_ms: int) -> FeedbackEvent:
        return FeedbackEvent(f"{name}{at_ms}", f"shop/{name}", FeedbackKind.CLICK, NOW_MS + at_ms)

    shop.send(clicked("u1", 1), clicked("u1", 2), clicked("a1", 3), clicked("a1", 4), identify("u1", "a1"),
              clicked("u1", 5), act(IdentityKind.UNMERGE, "a1", "undo", NOW_MS + 50))
    assert shop.states["shop/u1"].counters["c|"].times == (NOW_MS + 2, NOW_MS + 5), "as many as the cap asks for"
    assert shop.states["shop/a1"].counters["c|"].times == (NOW_MS + 3, NOW_MS + 4)


_act = st.one_of(
    st.tuples(st.just("identify"), st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=2, unique=True)),
    st.tuples(st.just("alias"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(["logout", "unmerge", "click", "erase"]), st.sampled_from(NAMES), st.none()),
)


# The same examples in every run; `--hypothesis-seed` does not change them. Other ones are for a hunt of its own.
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(_act, st.lists(st.integers(0, 6), max_size=4)), min_size=2, max_size=12))
def test_evidence_ways_export_and_erasure_agree(steps: list[Any]) -> None:
    """Between two events some of the inboxes deliver, each in its own order; in the end all do. Where somebody's word
    ties what an unmerge under way takes apart, evidence and ways may part (docs/identity.md)."""
    shop = world()
    ringed = undone = False
    for number, ((verb, name, more), deliveries) in enumerate(steps):
        shop.now_ms += 10
        at_ms, id_ = shop.now_ms, f"{verb}{number}"
        if verb == "identify":
            shop.start(identify(name, *(one for one in more if one != name), id_=id_, at_ms=at_ms))
        elif verb == "alias" and name != more:
            ringed = True
            shop.start(alias(name, more, id_=id_, at_ms=at_ms))
        elif verb in ("logout", "unmerge"):
            undone = undone or verb == "unmerge"
            shop.start(act(IdentityKind(verb), name, id_, at_ms))
        elif verb == "click":
            shop.start(click(name, id_))
        elif verb == "erase":
            # Of identifiers at rest: what joins under way do meanwhile, the simulation tries.
            _deliver_all(shop)
            shop.start(erase(name, id_))
        for choice in deliveries:
            _deliver(shop, choice)
    _deliver_all(shop)
    if not (ringed and undone):
        wrong = [*disagreements(shop.states, shop.owner, lambda _: False), *traces(shop.states)]
        assert not wrong, "\n".join(map(str, [*wrong, *steps]))


def _deliver_all(shop: SmallWorld) -> None:
    for _ in range(500):
        if not shop.inbox:
            return
        _deliver(shop, 0)
    raise AssertionError("something travels for ever")


def _deliver(shop: SmallWorld, choice: int) -> None:
    """The oldest record of one of the keys that have some waiting."""
    waiting = list(dict.fromkeys(record.profile_id for record in shop.inbox))
    if not waiting:
        return
    key = waiting[choice % len(waiting)]
    place = next(place for place, record in enumerate(shop.inbox) if record.profile_id == key)
    record = shop.inbox.pop(place)
    shop.take(key, inbox.handle(record, shop.states.get(key), Context(shop.now_ms, shop.live)))


def test_one_who_was_split_off_does_not_come_back_with_whoever_brought_it() -> None:
    shop = world()
    shop.now_ms += 1_000
    shop.send(click("a1", "c1"), click("a2", "c2"), alias("a1", "a2"), click("d1", "c3"), alias("a2", "d1"))
    assert (shop.owner("shop/a1"), shop.owner("shop/a2")) == ("shop/d1", "shop/d1")
    for place, name in enumerate(("a1", "a2")):
        shop.send(act(IdentityKind.UNMERGE, name, f"undo-{name}", NOW_MS + 50 + place))
    assert shop.owner("shop/a1") == "shop/a1"
    assert outcomes(shop, "a2").get("a1") not in HELD
    assert not list(disagreements(shop.states, shop.owner, lambda _: False))


def test_an_identifier_that_gives_itself_up_twice_for_one_event_arrives_twice() -> None:
    shop = world()
    first, second = (Person(profile_id="shop/a1", alias_event="e", alias_at=place) for place in (1, 2))
    for given_up in (first, second, second):
        record = InboxRecord("e", "shop/u1", "shop/a1", merge=given_up)
        shop.take("shop/u1", inbox.handle(record, shop.states.get("shop/u1"), Context(shop.now_ms, shop.live)))
    assert (shop.reasons[Reason.MERGED], shop.reasons[Reason.DUPLICATE_EVENT]) == (2, 1)

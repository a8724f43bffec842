"""Laws of outcomes: no reward is lost or counted twice, whatever order events, decisions, merges and looks come in."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.model.outcome_rules import Attribution, Reward
from pipeline.core.model.records import (
    ConsentGrant,
    Decision,
    DecisionRequest,
    FeedbackEvent,
    FeedbackKind,
    IdentityEvent,
    IdentityKind,
    InboxRecord,
    ModelUpdate,
    Outcome,
)
from pipeline.core.model.values import packed, replaced, unpacked
from pipeline.core.model.words import ModelUse
from pipeline.core.outcomes import rewarding, telling
from pipeline.core.outcomes.attribution import TOUCHES_MAX, weights
from pipeline.core.outcomes.crediting import WAITING_MAX, worth
from pipeline.core.outcomes.exposing import CONTEXT_BYTES_MAX, VECTOR_BYTES_MAX, context_of, crowded
from pipeline.core.sections.exposures import Exposure, Shown
from pipeline.core.subject import OUTCOMES_TIMER, Person
from tests.core.build import made
from tests.core.small_world import SmallWorld
from topics.catalog import OUTCOMES

START, MINUTE = 1_700_000_000_000, 60_000
SUBJECTS = ("shop/a", "shop/b")
MODELS = ["last", "first", "linear", "position", {"time_decay": {"half_life": "10m"}}]


#: A model of clicks fills one placement, one of purchases the other.
LEARNING: dict[str, object] = {
    "models": {"clicks": {"kind": "beta", "outcome": "click"},
               "purchases": {"kind": "linucb", "outcome": "purchase", "features": ["candidate.value"]}},
    "rankings": {"clicked": {"model": "clicks"}, "bought": {"model": "purchases"}},
    "placements": {"hero": {"ranking": "clicked", "max_variants": 2}, "tiles": {"ranking": "bought"}},
}


def world(attribution: object = "last", credit: str = "item", more: Mapping[str, object] | None = None) -> SmallWorld:
    live = made({**(more or {}), "outcomes": {
        "click": {"event": {"event": "click"}, "window": "30m", "wait": "5m"},
        "purchase": {"event": {"event": "conversion"}, "window": "1h", "wait": "5m", "attribution": attribution,
                     "reward": "event.value", "credit": [credit] if credit == "item" else ["item", credit]},
    }}, {"x": {"campaign": "spring", "tags": ["sale"], "priority": 2}, "y": {"campaign": "spring", "tags": ["sale"]}})
    one = SmallWorld(START, live)
    for subject in SUBJECTS:
        one.send(IdentityEvent(f"c-{subject}", subject, IdentityKind.CONSENT, START,
                               consent=[ConsentGrant(name, True, 1) for name in ("personalization", "marketing")]))
    return one


def ask(one: SmallWorld, name: str, subject: str = "shop/a", placement: str = "hero") -> str:
    """The id of the decision."""
    before = len(one.emits)
    one.send(DecisionRequest(name, subject, "web", [placement], max_variants=2))
    return next(emit.value.decision_id for emit in one.emits[before:] if isinstance(emit.value, Decision))


def event(name: str, kind: FeedbackKind, at_ms: int, subject: str = "shop/a", item: str | None = "x",
          decision: str | None = None, value: float | None = None) -> FeedbackEvent:
    return FeedbackEvent(name, subject, kind, at_ms, kind.value, item, decision, value=value, channel="web")


def look(one: SmallWorld) -> None:
    """Time alone: every subject's own look, until nothing is due."""
    for _ in range(50):
        due = [key for key, state in one.states.items()
               if isinstance(state, Person) and state.timers.get(OUTCOMES_TIMER, math.inf) <= one.now_ms]
        if not due:
            return
        for key in due:
            one.inbox.append(InboxRecord(f"due-{key}", key, key, due_ms=one.now_ms))
        one.deliver()
        one.now_ms += 1
    raise AssertionError("something is due for ever")


def observed(one: SmallWorld) -> dict[tuple[str, str], tuple[int, float]]:
    """(model, item) → showings and rewards that the model was told of."""
    found: dict[tuple[str, str], tuple[int, float]] = {}
    updates = [emit.value for emit in one.emits if isinstance(emit.value, ModelUpdate)]
    for update in updates:
        for each in update.observations:
            key = (update.model_key.partition("%")[2], each.item_id)
            count, total = found.get(key, (0, 0.0))
            found[key] = count + each.first, total + each.reward
    return found


def told(one: SmallWorld) -> list[Outcome]:
    return [emit.value for emit in one.emits if emit.topic is OUTCOMES and isinstance(emit.value, Outcome)]


@given(st.sampled_from(["last", "first", "linear", "position", "view_through", "time_decay"]),
       st.lists(st.integers(START, START + 90 * 86_400_000), min_size=1, max_size=TOUCHES_MAX),
       st.integers(1, 10**10))
def test_shares_are_a_whole_and_none_is_negative(model: str, decided_ms: list[int], half_life_ms: int) -> None:
    shares = weights(Attribution(model, half_life_ms), sorted(decided_ms))  # type: ignore[arg-type]
    assert math.isclose(sum(shares), 1.0) and min(shares) >= 0.0 and len(shares) == len(decided_ms)


def test_a_decision_older_by_the_half_life_has_half_of_the_credit() -> None:
    assert weights(Attribution("time_decay", 10), [0, 10]) == pytest.approx((1 / 3, 2 / 3))


@pytest.mark.parametrize(("reward", "expected"), [
    (Reward(2.0), 2.0), (Reward(-0.5, "value"), -5.0), (Reward(1.0, "margin", True), 3.0),
    (Reward(1.0, "note", True), None), (Reward(1.0, "gift", True), None), (Reward(1.0, "none", True), None),
    (Reward(1e12, "value"), None),
])
def test_a_reward_is_a_number_or_none(reward: Reward, expected: float | None) -> None:
    one = FeedbackEvent("e", "shop/a", FeedbackKind.CONVERSION, 1, value=10.0,
                        properties={"margin": 3, "note": "3", "gift": True})
    assert worth(reward, one) == expected


def test_of_the_context_only_whole_facts_are_kept() -> None:
    context = context_of({f"profile.{n}": "x" * 100 for n in range(100)})
    assert len(context) <= CONTEXT_BYTES_MAX and context.endswith(b'"}')


def test_the_context_is_json_whatever_a_fact_is() -> None:
    facts = {"profile.since": datetime(2026, 1, 2, tzinfo=UTC), "profile.day": date(2026, 1, 2), "profile.name": 'a"ü',
             "journey.x.left": timedelta(seconds=90), "context.list": ("a", "b"), "profile.plus": True}
    assert json.loads(context_of(facts)) == {
        "profile.since": "2026-01-02T00:00:00+00:00", "profile.day": "2026-01-02", "profile.name": 'a"ü',
        "journey.x.left": "90s", "context.list": ["a", "b"], "profile.plus": True}


STEPS = st.lists(st.tuples(
    st.sampled_from(["ask", "ask", "click", "buy", "buy", "named", "early", "again", "wait", "merge", "undo"]),
    st.sampled_from(SUBJECTS), st.sampled_from(["x", "y", None]), st.integers(0, 20)), min_size=2, max_size=14)


@given(STEPS, st.sampled_from(MODELS), st.sampled_from(["item", "campaign", "tag"]))
@settings(max_examples=120, deadline=None)
def test_every_exposure_has_one_final_record_of_each_outcome_with_the_sum_of_its_parts(
    steps: list[tuple[str, str, str | None, int]], attribution: object, credit: str
) -> None:
    one = world(attribution, credit)
    decisions = lived(one, steps)
    _check(told(one), decisions)
    for state in one.states.values():
        assert not isinstance(state, Person) or not (state.exposures or state.awaiting)


@given(STEPS, st.sampled_from(MODELS), st.sampled_from(["item", "campaign", "tag"]))
@settings(max_examples=120, deadline=None)
def test_every_exposure_is_learnt_once_and_all_that_is_learnt_is_the_total_of_the_finals(
    steps: list[tuple[str, str, str | None, int]], attribution: object, credit: str
) -> None:
    one = world(attribution, credit, LEARNING)
    lived(one, steps)
    closed: dict[tuple[str, str], tuple[int, float]] = {}
    for record in told(one):
        if record.final and (record.model, record.outcome) in (("clicks", "click"), ("purchases", "purchase")):
            count, total = closed.get((record.model, record.action), (0, 0.0))
            closed[record.model, record.action] = count + 1, total + record.reward
    found = observed(one)
    assert found.keys() == closed.keys()
    for key, (count, total) in closed.items():
        assert found[key][0] == count
        assert found[key][1] == pytest.approx(total)


def lived(one: SmallWorld, steps: list[tuple[str, str, str | None, int]]) -> list[str]:
    """Take the steps, and let every window close; returns the decisions."""
    decisions: list[str] = []
    events: list[FeedbackEvent] = []
    merged = False
    for number, (what, subject, item, count) in enumerate(steps):
        one.now_ms += 1
        if what == "ask":
            decisions.append(ask(one, f"r{number}", subject, "tiles" if count % 2 else "hero"))
        elif what in ("click", "buy", "named", "early"):
            kind = FeedbackKind.CLICK if what == "click" else FeedbackKind.CONVERSION
            named = "nobody's" if what == "early" else decisions[count % len(decisions)] if (
                what == "named" and decisions) else None
            events.append(event(f"e{number}", kind, one.now_ms - count * MINUTE, subject, item, named, float(count)))
            one.send(events[-1])
        elif what == "again" and events:
            one.send(events[count % len(events)])
        elif what == "wait":
            one.now_ms += count * 5 * MINUTE
            look(one)
        elif what == "merge" and not merged:
            merged = True
            one.send(IdentityEvent("m", "shop/b", IdentityKind.ALIAS, one.now_ms, alias_of="shop/a"))
        elif what == "undo" and merged:
            one.send(IdentityEvent(f"u{number}", "shop/b", IdentityKind.UNMERGE, one.now_ms))
    for _ in range(3):
        one.now_ms += 2 * 60 * MINUTE
        look(one)
    return decisions


def _check(records: list[Outcome], decisions: list[str]) -> None:
    parts: dict[tuple[str, str, int | None], float] = defaultdict(float)
    weights_of: dict[tuple[str, str], float] = defaultdict(float)
    finals: dict[tuple[str, str, int | None], float] = {}
    for record in records:
        key = (record.decision_id, record.outcome, record.position)
        if record.final:
            assert key not in finals, "closed twice"
            finals[key] = record.reward
        elif record.matched_by == "none":
            assert record.reason
            weights_of[record.event_id, record.outcome] += 1
        else:
            assert key not in finals, "credited after it was closed"
            parts[key] += record.reward
            weights_of[record.event_id, record.outcome] += record.weight
    assert {decision for decision, _, _ in finals} == set(decisions)
    assert {(decision, place) for decision, outcome, place in finals if outcome == "click"} == {
        (decision, place) for decision, outcome, place in finals if outcome == "purchase"}
    assert parts.keys() <= finals.keys()
    for key, total in finals.items():
        assert total == pytest.approx(parts.get(key, 0.0))
    assert all(math.isclose(whole, 1.0) for whole in weights_of.values()), weights_of


CASES = [
    ("of another subject", {"decision": "other"}, "unknown_decision"),
    ("of an item that the decision did not show", {"item": "z"}, "not_shown"),
    ("of what is shown when nothing else may be", {"item": "welcome"}, "fallback"),
    ("older than its decision", {"ago": 11}, "before_decision"),
    ("long after it", {"later": 31}, "outside_window"),
]


@pytest.mark.parametrize(("what", "how", "reason"), CASES, ids=[one[0] for one in CASES])
def test_an_event_that_belongs_to_no_decision_says_why(what: str, how: dict[str, object], reason: str) -> None:
    one = world()
    own = ask(one, "r1")
    other = ask(one, "r2", "shop/b")
    later = how.get("later", 0)
    assert isinstance(later, int)
    one.now_ms += later * MINUTE
    ago = how.get("ago", 0)
    assert isinstance(ago, int)
    item = str(how.get("item", "x"))
    one.send(event("e", FeedbackKind.CLICK, one.now_ms - ago * MINUTE, item=item,
                   decision=other if "decision" in how else own))
    one.now_ms += 6 * MINUTE
    look(one)
    assert [record.reason for record in told(one) if record.matched_by == "none"] == [reason], what


def test_a_view_is_credited_where_nothing_was_clicked() -> None:
    one = world("view_through")
    ask(one, "r1")
    one.send(event("v", FeedbackKind.VIEW, one.now_ms), event("b", FeedbackKind.CONVERSION, one.now_ms, value=3.0))
    one.send(event("k", FeedbackKind.CLICK, one.now_ms), event("b2", FeedbackKind.CONVERSION, one.now_ms, value=4.0))
    bought = [record for record in told(one) if record.outcome == "purchase"]
    assert [(record.matched_by, record.reward, record.reason) for record in bought] == [
        ("item", 3.0, ""), ("none", 4.0, "clicked")]


@pytest.mark.parametrize("model", MODELS)
def test_a_decision_that_the_event_names_has_all_of_the_credit(model: object) -> None:
    one = world(model)
    first = ask(one, "r1")
    ask(one, "r2")
    one.send(event("b", FeedbackKind.CONVERSION, one.now_ms, decision=first, value=3.0))
    assert [(record.decision_id, record.weight) for record in told(one)] == [(first, 1.0)]


def test_what_was_closed_in_the_midst_of_a_merge_is_not_closed_again_after_it_is_undone() -> None:
    one = world()
    closed = ask(one, "r1", "shop/b")
    one.send(IdentityEvent("m", "shop/b", IdentityKind.ALIAS, one.now_ms, alias_of="shop/a"))
    one.now_ms += 36 * MINUTE
    look(one)
    assert [(record.outcome, record.final) for record in told(one)] == [("click", True)]
    one.send(event("e", FeedbackKind.CONVERSION, one.now_ms, "shop/b", decision=closed, value=2.0))
    one.send(IdentityEvent("u", "shop/b", IdentityKind.UNMERGE, one.now_ms))
    assert one.states["shop/a"].exposures == {} and closed in one.states["shop/b"].exposures
    one.now_ms += 60 * MINUTE
    look(one)
    finals = [(record.outcome, record.profile_id, record.reward) for record in told(one) if record.final]
    assert finals == [("click", "shop/a", 0.0), ("purchase", "shop/b", 2.0)]


def test_only_so_many_outcomes_wait_for_their_decisions() -> None:
    one = world()
    for number in range(WAITING_MAX + 3):
        one.now_ms += 1
        one.send(event(f"e{number}", FeedbackKind.CLICK, one.now_ms, decision=f"d{number}"))
    assert len(one.states["shop/a"].awaiting) == WAITING_MAX
    assert [(record.event_id, record.reason) for record in told(one)] == [
        (f"e{number}", "crowded") for number in range(3)]


def test_the_model_that_ordered_a_placement_is_carried_to_its_records() -> None:
    use = ModelUse("clicks", 7, {"x": (0.5, 1.0)})
    exposure = Exposure(START, "web", "", "rel", (Shown("x", "hero", 0), Shown("y", "tiles", 0)), models={"hero": use})
    stored = unpacked(Exposure, packed(exposure))
    assert stored.models["hero"].vectors == {"x": (0.5, 1.0)}
    assert [(one.action, one.model, one.snapshot)
            for one in telling.finals("shop/a", "d", stored, "click", "last", START, "")] == [
        ("x", "clicks", 7), ("y", "", 0)]


def test_what_models_chose_by_is_bounded_and_forgotten_once_its_outcome_is_closed() -> None:
    vector = tuple(map(float, range(64)))
    use = ModelUse("clicks", 7, {"x": vector}, "linucb;click;0.0..1.0;")
    light = Exposure(START, "web", "", "rel", (Shown("x", "hero", 0),), models={"hero": use})
    assert not crowded({f"d{number}": light for number in range(64)})
    vectors = {f"x{number}": vector for number in range(VECTOR_BYTES_MAX // (64 * 9))}
    assert crowded({"d": replaced(light, models={"hero": replaced(use, vectors=vectors)})})
    kept = rewarding.without_vectors({"hero": use, "tiles": replaced(use, form="beta;purchase;0.0..1.0;")}, "click")
    assert (kept["hero"].snapshot, kept["hero"].vectors, kept["tiles"].vectors) == (7, {}, {"x": vector})

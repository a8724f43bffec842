"""Whatever is shown has passed every gate, by whichever way it came: listed, instead of another, by the chain.

The oracle knows the policy's parts as the test drew them, and counts what was answered; it shares no code with the
gates but the hash that deals holdouts and arms.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.agents import feedback
from pipeline.core.decide.decision import decide
from pipeline.core.decide.experiments import assigned, held_out
from pipeline.core.decide.live import Live
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.core.subject import Person
from pipeline.flow import EVERYTHING_KNOWN, Accept

from .build import SUBJECT, agreed, asked, made

NOW, LATER = "2026-09-21T14:13:20Z", "2026-10-21T14:13:20Z"
NOW_MS = 1_790_000_000_000
NAMES = "abcdef"
UNBINDABLE = {"default": {"content": {"t": "{{ profile.name }}"}}}
POLICY: dict[str, Any] = {
    "caps": {"item": {"count": "decision", "per": "item", "limit": 2, "window": "1d"},
             "seen": {"count": "impression", "per": "tag", "limit": 2, "window": "1d"},
             "place": {"count": "decision", "per": "placement", "limit": 4, "window": "1d"}},
    "suppressions": {"bored": {"when": "dismissal", "per": "item", "at_least": 1, "within": "1d", "lasts": "1d"}},
    "experiments": {"e": {"variations": {"control": {}, "narrow": {"without": ["b", "c"]}}}},
    "holdouts": {"h": {"share": 40, "for": {"tag": "u"}}},
    "placements": {"tiles": {"diversity": [{"per": "campaign", "at_most": 1}]}},
}

_item = st.fixed_dictionaries({
    "priority": st.integers(0, 3), "tags": st.lists(st.sampled_from("tu"), max_size=2, unique=True),
    "campaign": st.sampled_from(["", "x", "y"]), "instead": st.sampled_from(["", *NAMES]),
    "placements": st.sampled_from([[], ["hero"], ["tiles"], ["elsewhere"]]),
    "variants": st.sampled_from([{"default": {}}, UNBINDABLE]),
    "suitability": st.sampled_from(["true", "false", "context.page == '/'"]),
}, optional={
    "inventory": st.sampled_from([0, 3]),
})
_validity = st.sampled_from([
    {}, {"valid_until": NOW}, {"valid_from": LATER}, {"valid_from": NOW, "valid_until": LATER}])
_worlds = st.fixed_dictionaries(
    {name: st.tuples(_item, _validity).map(lambda one: {**one[0], **one[1]}) for name in NAMES})
_steps = st.lists(st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(["hero", "tiles", "both"]), st.integers(1, 3)),
    st.tuples(st.just("dismiss"), st.sampled_from(NAMES), st.just(0))), min_size=1, max_size=8)


class _Context:
    def __init__(self, live: Live, now_ms: int) -> None:
        self.now_ms, self._live = now_ms, live

    def live(self, tenant: str) -> Live | None:
        return self._live

    def reported_ms(self) -> int:
        return EVERYTHING_KNOWN

    def beside(self, name: str) -> bytes | None:
        return None


class _Oracle:
    def __init__(self, live: Live, items: dict[str, Any], subject: str) -> None:
        self.items = items
        holdout, experiment = live.policy.holdouts[0], live.policy.experiments[0]
        self.held_out = held_out(holdout, subject, NOW_MS)
        arm = assigned(experiment, subject, {}, {}, NOW_MS)
        self.narrow = arm is not None and arm.id == "narrow"
        self.counts: Counter[str] = Counter()
        self.suppressed: set[str] = set()

    def may_show(self, name: str, page: str) -> None:
        one = self.items[name]
        assert one.get("inventory") != 0, "out of stock"
        assert one.get("valid_until") != NOW and one.get("valid_from") != LATER, "not valid now"
        assert one["suitability"] == "true" or (one["suitability"] != "false" and page == "/"), "its rule"
        assert one["variants"] is not UNBINDABLE, "cannot be bound"
        assert name not in self.suppressed, "suppressed"
        assert not (self.held_out and "u" in one["tags"]), "held out"
        assert not (self.narrow and name in "bc"), "not in the arm"

    def show(self, name: str, placement: str) -> None:
        for key, limit in ((f"item {name}", 2), (f"place {placement}", 4),
                           *((f"seen {tag}", 2) for tag in self.items[name]["tags"])):
            self.counts[key] += 1
            assert self.counts[key] <= limit, f"capped: {key}"


@settings(max_examples=300, deadline=None)
@given(_worlds, st.lists(st.sampled_from(NAMES), max_size=3, unique=True), _steps, st.integers(0, 5),
       st.sampled_from(["/", "/x"]))
def test_whatever_is_shown_has_passed_every_gate(
    items: dict[str, Any], chain: list[str], steps: list[Any], subject: int, page: str
) -> None:
    policy = {**POLICY, "placements": {
        **POLICY["placements"],
        "hero": {"fallback": {"item": "welcome", "chain": chain}},
        "elsewhere": {"channels": ["web"], "fallback": {"item": "welcome"}}}}
    live = made(policy, items)
    profile = agreed(Person(profile_id=f"{SUBJECT}{subject}"))
    oracle = _Oracle(live, items, profile.profile_id)
    for number, (verb, what, wanted) in enumerate(steps):
        if verb == "dismiss":
            event = FeedbackEvent(f"f{number}", profile.profile_id, FeedbackKind.DISMISSAL, NOW_MS, "dismissal", what)
            outcome = feedback.handle(event, profile, _Context(live, NOW_MS))
            assert isinstance(outcome, Accept)
            profile = outcome.state or profile
            oracle.suppressed.add(what)
            continue
        placements = ["hero", "tiles"] if what == "both" else [what]
        result = decide(asked(f"r{number}", placements, max_variants=wanted, attributes={"page": page}), profile, live,
                        NOW_MS)
        shown = [one for one in result.decisions if one.item_id in items]
        assert len({one.item_id for one in shown}) == len(shown), "one item twice in one answer"
        for one in shown:
            oracle.may_show(one.item_id, page)
            oracle.show(one.item_id, one.placement)
            assert not one.fallback or one.item_id in chain or any(
                items[name]["instead"] for name in chain), "of the chain, or instead of one of it"
        for place in placements:
            groups = [items[one.item_id]["campaign"] for one in shown if one.placement == place and place == "tiles"]
            assert all(count == 1 for name, count in Counter(groups).items() if name), "diversity"
        audited = [one.item_id for one in result.candidates if one.outcome == "chosen"]
        assert sorted(audited) == sorted(one.item_id for one in shown)
        profile = result.profile or profile


def _share(counts: Counter[str], name: str) -> float:
    return counts[name] / counts.total()


def test_a_draw_is_of_the_decision_and_not_of_the_request_id_alone() -> None:
    live = made({"rankings": {"draw": {"formula": "candidate.value", "lottery": True}},
                 "placements": {"hero": {"ranking": "draw"}}}, {name: {} for name in "abcd"})
    request = asked("campaign-1")
    drawn: Counter[str] = Counter()
    for number in range(1_000):
        subject = f"shop/s{number}"
        one = decide(_of(request, subject), agreed(Person(profile_id=subject)), live, NOW_MS).decisions[0]
        drawn[one.item_id] += 1
        assert one.propensity == 0.25
    assert all(0.2 < _share(drawn, name) < 0.3 for name in "abcd")


def _of(request: Any, subject: str) -> Any:
    return type(request)(request.request_id, subject, request.channel, request.placements)


def test_ties_that_are_drawn_record_their_chance() -> None:
    items = {"a": {"priority": 2}, "b": {"priority": 1}, "c": {}, "d": {}, "low": {"attributes": {"value": 0.1}}}
    live = made({"rankings": {"even": {"formula": "candidate.value", "ties": "draw"}},
                 "placements": {"hero": {"ranking": "even"}}}, items)
    drawn: Counter[str] = Counter()
    for number in range(1_000):
        one = decide(asked(f"r{number}"), agreed(), live, NOW_MS).decisions[0]
        assert one.propensity == 0.25
        drawn[one.item_id] += 1
    assert all(0.2 < _share(drawn, name) < 0.3 for name in "abcd") and not drawn["low"]


def test_the_chances_of_all_that_may_come_add_up_to_one_with_caps_and_stand_ins() -> None:
    """`a` and `b` both lead to `c`; `full` has no room left, so it is no part of the draw."""
    items = {"a": {"instead": "c", "variants": UNBINDABLE, "attributes": {"value": 3.0}},
             "b": {"instead": "c", "variants": UNBINDABLE, "attributes": {"value": 2.0}},
             "c": {"attributes": {"value": 1.0}}, "d": {"attributes": {"value": 4.0}},
             "full": {"attributes": {"value": 90.0}, "tags": ["t"]}}
    live = made({"rankings": {"draw": {"formula": "candidate.value", "lottery": True}},
                 "caps": {"none": {"count": "decision", "per": "item", "limit": 1, "window": "1d",
                                   "for": {"item": "full"}}},
                 "placements": {"hero": {"ranking": "draw"}}}, items)
    profile = agreed()
    for number in range(200):
        result = decide(asked(f"first{number}"), profile, live, NOW_MS)
        if result.decisions[0].item_id == "full":
            profile = result.profile or profile
            break
    drawn: Counter[str] = Counter()
    for number in range(1_000):
        one = decide(asked(f"r{number}"), profile, live, NOW_MS).decisions[0]
        assert one.propensity == {"c": 0.6, "d": 0.4}[one.item_id]
        drawn[one.item_id] += 1
    assert 0.55 < _share(drawn, "c") < 0.65

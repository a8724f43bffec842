"""An audit holds what its decision read: deciding over it gives the same, and nothing out of reach is in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.decide.decision import DecisionResult, decide
from pipeline.core.decide.live import Live, read_by
from pipeline.core.rules.segments import refresh
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.lifecycle import Stage
from pipeline.core.sections.links import Link
from pipeline.core.sections.merges import Merge
from pipeline.core.sections.section import changed
from pipeline.core.sections.sessions import Session
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person, Rotation

from .build import SUBJECT, agreed, asked, joined, made

NOW = 1_800_000_000_000
HOUR = 3_600_000

#: Every way by which something of a profile reaches a decision has a part of its own here.
POLICY: dict[str, Any] = {
    "placements": {
        "hero": {"applicability": "profile.age >= 18"},
        "tiles": {"ranking": "worth"},
        "basket": {"channels": ["web"], "fallback": {"item": "none"}},
    },
    "rankings": {"worth": {"formula": "candidate.value * features.propensity"},
                 "spent": {"formula": "candidate.value * profile.spent"}},
    "signals": {"looks": {"count": {"event": "view"}, "within": "1d", "up_to": 5},
                "clicks": {"count": {"event": "click"}, "within": "1h", "up_to": 5}},
    "segments": {"keen": {"rule": "signals.looks >= 2"}, "rich": {"rule": "profile.member"}},
    "lifecycle": {"stages": [{"name": "new", "rule": "true"}, {"name": "active", "rule": "signals.looks >= 1"}]},
    "experiments": {"order": {"for": {"placement": "tiles"},
                              "variations": {"as_is": {}, "by_spending": {"ranking": "spent"}}}},
    "caps": {"once": {"count": "decision", "per": "item", "limit": 2, "window": "1d"},
             "visit": {"count": "decision", "per": "campaign", "limit": 1, "window": "session"}},
    "suppressions": {"tired": {"when": "dismissal", "per": "item", "within": "1d", "lasts": "1d"}},
}
ITEMS: dict[str, Any] = {
    "for_keen": {"eligibility": "segment.keen", "placements": ["hero"]},
    "for_rich": {"eligibility": "'rich' in segments", "placements": ["tiles"]},
    "for_clicks": {"eligibility": "signals.clicks >= 1", "placements": ["tiles"], "campaign": "c"},
    "for_active": {"eligibility": "lifecycle == 'active'", "placements": ["basket"]},
    "plain": {"placements": ["hero", "tiles"], "priority": -1, "campaign": "c"},
    "loud": {"placements": ["tiles"], "priority": 9, "campaign": "c", "bypass": ["visit"]},
}
LIVE = made(POLICY, ITEMS)
#: Some segments change by the clock alone.
TIMED = made(joined(POLICY, {"segments": {"late": {"rule": "local.hour >= 12 && profile.age >= 30"}}}), ITEMS)
#: The signals began to be counted a minute ago.
NEW = replace(LIVE, policy=replace(LIVE.policy, signals=tuple(
    replace(one, since_ms=NOW - 60_000) for one in LIVE.policy.signals)))

_ago = st.integers(1, 30 * HOUR).map(lambda ms: NOW - ms)
_moments = st.lists(_ago, max_size=4).map(lambda found: tuple(sorted(found)))
_counters = st.builds(lambda times, held: Counter(times, len(times), held), _moments,
                      st.dictionaries(st.sampled_from(["d/plain/hero/web"]), st.integers(NOW - 5, NOW + 5), max_size=1))


def _traits(values: dict[str, Any]) -> dict[str, Trait]:
    return {name: Trait(value, 1) for name, value in values.items()}


_profiles = st.fixed_dictionaries({
    "traits": st.fixed_dictionaries({}, optional={
        "age": st.integers(16, 40), "spent": st.sampled_from([0.0, 2.0]), "member": st.booleans(),
        "zone": st.sampled_from(["Pacific/Auckland", "America/New_York"]),
        "features.propensity": st.sampled_from([0.0, 0.7]), "plan": st.just("pro"), "name": st.just("Ann"),
    }).map(_traits),
    "behaviour": st.dictionaries(st.sampled_from([key for one in LIVE.policy.signals for key in one.keys]), _moments),
    "heard_ms": st.sampled_from([0, 1, NOW - HOUR]),
    "segments": st.dictionaries(st.sampled_from(["keen", "late", "rich"]), _ago),
    "stages": st.sampled_from([(), (Stage("new", 1),), (Stage("new", 1), Stage("active", 2))]),
    "sessions": st.dictionaries(st.sampled_from(["web", "email"]), st.builds(Session, _ago, st.just(NOW - 60_000))),
    "counters": st.dictionaries(st.sampled_from(
        ["once|plain", "once|for_keen", "once|for_clicks", "visit|c|web", "visit|c|email", "gone|x"]), _counters),
    "suppressions": st.dictionaries(st.sampled_from(["tired|plain", "tired|for_keen", "tired|for_active"]),
                             st.integers(NOW - 5, NOW + 5)),
    "assignments": st.dictionaries(st.sampled_from(["order", "old"]), st.sampled_from(["as_is", "by_spending"])),
    "rotation": st.sampled_from([None, Rotation(), Rotation(first="shop/first", taken=("first",))]),
    "merged": st.sampled_from([{}, {"shop/other": Merge("e", 5)}]),
    "links": st.just({"other": Link("device", "joined", "e", 1, 1)}),
})


def _decided(result: DecisionResult) -> Any:
    return (result.decisions, result.candidates, result.consent, result.reason, result.fallback, result.exposures,
            result.changes)


@given(_profiles, st.booleans(), st.lists(st.sampled_from(["hero", "tiles", "basket"]), min_size=1, unique=True),
       st.integers(0, 9), st.sampled_from(["web", "email"]), st.sampled_from([LIVE, TIMED, NEW]))
def test_deciding_over_what_was_read_gives_the_same(
    parts: dict[str, Any], fresh: bool, placements: list[str], serial: int, channel: str, live: Live
) -> None:
    profile = agreed(changed(Person(profile_id=SUBJECT), **parts))
    if fresh:
        profile, _ = refresh(profile, live.policy, NOW - 1, None)
    request = asked(f"r{serial}", placements, channel, max_variants=2)
    read = read_by(profile, request, live, NOW, None)
    assert _decided(decide(request, read, live, NOW)) == _decided(decide(request, profile, live, NOW))


_HOUR_AGO = {"visit|c|web": Counter((NOW - HOUR,), 1)}
_LONG = {"web": Session(NOW - 2 * HOUR, NOW - 60_000)}


@pytest.mark.parametrize(("live", "placements", "parts", "part"), [
    (LIVE, ["hero"], {"counters": _HOUR_AGO, "sessions": _LONG}, "sessions"),
    (LIVE, ["hero"], {"counters": _HOUR_AGO, "sessions": _LONG}, "counters"),
    (LIVE, ["tiles", "hero"], {"counters": _HOUR_AGO, "sessions": _LONG, "merged": {"shop/o": Merge("e", 5)}},
     "merged"),
    (NEW, ["tiles"], {"heard_ms": 1}, "heard_ms"),
    (LIVE, ["tiles"], {"rotation": Rotation(first="shop/first-3")}, "rotation"),
    (LIVE, ["tiles"], {"assignments": {"order": "by_spending"}, "traits": {"spent": Trait(3.0, 1)}}, "traits"),
    (LIVE, ["hero"], {"suppressions": {"tired|plain": NOW + 5}}, "suppressions"),
    (LIVE, ["basket"], {"stages": (Stage("new", 1), Stage("active", 2))}, "stages"),
    (LIVE, ["tiles"], {"behaviour": {LIVE.policy.signals[0].keys[0]: (NOW - 9, NOW - 8)}}, "behaviour"),
    (LIVE, ["tiles"], {"traits": {"member": Trait(True, 1)}}, "segments"),
    (LIVE, ["hero"], {"traits": {"age": Trait(15, 1)}}, "traits"),
], ids=lambda one: one if isinstance(one, str) else "")
def test_each_part_that_changes_a_decision_is_read(
    live: Live, placements: list[str], parts: dict[str, Any], part: str
) -> None:
    adult = {"age": Trait(20, 1)}
    known = agreed(changed(Person(profile_id=SUBJECT), **{**parts, "traits": {**adult, **parts.get("traits", {})}}))
    profile, _ = refresh(known, live.policy, NOW - 1, None)
    request = asked("r", placements, max_variants=3)
    without = changed(profile, **{part: adult if part == "traits" else getattr(Person(), part)})
    told = _decided(decide(request, profile, live, NOW))
    assert told != _decided(decide(request, without, live, NOW)), "the example shows nothing"
    assert _decided(decide(request, read_by(profile, request, live, NOW, None), live, NOW)) == told


@given(_profiles)
def test_what_is_out_of_reach_is_not_in_it(parts: dict[str, Any]) -> None:
    profile, _ = refresh(agreed(changed(Person(profile_id=SUBJECT), **parts)), LIVE.policy, NOW - 1, None)
    read = read_by(profile, asked("r", "basket"), LIVE, NOW, None)
    assert not read.traits.keys() & {"plan", "name", "spent", "features.propensity"}
    assert not read.links and not read.sessions.keys() - {"web"} and not read.consent.keys() - {"personalization"}
    assert read.counters.keys() <= {"once|for_active"} and read.suppressions.keys() <= {"tired|for_active"}
    assert "old" not in read.assignments and "shop/other" not in read.merged


def test_ten_times_as_much_that_no_rule_reads_is_no_byte_more() -> None:
    profile = agreed(Person(profile_id=SUBJECT, traits={"age": Trait(20, 1)}))
    more = changed(profile, traits={**profile.traits, "name": Trait("x" * 10_000, 1)},
                   counters={f"gone|{n}": Counter((NOW,), 1) for n in range(200)})
    request = asked("r", "hero")
    assert read_by(more, request, LIVE, NOW, None) == read_by(profile, request, LIVE, NOW, None)

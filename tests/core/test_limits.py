"""What is kept of one subject is bounded, part by part (docs/limits.md)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.agents import feedback, requests
from pipeline.codecs import state
from pipeline.core.decide import caps
from pipeline.core.decide.decision import decide
from pipeline.core.decide.live import Live
from pipeline.core.model.bounds import ASSIGNMENTS_KEPT_MAX, REPLIES_BYTES_MAX, SIGNALS_KEPT_MAX
from pipeline.core.model.records import COUNTED, DecisionReply, DecisionRequest, FeedbackEvent, FeedbackKind
from pipeline.core.model.values import packed
from pipeline.core.rules.segments import refresh
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.lifecycle import STAGES_MAX
from pipeline.core.sections.retries import REPLY_SLOTS, REQUESTS_MAX, reply_name
from pipeline.core.sections.section import changed
from pipeline.core.sections.timestamps import TIMESTAMPS_MAX
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person, carrying_replies
from pipeline.flow import Accept, Reason
from tests.support.beside import Beside
from topics.catalog import DECISION_REPLIES

from .build import SUBJECT, agreed, asked, made
from .small_world import Context

NOW_MS = 1_790_000_000_000


def test_an_item_that_is_not_ours_makes_no_counter() -> None:
    scopes = ("item", "tag", "campaign", "placement", "channel")
    live = made({
        "caps": {f"{scope}-{kind}": {"count": kind, "per": scope, "limit": 3, "window": "1d"}
                 for scope in scopes for kind in COUNTED.values()},
        "suppressions": {f"bored-{scope}": {"when": "click", "per": scope, "within": "1d", "lasts": "1d"}
                         for scope in scopes},
    }, {"a": {"tags": ["t"], "campaign": "c"}})
    profile = agreed()
    for number in range(500):
        for kind in COUNTED:
            event = FeedbackEvent(f"{kind}{number}", SUBJECT, kind, NOW_MS + number, kind.value, f"i{number}",
                                  f"d{number}", f"p{number}", f"c{number}")
            outcome = feedback.handle(event, profile, Context(NOW_MS + number, live))
            assert isinstance(outcome, Accept)
            profile = outcome.state or profile
    assert profile.counters == {} and profile.suppressions == {}


def _asked_often(fields: int, count: int) -> tuple[Person, Live, Beside, dict[str, DecisionReply]]:
    """A profile after so many requests whose replies have so many fields of 9 kB."""
    live = made({}, {"a": {"variants": {"default": {"content": {f"t{n}": "x" * 9_000 for n in range(fields)}}}}})
    profile, beside, replies = agreed(), Beside(), {}
    for number in range(count):
        outcome: Any = requests.handle(_request(f"r{number}"), profile, Context(NOW_MS + number, live, beside))
        assert isinstance(outcome, Accept)
        beside.put("", outcome)
        profile = outcome.state or profile
        replies[f"r{number}"] = _reply(outcome.emits)
    return profile, live, beside, replies


def test_replies_lie_beside_the_state_and_every_retry_gets_its_own() -> None:
    profile, live, beside, replies = _asked_often(20, 5)
    assert len(state.encode(profile)) < 2_000
    assert {name: _reply(_again(name, profile, live, beside).emits) for name in replies} == replies


def test_a_reply_past_its_limit_is_not_kept_and_nothing_is_decided_twice() -> None:
    profile, live, beside, _ = _asked_often(30, 1)
    again = _again("r0", profile, live, beside)
    assert again.reason is Reason.REPEATED_REQUEST and _reply(again.emits).error == "answer_not_kept"


def test_a_slot_that_a_lost_decision_wrote_over_answers_no_other_request() -> None:
    profile, live, beside, replies = _asked_often(1, 2)
    beside.put("", Accept(Reason.DECIDED, None, (), {reply_name(0): packed(replies["r1"])}))
    assert _reply(_again("r0", profile, live, beside).emits).error == "answer_not_kept"


def test_a_profile_that_leaves_its_key_takes_its_newest_replies_along() -> None:
    profile, live, beside, replies = _asked_often(20, 5)
    carried = carrying_replies(profile, beside)
    assert [*carried.requests] == [*replies]
    assert sum(len(one.reply) for one in carried.requests.values()) <= REPLIES_BYTES_MAX
    again = {name: _reply(_again(name, carried, live, Beside()).emits) for name in replies}
    assert [one.error for one in again.values()] == ["answer_not_kept"] * 3 + [None] * 2
    assert again["r4"] == replies["r4"]


def test_the_slots_for_replies_are_written_over_in_turn() -> None:
    profile, live, beside, replies = _asked_often(1, REPLY_SLOTS + 3)
    kept = [name for name in replies if name in profile.requests]
    assert len(kept) == REQUESTS_MAX
    assert all(_reply(_again(name, profile, live, beside).emits) == replies[name] for name in kept)


def _request(name: str) -> DecisionRequest:
    return asked(name, digest="d", reply_partition=0)


def _again(name: str, profile: Person, live: Live, beside: Beside) -> Any:
    return requests.handle(_request(name), profile, Context(NOW_MS + 900, live, beside))


def _reply(emits: Any) -> DecisionReply:
    [reply] = [emit.value for emit in emits if emit.topic is DECISION_REPLIES]
    assert isinstance(reply, DecisionReply)
    return reply


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**6), st.integers(0, 40), st.integers(1, TIMESTAMPS_MAX))
def test_the_weight_of_a_decision_costs_nothing(weight: int, before: int, keep: int) -> None:
    """However much a decision weighs, a counter keeps no more timestamps than its limit asks about."""
    counter: Counter | None = None
    for at_ms in range(before):
        counter = caps.counted(counter, at_ms, 1, keep)
    after = caps.counted(counter, 99, weight, keep)
    assert after.total == before + weight and len(after.times) == min(before + weight, keep)
    assert after.times == tuple(sorted(after.times))


def test_what_no_release_asks_about_any_more_is_forgotten() -> None:
    live = made({
        "experiments": {"e": {"variations": {"v": {}}}}}, {"a": {}})
    old = {f"gone{number}": "v" for number in range(ASSIGNMENTS_KEPT_MAX + 5)}
    profile = changed(agreed(), assignments=old)
    after = decide(asked(), profile, live, NOW_MS).profile
    assert after is not None and after.assignments == {"e": "v"}
    signals = made({"signals": {"clicks": {"count": {"event": "click"}}}}, {"a": {}})
    [signal] = signals.policy.signals
    profile = changed(agreed(), behaviour={f"gone{number}": (1,) for number in range(SIGNALS_KEPT_MAX + 5)})
    event = FeedbackEvent("e", SUBJECT, FeedbackKind.CLICK, NOW_MS, "click", "a")
    outcome = feedback.handle(event, profile, Context(NOW_MS, signals))
    assert isinstance(outcome, Accept) and outcome.state is not None
    assert set(outcome.state.behaviour) == set(signal.keys)


def test_stages_are_the_newest() -> None:
    live = made({"lifecycle": {"stages": [{"name": "young", "rule": "profile.age < 18"},
                                          {"name": "grown", "rule": "profile.age >= 18"}]}})
    profile: Person = agreed()
    for number in range(3 * STAGES_MAX):
        traits = agreed(Person(profile_id=SUBJECT)).traits | {"age": Trait(10 + 10 * (number % 2), number)}
        profile, _ = refresh(changed(profile, traits=traits), live.policy, NOW_MS + number, None)
    assert len(profile.stages) == STAGES_MAX
    assert profile.stages[-1].entered_at_ms == NOW_MS + 3 * STAGES_MAX - 1

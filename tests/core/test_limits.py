"""What is kept of one subject is bounded, part by part (docs/limits.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.agents import feedback, requests
from pipeline.core import caps
from pipeline.core.bounds import ASSIGNMENTS_KEPT_MAX, REPLIES_BYTES_MAX, SIGNALS_KEPT_MAX
from pipeline.core.decide import decide
from pipeline.core.learn import COUNTED
from pipeline.core.live import Live
from pipeline.core.model import DecisionReply, DecisionRequest, FeedbackEvent, FeedbackKind
from pipeline.core.profile import MOMENTS_MAX, STAGES_MAX, Counter, Profile, Trait
from pipeline.core.segments import refresh
from pipeline.flow import Accept, Reason
from topics.catalog import DECISION_REPLIES

from .build import SUBJECT, agreed, asked, made
from .small_world import Context

NOW_MS = 1_790_000_000_000


def test_an_item_that_is_not_ours_makes_no_counter() -> None:
    scopes = ("item", "tag", "campaign", "placement", "channel")
    live = made({
        "caps": {f"{scope}-{kind}": {"count": kind, "per": scope, "limit": 3, "window": "1d"}
                 for scope in scopes for kind in COUNTED.values()},
        "rests": {f"rest-{scope}": {"when": "click", "per": scope, "within": "1d", "rest": "1d"} for scope in scopes},
    }, {"a": {"tags": ["t"], "campaign": "c"}})
    profile = agreed()
    for number in range(500):
        for kind in COUNTED:
            event = FeedbackEvent(f"{kind}{number}", SUBJECT, kind, NOW_MS + number, kind.value, f"i{number}",
                                  f"d{number}", f"p{number}", f"c{number}")
            outcome = feedback.handle(event, profile, Context(NOW_MS + number, live))
            assert isinstance(outcome, Accept)
            profile = outcome.state or profile
    assert profile.counters == {} and profile.rests == {}


def test_answers_are_kept_up_to_so_many_bytes() -> None:
    live = made({}, {"a": {"variants": {"default": {"content": {f"t{n}": "x" * 9_000 for n in range(20)}}}}})
    profile = agreed()
    replies: dict[str, Any] = {}
    for number in range(5):
        outcome: Any = requests.handle(_request(f"r{number}"), profile, Context(NOW_MS + number, live))
        assert isinstance(outcome, Accept)
        profile = outcome.state or profile
        replies[f"r{number}"] = _reply(outcome.emits)
    assert sum(len(one.reply) for one in profile.requests.values()) <= REPLIES_BYTES_MAX
    again = {name: _reply(_again(name, profile, live).emits)
             for name in replies}
    assert [one.error for one in again.values()] == ["answer_not_kept"] * 3 + [None] * 2
    assert again["r4"] == replies["r4"]
    assert _again("r0", profile, live).reason is Reason.REPEATED_REQUEST, "and it is not decided anew"


def _request(name: str) -> DecisionRequest:
    return asked(name, digest="d", reply_partition=0)


def _again(name: str, profile: Profile, live: Live) -> Any:
    return requests.handle(_request(name), profile, Context(NOW_MS + 9, live))


def _reply(emits: Any) -> DecisionReply:
    [reply] = [emit.value for emit in emits if emit.topic is DECISION_REPLIES]
    assert isinstance(reply, DecisionReply)
    return reply


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**6), st.integers(0, 40), st.integers(1, MOMENTS_MAX))
def test_the_weight_of_a_decision_costs_nothing(weight: int, before: int, keep: int) -> None:
    """However much a decision weighs, a counter keeps no more moments than its limit asks about."""
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
    profile = replace(agreed(), assignments=old)
    after = decide(asked(), profile, live, NOW_MS).profile
    assert after is not None and after.assignments == {"e": "v"}
    signals = made({"signals": {"clicks": {"count": {"event": "click"}}}}, {"a": {}})
    [signal] = signals.policy.signals
    profile = replace(agreed(), behaviour={f"gone{number}": (1,) for number in range(SIGNALS_KEPT_MAX + 5)})
    event = FeedbackEvent("e", SUBJECT, FeedbackKind.CLICK, NOW_MS, "click", "a")
    outcome = feedback.handle(event, profile, Context(NOW_MS, signals))
    assert isinstance(outcome, Accept) and outcome.state is not None
    assert set(outcome.state.behaviour) == set(signal.keys)


def test_stages_are_the_newest() -> None:
    live = made({"lifecycle": {"stages": [{"name": "young", "rule": "profile.age < 18"},
                                          {"name": "grown", "rule": "profile.age >= 18"}]}})
    profile: Profile = agreed()
    for number in range(3 * STAGES_MAX):
        traits = agreed(Profile(profile_id=SUBJECT)).traits | {"age": Trait(10 + 10 * (number % 2), number)}
        profile, _ = refresh(replace(profile, traits=traits), live.policy, NOW_MS + number, None)
    assert len(profile.stages) == STAGES_MAX
    assert profile.stages[-1].entered_at_ms == NOW_MS + 3 * STAGES_MAX - 1

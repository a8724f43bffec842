"""No sequence of requests, events, retries and merges passes a cap: checked against a count made from the outputs."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.agents import feedback, identity, inbox, requests
from pipeline.core.decide import caps
from pipeline.core.decide.live import Live
from pipeline.core.model.definitions import Cap
from pipeline.core.model.records import (
    ConsentGrant,
    DecisionRequest,
    FeedbackEvent,
    FeedbackKind,
    IdentityEvent,
    IdentityKind,
    InboxRecord,
)
from pipeline.core.model.windows import Rolling
from pipeline.core.sections import counters
from pipeline.core.sections.counters import Counter
from pipeline.core.subject import Person, Redirect
from pipeline.flow import EVERYTHING_KNOWN, Accept, Drop, Forward
from tests.support.beside import Beside
from topics.catalog import DECISION_REPLIES, DECISIONS, PROFILE_INBOX

from .build import made

HOUR_MS = 3_600_000
START_MS = 1_790_000_000_000
LIVE = made(
    {"caps": {
        "per_item": {"count": "decision", "per": "item", "limit": 2, "window": "24h"},
        "all_day": {"count": "decision", "per": "all", "limit": 5, "window": {"calendar": "day"}},
        "seen": {"count": "impression", "per": "tag", "limit": 3, "window": "12h"},
    }},
    {"a": {"tags": ["t"], "priority": 2}, "b": {"tags": ["t", "u"], "priority": 1}, "c": {"tags": ["u"]}},
)
IDS = ("shop/one", "shop/two", "shop/three")


class Context:
    def __init__(self, now_ms: int, beside: Beside) -> None:
        self.now_ms = now_ms
        self.beside = beside

    def live(self, tenant: str) -> Live | None:
        return LIVE

    def reported_ms(self) -> int:
        return EVERYTHING_KNOWN


class Pipeline(RuleBasedStateMachine):
    """The agents over a dict, in any interleaving; the inbox delivers in order but at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, Any] = {}
        self.inbox: list[InboxRecord] = []
        self.now_ms = START_MS
        self.beside = Beside()
        self.serial = 0
        #: Every real decision published: when, which item, and whose it was.
        self.decided: list[tuple[int, str, str, str]] = []
        self.replies: dict[str, tuple[int, object]] = {}
        self.asked: list[DecisionRequest] = []
        self.owner = {name: name for name in IDS}

    @initialize()
    def consents(self) -> None:
        for name in IDS:
            event = IdentityEvent(f"consent-{name}", name, IdentityKind.CONSENT, START_MS,
                                  consent=[ConsentGrant("personalization", True, START_MS)])
            self._take(name, identity.handle(event, None, self._at(name)))

    @rule(hours=st.integers(0, 13))
    def time_passes(self, hours: int) -> None:
        self.now_ms += hours * HOUR_MS + 1

    @rule(who=st.sampled_from(IDS), both=st.booleans(), variants=st.integers(1, 3))
    def asks(self, who: str, both: bool, variants: int) -> None:
        self.serial += 1
        request = DecisionRequest(f"r{self.serial}", who, "web", ["tiles", "hero"] if both else ["tiles"],
                                  max_variants=variants, reply_partition=0, digest="d")
        self.asked.append(request)
        self._ask(request)

    @rule(which=st.integers(0, 1_000))
    def asks_again(self, which: int) -> None:
        if self.asked:
            self._ask(self.asked[which % len(self.asked)])

    @rule(which=st.integers(0, 1_000), again=st.booleans())
    def sees(self, which: int, again: bool) -> None:
        if self.decided:
            _, item, decision_id, who = self.decided[which % len(self.decided)]
            self.serial += not again
            event = FeedbackEvent(f"f{self.serial}", who, FeedbackKind.VIEW, self.now_ms, "view", item, decision_id)
            self._take(who, feedback.handle(event, self.states.get(who), self._at(who)))

    @rule(a=st.sampled_from(IDS), b=st.sampled_from(IDS))
    def is_the_same_as(self, a: str, b: str) -> None:
        if a == b:
            return
        self.serial += 1
        event = IdentityEvent(f"a{self.serial}", a, IdentityKind.ALIAS, self.now_ms, alias_of=b)
        self._take(a, identity.handle(event, self.states.get(a), self._at(a)))

    @rule(count=st.integers(1, 6))
    def inbox_delivers(self, count: int) -> None:
        for record in [self.inbox.pop(0) for _ in range(min(count, len(self.inbox)))]:
            state = self.states.get(record.profile_id)
            self._take(record.profile_id, inbox.handle(record, state, self._at(record.profile_id)))

    def _ask(self, request: DecisionRequest) -> None:
        self._take(request.subject,
                   requests.handle(request, self.states.get(request.subject), self._at(request.subject)))

    def _at(self, key: str) -> Context:
        return Context(self.now_ms, self.beside.at(key))

    def _take(self, key: str, outcome: Any) -> None:
        self.beside.put(key, outcome)
        if isinstance(outcome, Forward):
            self.inbox.append(outcome.emit.value)  # type: ignore[arg-type]
            return
        assert isinstance(outcome, Accept | Drop), outcome
        if isinstance(outcome, Accept) and outcome.state is not None:
            self.states[key] = outcome.state
        for emit in outcome.emits:
            if emit.topic is PROFILE_INBOX:
                self.inbox.append(emit.value)
            elif emit.topic is DECISIONS:
                self.decided += [(self.now_ms, one.item_id, emit.value.decision_id, key)
                                 for one in emit.value.decisions if not one.fallback]
            elif emit.topic is DECISION_REPLIES:
                at_ms, before = self.replies.setdefault(emit.key, (self.now_ms, emit.value))
                # While a retry is remembered, every answer to one request is the same answer.
                assert before == emit.value or self.now_ms - at_ms >= 600_000, (before, emit.value)

    @invariant()
    def no_cap_is_passed(self) -> None:
        for key, profile in self.states.items():
            own = [(at, item) for at, item, _, who in self.decided if who == key]
            for item in ("a", "b", "c"):
                times = sorted(at for at, one in own if one == item)
                for first in range(len(times) - 2):
                    assert times[first + 2] - times[first] >= 24 * HOUR_MS, (key, item, times)
            days: dict[int, int] = {}
            for at, _ in own:
                days[at // 86_400_000] = days.get(at // 86_400_000, 0) + 1
            assert all(count <= 5 for count in days.values()), (key, days)
            assert isinstance(profile, Person | Redirect)


TestPipeline = Pipeline.TestCase
TestPipeline.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)

_CAP = Cap("c", "decision", "item", Rolling(1_000), 3)
_moments = st.lists(st.integers(0, 5_000), max_size=12)


def _counter(timestamps: list[int]) -> Counter:
    counter = Counter()
    for at in timestamps:
        counter = caps.counted(counter, at, 1, caps.kept(_CAP))
    return counter


@given(_moments, st.integers(0, 6_000))
def test_what_a_counter_forgets_cannot_matter(timestamps: list[int], now_ms: int) -> None:
    timestamps = [at for at in timestamps if at <= now_ms]
    exact = sum(1 for at in timestamps if now_ms - at < 1_000)
    assert min(caps.used(_CAP, _counter(timestamps), now_ms, UTC), 3) == min(exact, 3)


@given(_moments, _moments, _moments)
def test_merging_counters_is_adding_up_in_any_order(a: list[int], b: list[int], c: list[int]) -> None:
    sides = [{"k": _counter(part)} for part in (a, b, c)]
    left = counters.merged(counters.merged(sides[0], sides[1]), sides[2])
    right = counters.merged(sides[2], counters.merged(sides[1], sides[0]))
    assert left == right
    assert left["k"].total == len(a) + len(b) + len(c)


def test_an_impression_cap_reserves_so_that_parallel_decisions_cannot_overshoot() -> None:
    cap = Cap("c", "impression", "item", Rolling(10_000), 1)
    counter = caps.reserved(None, "d1/i/hero/web/0", until_ms=500, now_ms=0)
    assert caps.used(cap, counter, 499, UTC) == 1
    assert caps.used(cap, counter, 500, UTC) == 0, "given back when no impression came"
    assert caps.used(cap, caps.settled(cap, counter, ("d1/i/hero/web/0",), 100), 600, UTC) == 1


def test_a_full_cap_says_when_it_has_room_again() -> None:
    counter = _counter([100, 200, 300])
    assert caps.free_at_ms(_CAP, counter, 400, UTC) == 1_100
    assert caps.used(_CAP, counter, 1_099, UTC) == 3
    assert caps.used(_CAP, counter, 1_100, UTC) == 2

"""The agents over dictionaries: one inbox, which delivers in order, when it is told to."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pipeline.agents import erasure, feedback, identity, inbox, requests
from pipeline.core.decide.live import Live
from pipeline.core.model.records import DecisionRequest, ErasureRequest, FeedbackEvent, IdentityEvent, InboxRecord
from pipeline.core.subject import leads_to
from pipeline.flow import EVERYTHING_KNOWN, Accept, Drop, Emit, Forward, Outcome, Reason
from tests.support.beside import Beside
from topics.catalog import PROFILE_INBOX

HOPS_MAX = 200


class Context:
    """What handlers may know besides record and state."""

    def __init__(self, now_ms: int, live: Live | None, beside: Beside | None = None) -> None:
        self.now_ms = now_ms
        self._live = live
        self.beside = beside or Beside()

    def live(self, tenant: str) -> Live | None:
        return self._live

    def reported_ms(self) -> int:
        return EVERYTHING_KNOWN


class SmallWorld:
    """`states` by key; `emits`: everything said to others than the inbox; `reasons`: how often each fate was met."""

    def __init__(self, now_ms: int, live: Live | None = None) -> None:
        self.now_ms = now_ms
        self.live = live
        self.states: dict[str, Any] = {}
        self.inbox: list[InboxRecord] = []
        self.emits: list[Emit] = []
        self.reasons: Counter[Reason] = Counter()
        self.beside = Beside()

    def send(self, *events: IdentityEvent | FeedbackEvent | DecisionRequest | ErasureRequest) -> None:
        """Apply, each with everything that comes of it."""
        for event in events:
            self.start(event)
            self.deliver()

    def start(self, event: IdentityEvent | FeedbackEvent | DecisionRequest | ErasureRequest) -> None:
        """Apply one event alone; what it sends on waits in the inbox."""
        state, ctx = self.states.get(event.subject), Context(
            self.now_ms, self.live, self.beside.at(event.subject))
        if isinstance(event, IdentityEvent):
            self.take(event.subject, identity.handle(event, state, ctx))
        elif isinstance(event, FeedbackEvent):
            self.take(event.subject, feedback.handle(event, state, ctx))
        elif isinstance(event, ErasureRequest):
            self.take(event.subject, erasure.handle(event, state, ctx))
        else:
            self.take(event.subject, requests.handle(event, state, ctx))

    def deliver(self, count: int = HOPS_MAX) -> None:
        """The next records of the inbox."""
        for _ in range(count):
            if not self.inbox:
                return
            record = self.inbox.pop(0)
            state = self.states.get(record.profile_id)
            context = Context(self.now_ms, self.live, self.beside.at(record.profile_id))
            self.take(record.profile_id, inbox.handle(record, state, context))
        assert count < HOPS_MAX or not self.inbox, "something travels for ever"

    def owner(self, key: str) -> str:
        """The profile that a key leads to."""
        for _ in range(HOPS_MAX):
            state = self.states.get(key)
            if (to := leads_to(state)) is None:
                return key
            key = to
        raise AssertionError("aliases in a ring")

    def take(self, key: str, outcome: Outcome) -> None:
        assert isinstance(outcome, Accept | Drop | Forward), outcome
        self.reasons[outcome.reason] += 1
        self.beside.put(key, outcome)
        if isinstance(outcome, Accept) and outcome.state is not None:
            self.states[key] = outcome.state
        for emit in (outcome.emit,) if isinstance(outcome, Forward) else outcome.emits:
            if emit.topic is PROFILE_INBOX:
                assert isinstance(emit.value, InboxRecord)
                self.inbox.append(emit.value)
            else:
                self.emits.append(emit)

"""A pipeline of a few lines for the replayer's tests: answers at once, late or never, on a clock that tests move."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from pipeline.core.model.records import Chosen, DecisionReply, DecisionRequest, FeedbackEvent, IdentityEvent
from replay_log.rows import Impression
from topics.catalog import DECISION_REQUESTS, FEEDBACK_EVENTS, IDENTITY_EVENTS, Topic


class ManualClock:
    """Time moves only when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def now_ms(self) -> int:
        return round(self.now_s * 1_000)

    def monotonic_s(self) -> float:
        return self.now_s


Answer = Callable[[DecisionRequest], DecisionReply | None]


def chosen(item: str) -> Answer:
    """Answers every request with the item."""
    def answer(request: DecisionRequest) -> DecisionReply:
        one = Chosen(item, "content", request.placements[0], "v", 1, 60)
        return DecisionReply(request.request_id, f"d-{request.request_id}", [one], False, "decided")
    return answer


class PipelineDouble:
    """Answers after `takes_s`; identity events are applied when `applies` says so."""

    reply_partition = 3

    def __init__(self, clock: ManualClock, answer: Answer, takes_s: float = 0.01) -> None:
        self.clock = clock
        self.answer = answer
        self.takes_s = takes_s
        self.applies = True
        self.identity: list[IdentityEvent] = []
        self.requests: list[DecisionRequest] = []
        self.feedback: list[FeedbackEvent] = []
        #: The order in which things were sent, by topic name and id.
        self.sent: list[tuple[str, str]] = []
        self.unanswered_max = 0
        self._due: deque[tuple[float, DecisionReply]] = deque()

    def send(self, topic: Topic, key: str, value: object) -> None:
        if isinstance(value, DecisionRequest):
            assert topic is DECISION_REQUESTS and key == value.subject
            self.requests.append(value)
            self.sent.append((topic.name, value.request_id))
            reply = self.answer(value)
            if reply is not None:
                self._due.append((self.clock.now_s + self.takes_s, reply))
            self.unanswered_max = max(self.unanswered_max, len(self._due))
            return
        assert isinstance(value, IdentityEvent | FeedbackEvent) and key == value.subject
        kept: list[IdentityEvent] | list[FeedbackEvent]
        kept = self.identity if isinstance(value, IdentityEvent) else self.feedback
        assert topic is (IDENTITY_EVENTS if isinstance(value, IdentityEvent) else FEEDBACK_EVENTS)
        kept.append(value)  # type: ignore[arg-type]
        self.sent.append((topic.name, value.event_id))

    def reply(self, timeout_s: float) -> tuple[DecisionReply, float] | None:
        until_s = self.clock.now_s + max(timeout_s, 0.0)
        if not self._due or self._due[0][0] > until_s:
            self.clock.now_s = until_s
            return None
        at_s, reply = self._due.popleft()
        self.clock.now_s = max(self.clock.now_s, at_s)
        return reply, at_s

    def identity_applied(self) -> bool:
        return self.applies

    def notice(self) -> str | None:
        return None


def impressions(count: int, **fields: object) -> Iterator[Impression]:
    """Rows 1, 2, 3, … of a made-up log: three users, four items."""
    for row in range(1, count + 1):
        yield Impression(row, f"t/u{row % 3}", f"i{row % 4}", "home", "web", **fields)  # type: ignore[arg-type]

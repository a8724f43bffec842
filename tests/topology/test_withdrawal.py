"""Once a withdrawal is confirmed, every decision asked for later obeys it: in whatever order a worker reads its topics,
wherever it dies, and under whichever of the subject's identifiers either comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.hashing import applied_id_of
from pipeline.core.model.values import replaced
from pipeline.ports import Outbound
from pipeline.runtime.memory import CrashError, MemoryPipeline
from pipeline.topology import BATCH_FLOWS, FLOWS
from tests.support import shop
from topics.catalog import BY_NAME, DECISION_REPLIES, DECISION_REQUESTS, DECISIONS, IDENTITY_EVENTS

ANN, DEVICE = "shop/ann", "shop/device"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outbound, ...]:
    return shop.publication(tmp_path_factory.mktemp("policy"))


class Story:
    """Somebody who agreed, known by two identifiers, and a worker that reads one topic at a time."""

    def __init__(self, published: Sequence[Outbound]) -> None:
        self.pipeline = MemoryPipeline(FLOWS)
        for record in published:
            self.pipeline.send(BY_NAME[record.topic], record.key, record.value)
        self.pipeline.send(IDENTITY_EVENTS, DEVICE, shop.alias(DEVICE, ANN, 1))
        self.pipeline.send(IDENTITY_EVENTS, ANN, shop.consent(ANN, self.pipeline.clock.at_ms))
        self.pipeline.run()
        self.asked: list[str] = []

    def withdraw(self, subject: str) -> None:
        event = shop.consent(subject, self.pipeline.clock.at_ms + 1, False, "no")
        self.pipeline.clock.at_ms += 2
        self.pipeline.send(IDENTITY_EVENTS, subject, replaced(event, reply_partition=0))

    def ask(self, subject: str) -> str:
        request_id = f"r{len(self.asked)}"
        self.asked.append(request_id)
        self.pipeline.send(DECISION_REQUESTS, subject, shop.request(request_id, subject))
        return request_id

    @contextmanager
    def _only(self, topic: str) -> Iterator[None]:
        everything = self.pipeline._batch
        self.pipeline._batch = [flow for flow in BATCH_FLOWS if flow.reads.name == topic]
        try:
            yield
        finally:
            self.pipeline._batch = everything

    def read(self, topic: str, crash_after: int | None = None) -> None:
        if crash_after is not None:
            self.pipeline.crash_after = self.pipeline.effects + crash_after
        try:
            with self._only(topic):
                self.pipeline.run()
        except CrashError:
            self.pipeline.restart()
        self.pipeline.crash_after = None

    def confirmed(self) -> bool:
        return any(reply.decision_id.startswith("applied:") for reply in self.pipeline.values(DECISION_REPLIES))

    def reasons(self) -> dict[str, str]:
        return {decision.request_id: decision.reason for decision in self.pipeline.values(DECISIONS)}


def test_a_worker_may_read_the_question_before_the_withdrawal_that_came_first(published: tuple[Outbound, ...]) -> None:
    story = Story(published)
    story.withdraw(ANN)
    early = story.ask(ANN)
    story.read(DECISION_REQUESTS.name)
    # This is why the bridge does not call a withdrawal accepted because the broker has it.
    assert story.reasons()[early] == "decided" and not story.confirmed()
    story.read(IDENTITY_EVENTS.name)
    [said] = [reply for reply in story.pipeline.values(DECISION_REPLIES) if reply.request_id == "no"]
    assert (said.decision_id, said.reason) == (applied_id_of(ANN), "applied")
    late = story.ask(ANN)
    story.read(DECISION_REQUESTS.name)
    assert story.reasons()[late] == "no_consent"


TOPICS = [flow.reads.name for flow in BATCH_FLOWS]
STEPS = st.lists(
    st.sampled_from([ANN, DEVICE]) | st.tuples(st.sampled_from(TOPICS), st.none() | st.integers(0, 6)), max_size=14
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(who=st.sampled_from([ANN, DEVICE]), steps=STEPS)
def test_what_is_asked_after_the_confirmation_is_refused(
    published: tuple[Outbound, ...], who: str, steps: list[str | tuple[str, int | None]]
) -> None:
    story = Story(published)
    story.withdraw(who)
    bound = []
    for step in steps:
        if isinstance(step, tuple):
            story.read(*step)
        else:
            sure = story.confirmed()
            request_id = story.ask(step)
            bound += [request_id] if sure else []
    story.pipeline.run()
    assert story.confirmed()
    bound.append(story.ask(ANN))
    story.pipeline.run()
    reasons = story.reasons()
    assert {reasons[request_id] for request_id in bound} == {"no_consent"}

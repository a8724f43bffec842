"""The replay's order, its limits, and what it does when the pipeline is slow, silent or told to stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from pipeline.core.model.records import DecisionReply, DecisionRequest
from replay_log import replayer
from replay_log.errors import ReplayError
from replay_log.events import Run
from replay_log.pacing import AtOnce, EvenRate, LoggedTimes, Pace
from replay_log.replayer import Ended, Limits, Replayer
from replay_log.rows import Impression
from replay_log.tally import Tally
from tests.replay_log.pipeline_double import Answer, ManualClock, PipelineDouble, chosen, impressions

RUN = Run("run", purpose="ads")


class Scene:
    """One replay over the double, with what it left behind."""

    def __init__(
        self, answer: Answer | None = None, takes_s: float = 0.01, limits: Limits | None = None,
        pace: Pace | None = None, stopped: Callable[[Scene], bool] = lambda scene: False,
    ) -> None:
        self.clock = ManualClock()
        self.pipeline = PipelineDouble(self.clock, answer or chosen("i1"), takes_s)
        self.tally = Tally()
        self.replayer = Replayer(
            self.pipeline, self.clock, RUN, pace or AtOnce(), limits or Limits(), self.tally,
            stopped=lambda: stopped(self),
        )

    def run(self, rows: Iterator[Impression]) -> Ended:
        return self.replayer.replay(rows)


def test_every_row_asks_once_and_gives_its_feedback_after_the_answer() -> None:
    scene = Scene()
    ended = scene.run(impressions(50, clicked=True))
    assert ended.resume_after is None
    assert [request.request_id for request in scene.pipeline.requests] == [f"run-{n}-decide" for n in range(1, 51)]
    assert {request.reply_partition for request in scene.pipeline.requests} == {3}
    order = [what for _, what in scene.pipeline.sent]
    for row in range(1, 51):
        assert order.index(f"run-{row}-decide") < order.index(f"run-{row}-view") < order.index(f"run-{row}-click")
    assert scene.tally.events == Counter(view=50, click=50)
    assert (scene.tally.rows, scene.tally.answered, scene.tally.unanswered) == (50, 50, 0)


def test_feedback_is_about_the_logged_item_and_names_our_decision_only_where_it_is_ours() -> None:
    scene = Scene()
    scene.run(impressions(8))
    items = {event.event_id: (event.item_id, event.decision_id) for event in scene.pipeline.feedback}
    assert items["run-5-view"] == ("i1", "d-run-5-decide")
    assert items["run-6-view"] == ("i2", None)
    assert scene.tally.replayed.estimate().matches == 2


def test_subjects_are_made_known_once_before_their_requests() -> None:
    scene = Scene()
    scene.run(impressions(30, traits={"country": "JP"}, consent=True))
    assert scene.tally.events["traits"] == scene.tally.events["consent"] == scene.tally.subjects == 3
    assert {grant.purpose for event in scene.pipeline.identity for grant in event.consent} == {"ads"}
    first_request = next(i for i, (topic, _) in enumerate(scene.pipeline.sent) if topic == "decision.requests")
    assert all(topic == "identity.events" for topic, _ in scene.pipeline.sent[:first_request])
    assert first_request == 6


def test_changed_traits_are_sent_again() -> None:
    scene = Scene()
    rows = [Impression(n, "u", "i1", "home", "web", traits={"age": n // 2}) for n in range(1, 6)]
    scene.run(iter(rows))
    assert [event.traits["age"] for event in scene.pipeline.identity] == [0, 1, 2]


def test_a_forgotten_subject_is_merely_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replayer, "SUBJECTS_MAX", 2)
    monkeypatch.setattr(replayer, "ROWS_AHEAD", 1)
    scene = Scene()
    scene.run(impressions(6, traits={"country": "JP"}))
    assert len(scene.pipeline.identity) == 6


def test_a_request_never_goes_before_its_subjects_consent_was_applied() -> None:
    scene = Scene(limits=Limits(patience_s=2.0))
    scene.pipeline.applies = False
    with pytest.raises(ReplayError, match=r"no worker read identity\.events within 2 s"):
        scene.run(impressions(5, consent=True))
    assert scene.pipeline.requests == []


def test_never_more_requests_are_unanswered_than_the_window_allows() -> None:
    scene = Scene(takes_s=0.5, limits=Limits(window=7))
    scene.run(impressions(40))
    assert scene.pipeline.unanswered_max == 7
    assert scene.tally.held_back > 0


def test_latency_is_from_the_first_sending_to_the_arrival() -> None:
    scene = Scene(takes_s=0.25)
    scene.run(impressions(20))
    assert scene.tally.latencies.quantile(0.5) == pytest.approx(250, rel=0.01)


def test_rows_stop_at_the_limit() -> None:
    scene = Scene(limits=Limits(rows=12))
    assert scene.run(impressions(100)).resume_after is None
    assert scene.tally.rows == 12


def losing(attempts: int) -> Answer:
    """Each request gets lost that often before it is answered."""
    seen: Counter[str] = Counter()

    def answer(request: DecisionRequest) -> DecisionReply | None:
        seen[request.request_id] += 1
        return chosen("i1")(request) if seen[request.request_id] > attempts else None
    return answer


def test_an_unanswered_request_is_sent_again_under_its_id() -> None:
    scene = Scene(losing(2))
    scene.run(impressions(4))
    sent = Counter(request.request_id for request in scene.pipeline.requests)
    assert sent == {f"run-{n}-decide": 3 for n in (1, 2, 3, 4)}
    assert (scene.tally.resent, scene.tally.answered, scene.tally.requests) == (8, 4, 4)
    assert scene.tally.latencies.quantile(0) == pytest.approx(2 * replayer.RESEND_AFTER_S * 1_000, rel=0.02)


def test_a_request_that_is_never_answered_is_given_up_and_its_outcome_still_sent() -> None:
    def answer(request: DecisionRequest) -> DecisionReply | None:
        return None if request.request_id == "run-2-decide" else chosen("i1")(request)

    scene = Scene(answer)
    ended = scene.run(impressions(5))
    assert ended.resume_after is None
    assert (scene.tally.answered, scene.tally.unanswered) == (4, 1)
    assert "run-2-view" in [event.event_id for event in scene.pipeline.feedback]


def test_a_pipeline_that_answers_nothing_is_an_error_that_says_what_to_start() -> None:
    with pytest.raises(ReplayError, match=r"no worker answered a decision request within 60 s.*`nextbest up`"):
        Scene(lambda request: None).run(impressions(5))


def test_a_pipeline_that_falls_silent_ends_the_replay_with_where_to_go_on() -> None:
    def answer(request: DecisionRequest) -> DecisionReply | None:
        return chosen("i1")(request) if int(request.request_id.split("-")[1]) <= 10 else None

    scene = Scene(answer, limits=Limits(window=4))
    ended = scene.run(impressions(100))
    assert ended.resume_after == 10
    assert ended.problem is not None and "no worker answered" in ended.problem
    assert scene.tally.answered == 10


def test_a_stop_finishes_what_is_under_way_and_says_where_to_go_on() -> None:
    scene = Scene(takes_s=0.2, limits=Limits(window=5), stopped=lambda scene: scene.tally.rows >= 23)
    ended = scene.run(impressions(100))
    assert (scene.tally.rows, scene.tally.answered, ended.resume_after, ended.problem) == (23, 23, 23, None)


def test_a_stop_does_not_wait_for_ever() -> None:
    def answer(request: DecisionRequest) -> DecisionReply | None:
        return None if request.request_id == "run-8-decide" else chosen("i1")(request)

    scene = Scene(answer, stopped=lambda scene: scene.tally.rows >= 20)
    began_s = scene.clock.now_s
    assert scene.run(impressions(100)).resume_after == 7
    assert scene.clock.now_s - began_s < 10


def test_an_error_in_a_reply_is_counted_by_its_text() -> None:
    def answer(request: DecisionRequest) -> DecisionReply:
        return DecisionReply(request.request_id, "", [], False, "", error="unknown_placement:home")

    scene = Scene(answer)
    scene.run(impressions(3))
    assert scene.tally.errors == Counter({"unknown_placement:home": 3})
    assert scene.tally.replayed.estimate().rows == 0


def due_times(pace: Pace, rows: list[int | None], now_s: float = 0.0) -> list[float]:
    return [pace.due_s(now_s, at_ms) for at_ms in rows]


def test_an_even_rate_spreads_rows_and_never_bursts_after_a_hold_up() -> None:
    pace = EvenRate(10)
    assert due_times(pace, [None] * 3) == pytest.approx([0.0, 0.1, 0.2])
    assert pace.due_s(60.0, None) == pytest.approx(59.95)
    assert pace.due_s(60.0, None) == pytest.approx(60.05)


def test_logged_times_keep_the_logs_rhythm() -> None:
    rows: list[int | None] = [5_000, 7_000, None, 6_000, 11_000]
    assert due_times(LoggedTimes(2.0), rows, now_s=100.0) == [100.0, 101.0, 101.0, 101.0, 103.0]


def test_at_an_even_rate_a_replay_takes_as_long_as_it_should() -> None:
    scene = Scene(pace=EvenRate(20))
    assert scene.run(impressions(100)).elapsed_s == pytest.approx(99 / 20, abs=0.1)

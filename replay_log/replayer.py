"""Drives a log through the pipeline: identity ahead of time, a request per row, its outcome once it is answered.

Bounded in rows ahead, in requests unanswered and in subjects remembered. Reaches the world only through a `Wire` and a
`Clock`, so that tests run it on their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Final

from pipeline.core.model.records import DecisionRequest
from pipeline.ports import Clock
from replay_log.errors import ReplayError
from replay_log.events import Run, decision_request, feedback_events, identity_events
from replay_log.pacing import Pace
from replay_log.rows import Impression
from replay_log.tally import Tally
from replay_log.wire import Wire
from topics.catalog import DECISION_REQUESTS, FEEDBACK_EVENTS, IDENTITY_EVENTS

#: Rows whose subjects are made known before their requests go out.
ROWS_AHEAD: Final = 500

#: Subjects whose traits and consent we remember having sent; a forgotten one is merely sent again.
SUBJECTS_MAX: Final = 200_000

#: An unanswered request is sent again: the same id gets the same answer, so nothing is decided twice.
RESEND_AFTER_S: Final = 5.0

#: How often the progress is told, and how long what is under way may take to finish after a stop.
_TELL_EVERY_S: Final = 0.2
_DRAIN_S: Final = 5.0
_PUMP_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a replay goes and how patient it is. `rows` None: to the log's end."""

    rows: int | None = None
    window: int = 256
    patience_s: float = 60.0


@dataclass(slots=True)
class _Pending:
    impression: Impression
    request: DecisionRequest
    first_sent_s: float
    last_sent_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """How a replay ended: `resume_after` is the last row up to which all are done, None where the whole log is.

    `problem` says why it broke off, where nobody asked it to stop.
    """

    elapsed_s: float
    resume_after: int | None
    problem: str | None = None


class Replayer:
    """One replay; `stopped` is asked between rows, `tell` gets the running figures a few times a second."""

    def __init__(
        self,
        wire: Wire,
        clock: Clock,
        run: Run,
        pace: Pace,
        limits: Limits,
        tally: Tally,
        stopped: Callable[[], bool] = lambda: False,
        tell: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        self._wire = wire
        self._clock = clock
        self._run = run
        self._pace = pace
        self._limits = limits
        self._tally = tally
        self._stopped = stopped
        self._tell = tell
        self._told_s = float("-inf")
        self._pending: dict[str, _Pending] = {}
        self._known: OrderedDict[str, int] = OrderedDict()
        self._last_row = 0
        self._answered_s = float("-inf")
        self._problem: str | None = None

    def replay(self, impressions: Iterator[Impression]) -> Ended:
        """Replay them all, or until `stopped`. Raises `ReplayError` where the pipeline never answered at all."""
        began_s = self._clock.monotonic_s()
        try:
            cut = self._replay(islice(impressions, self._limits.rows))
        except ReplayError as error:
            if self._tally.answered == 0:
                raise
            self._problem, cut = str(error), True
        self._tell(self._tally)
        cut = cut or bool(self._pending)
        oldest = min((one.impression.row for one in self._pending.values()), default=self._last_row + 1)
        return Ended(self._clock.monotonic_s() - began_s, oldest - 1 if cut else None, self._problem)

    def _replay(self, impressions: Iterator[Impression]) -> bool:
        """Whether it was stopped before the end."""
        cut = False
        ahead = self._introduce(impressions)
        while ahead and not cut:
            self._await_introduced()
            chunk, ahead = ahead, self._introduce(impressions)
            cut = not all(self._ask(impression) for impression in chunk)
        self._drain()
        return cut

    def _introduce(self, impressions: Iterator[Impression]) -> list[Impression]:
        """Take the next rows and send what they tell about their subjects, where that is new."""
        chunk = list(islice(impressions, ROWS_AHEAD))
        for impression in chunk:
            subject = impression.subject
            told = hash((tuple(impression.traits.items()), impression.consent))
            known = self._known.pop(subject, None)
            self._known[subject] = told
            self._tally.subjects += known is None
            if known != told:
                for event in identity_events(self._run, impression, self._clock.now_ms()):
                    self._wire.send(IDENTITY_EVENTS, subject, event)
                    self._tally.events[event.kind.value] += 1
        while len(self._known) > SUBJECTS_MAX:
            self._known.popitem(last=False)
        return chunk

    def _await_introduced(self) -> None:
        """A request must find its subject's consent: both are on different topics, which have no order between them."""
        since_s = self._clock.monotonic_s()
        while not self._wire.identity_applied():
            if self._stopped():
                return
            if self._clock.monotonic_s() - since_s > self._limits.patience_s:
                raise ReplayError(self._nobody("read identity.events"))
            self._pump(_PUMP_S)

    def _ask(self, impression: Impression) -> bool:
        """Send the row's request when it is its turn; False where the replay was stopped before."""
        due_s = self._pace.due_s(self._clock.monotonic_s(), impression.logged_at_ms)
        self._tally.held_back += len(self._pending) >= self._limits.window
        while not self._stopped():
            wait_s = due_s - self._clock.monotonic_s()
            if wait_s <= 0 and len(self._pending) < self._limits.window:
                self._send_request(impression)
                return True
            self._pump(min(wait_s, _PUMP_S) if wait_s > 0 else _PUMP_S)
        return False

    def _send_request(self, impression: Impression) -> None:
        request = decision_request(self._run, impression, self._wire.reply_partition)
        now_s = self._clock.monotonic_s()
        self._pending[request.request_id] = _Pending(impression, request, now_s, now_s)
        self._wire.send(DECISION_REQUESTS, request.subject, request)
        self._tally.logged(impression)
        self._last_row = impression.row

    def _pump(self, timeout_s: float) -> None:
        """Take the replies there are, waiting at most `timeout_s` for the first; look after what is overdue."""
        got = self._wire.reply(timeout_s)
        while got is not None:
            reply, at_s = got
            pending = self._pending.pop(reply.request_id, None)
            if pending is not None:
                self._answered_s = at_s
                latency_ms = (at_s - pending.first_sent_s) * 1_000
                matched = self._tally.answer(pending.impression, reply, latency_ms)
                self._give_feedback(pending, reply.decision_id if matched else None)
            got = self._wire.reply(0)
        now_s = self._clock.monotonic_s()
        self._look_after_overdue(now_s)
        if now_s - self._told_s >= _TELL_EVERY_S:
            self._told_s = now_s
            self._tally.trouble = self._wire.notice()
            self._tell(self._tally)

    def _give_feedback(self, pending: _Pending, decision_id: str | None) -> None:
        now_ms = self._clock.now_ms()
        for event in feedback_events(self._run, pending.impression, now_ms, decision_id):
            self._wire.send(FEEDBACK_EVENTS, event.subject, event)
            self._tally.events[event.kind.value] += 1

    def _look_after_overdue(self, now_s: float) -> None:
        # They stand in the order of their sending: mostly the first one is young, and so are all others.
        overdue = list(takewhile(lambda one: now_s - one[1].first_sent_s >= RESEND_AFTER_S, self._pending.items()))
        for key, pending in overdue:
            if now_s - pending.first_sent_s >= self._limits.patience_s:
                self._give_up(key, pending, now_s)
            elif now_s - pending.last_sent_s >= RESEND_AFTER_S:
                pending.last_sent_s = now_s
                self._tally.resent += 1
                self._wire.send(DECISION_REQUESTS, pending.request.subject, pending.request)

    def _give_up(self, key: str, pending: _Pending, now_s: float) -> None:
        """One lost request is a figure in the summary; a window full of them is a pipeline that is gone."""
        silent = now_s - self._answered_s >= self._limits.patience_s / 2
        if silent and (self._tally.answered == 0 or len(self._pending) >= self._limits.window):
            raise ReplayError(self._nobody("answered a decision request"))
        del self._pending[key]
        self._tally.unanswered += 1
        self._give_feedback(pending, None)

    def _drain(self) -> None:
        """Wait for what is under way: every request is answered or given up; once stopped, not for long."""
        until_s: float | None = None
        while self._pending and (until_s is None or self._clock.monotonic_s() < until_s):
            if until_s is None and self._stopped():
                until_s = self._clock.monotonic_s() + _DRAIN_S
            self._pump(_PUMP_S)

    def _nobody(self, what: str) -> str:
        trouble = f" The connection says: {self._wire.notice()}." if self._wire.notice() else ""
        return (
            f"no worker {what} within {self._limits.patience_s:g} s.{trouble} Is `nextbest up` (or `nextbest worker`) "
            "running on this cluster, under the same app id (NEXTBEST_APP_ID)?"
        )

"""Asks the workers and waits, each caller no longer than its own deadline. Knows nothing of HTTP or Kafka.

An answer is matched to its question by the decision's id, which only this subject's request can have: request ids are
the callers' own, and two of them may well choose the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.bridge.breaker import Breaker, State
from pipeline.bridge.confirmations import Confirmations
from pipeline.bridge.metrics import BridgeMetrics
from pipeline.bridge.wire import Wire, WireFullError
from pipeline.codecs import avro, positions
from pipeline.core.hashing import decision_id_of
from pipeline.core.model.records import DecisionReply, DecisionRequest
from pipeline.core.model.values import replaced
from pipeline.ports import Clock, Outbound
from topics.catalog import DECISION_REQUESTS
from topics.partitions import partition_of

#: Reasons of an answer that the bridge gave in the pipeline's place.
DEADLINE: Final = "deadline"
CIRCUIT_OPEN: Final = "circuit_open"
PIPELINE_UNAVAILABLE: Final = "pipeline_unavailable"

#: The worker is told a slightly earlier deadline: an answer that would come too late should not be decided at all,
#: since it would spend caps on what nobody sees.
_RETURN_SHARE: Final = 0.1
_RETURN_MS_MAX: Final = 10

#: Of the default wait, what a caller must have left to count as patient: checking the request took some of it.
_PATIENT_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The pipeline did not answer; `reason` is one of the three above."""

    reason: str


Answer = DecisionReply | Unanswered


class TooManyInFlightError(RuntimeError):
    """More callers wait than this bridge may hold."""


class RequestIdReusedError(RuntimeError):
    """Another request under this id is being decided."""


@dataclass(slots=True)
class _Waiting:
    """One request under way and everybody who waits for it."""

    request_id: str
    decision_id: str
    digest: str
    futures: list[asyncio.Future[Answer]] = field(default_factory=list)
    #: Once it came: whoever asks from then on asks the pipeline again, which remembers it.
    answer: Answer | None = None

    def resolve(self, answer: Answer) -> None:
        """Hand the answer to everybody; `Asker._resolve` forgets this then."""
        self.answer = answer
        for future in self.futures:
            if not future.done():
                future.set_result(answer)


class Asker:
    """The ReplyListener of the bridge. On one event loop."""

    def __init__(
        self, wire: Wire, clock: Clock, metrics: BridgeMetrics, *, in_flight_max: int, patience_ms: int
    ) -> None:
        self._wire = wire
        self._clock = clock
        self._metrics = metrics
        self._in_flight_max = in_flight_max
        self._patience_ms = patience_ms * _PATIENT_SHARE
        self._waiting: dict[str, list[_Waiting]] = {}
        self.confirmations = Confirmations(clock)
        self._breakers = [Breaker() for _ in range(DECISION_REQUESTS.partitions)]
        self.in_flight = 0
        #: When, last, the pipeline left somebody without an answer who had waited long enough; monotonic seconds.
        self.unanswered_s = float("-inf")

    # -- the caller's side ----------------------------------------------------------------------------------------

    async def ask(
        self, request: DecisionRequest, wait_ms: float, headers: tuple[tuple[str, bytes], ...] = (),
        after: str | None = None,
    ) -> Answer:
        """Have it decided within `wait_ms`. The same request asked again meanwhile waits for the same answer.

        :param after: the token of events that are to be applied before.

        Raises TooManyInFlightError, RequestIdReusedError, and CodecError for a request that the worker would refuse.
        """
        if self.in_flight >= self._in_flight_max:
            raise TooManyInFlightError
        if not self._wire.listening:
            return Unanswered(PIPELINE_UNAVAILABLE)
        decision_id = decision_id_of(request.subject, request.request_id, request.earlier)
        waiting = self._find(request.request_id, decision_id)
        if waiting is None:
            if after is not None:
                headers = (*headers, (positions.HEADER, after.encode()))
            return await self._ask_new(request, decision_id, wait_ms, headers, after is not None)
        if waiting.digest != request.digest:
            raise RequestIdReusedError
        return await self._wait(waiting, wait_ms)

    async def _ask_new(
        self, request: DecisionRequest, decision_id: str, wait_ms: float, headers: tuple[tuple[str, bytes], ...],
        waits_for_events: bool,
    ) -> Answer:
        key = request.subject.encode()
        breaker = self._breakers[partition_of(key, len(self._breakers))]
        permit = breaker.admit(self._clock.monotonic_s())
        if permit is None:
            return Unanswered(CIRCUIT_OPEN)
        answer: Answer | None = None
        try:
            wanted_by_ms = self._clock.now_ms() + wait_ms - min(wait_ms * _RETURN_SHARE, _RETURN_MS_MAX)
            asked = replaced(request, deadline_ms=int(wanted_by_ms), reply_partition=self._wire.reply_partition)
            data = avro.encode_checked(DECISION_REQUESTS, asked)
            record = Outbound(DECISION_REQUESTS.name, key, data, headers=headers)
            waiting = _Waiting(request.request_id, decision_id, request.digest)
            # Before it is sent: the thread that reads replies drops what nobody waits for, and may be faster than this.
            self._waiting.setdefault(request.request_id, []).append(waiting)
            try:
                self._wire.send(record, lambda: self._resolve(waiting, Unanswered(PIPELINE_UNAVAILABLE)))
            except WireFullError:
                self._forget(waiting)
                answer = Unanswered(PIPELINE_UNAVAILABLE)
            else:
                answer = await self._wait(waiting, wait_ms)
        finally:
            self._judge(breaker, permit, answer, 0.0 if waits_for_events else wait_ms)
        return answer

    async def _wait(self, waiting: _Waiting, wait_ms: float) -> Answer:
        if waiting.answer is not None:
            return waiting.answer
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        timer = loop.call_later(wait_ms / 1_000, self._expire, future)
        waiting.futures.append(future)
        self.in_flight += 1
        try:
            return await future
        finally:
            self.in_flight -= 1
            timer.cancel()
            waiting.futures.remove(future)
            if not waiting.futures:
                self._forget(waiting)

    def _expire(self, future: asyncio.Future[Answer]) -> None:
        if not future.done():
            future.set_result(Unanswered(PIPELINE_UNAVAILABLE if self._wire.away else DEADLINE))

    def _judge(self, breaker: Breaker, permit: int, answer: Answer | None, wait_ms: float) -> None:
        """Tell the breaker. A caller more impatient than the default proves nothing against the pipeline, nor does one
        who waits for events (nought)."""
        if isinstance(answer, DecisionReply):
            breaker.succeeded(permit)
        elif answer is None or (answer.reason == DEADLINE and wait_ms < self._patience_ms):
            breaker.withdrawn(permit)
        else:
            self.unanswered_s = self._clock.monotonic_s()
            breaker.failed(permit, self.unanswered_s)
        if self._metrics.open_circuits_shown != (shown := self._open_circuits()):
            self._metrics.show_open_circuits(shown)

    def _open_circuits(self) -> int:
        return sum(breaker.state is not State.CLOSED for breaker in self._breakers)

    def _find(self, request_id: str, decision_id: str) -> _Waiting | None:
        for waiting in self._waiting.get(request_id, ()):
            if waiting.decision_id == decision_id:
                return waiting
        return None

    def _resolve(self, waiting: _Waiting, answer: Answer) -> None:
        """Answer everybody who waits, and nobody who comes later: they would wait for what came already."""
        self._forget(waiting)
        waiting.resolve(answer)

    def _forget(self, waiting: _Waiting) -> None:
        others = [other for other in self._waiting.get(waiting.request_id, ()) if other is not waiting]
        if others:
            self._waiting[waiting.request_id] = others
        else:
            self._waiting.pop(waiting.request_id, None)

    # -- the pipeline's side --------------------------------------------------------------------------------------

    def wants(self, request_id: str) -> bool:
        """See ReplyListener."""
        return request_id in self._waiting or self.confirmations.wants(request_id)

    def replied(self, replies: Sequence[DecisionReply]) -> None:
        """See ReplyListener."""
        for reply in replies:
            for waiting in self._waiting.get(reply.request_id, ()):
                if waiting.decision_id == reply.decision_id:
                    self._resolve(waiting, reply)
            self.confirmations.confirm(reply.request_id, reply.decision_id)

    def broker_went_away(self) -> None:
        """See ReplyListener."""
        self.unanswered_s = self._clock.monotonic_s()
        for waiting in [one for same_id in self._waiting.values() for one in same_id]:
            self._resolve(waiting, Unanswered(PIPELINE_UNAVAILABLE))
        self.confirmations.give_up_waiting()

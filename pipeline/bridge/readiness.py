"""Whether a decision could be served now: the policy is live, replies are read, and the workers move.

Who owns which partition proves little: a worker owns one before it has recovered its state, and for a while after it
was killed. So a probe goes to every partition, a request whose deadline has long passed. A working worker reads it,
drops it without touching any profile or answering anybody, and commits past it; once that has happened everywhere, the
pipeline is known to move. Nothing synthetic is ever decided.

Asks only what a plain consumer may: librdkafka's requests to a group's coordinator by an AdminClient (describe groups,
list their offsets) abort the process where the broker goes away meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from pipeline.adapters import kafka
from pipeline.codecs import avro
from pipeline.core.model.records import DecisionRequest
from pipeline.ports import Clock
from pipeline.settings import Settings
from topics.catalog import DECISION_REQUESTS, READINESS_PROBE
from topics.partitions import partition_of

#: A proof is good for so long; after a request without an answer it is renewed sooner, but not more often than this.
PROOF_S: Final = 5.0
DOUBTED_PROOF_S: Final = 1.0
NOT_READY_FRESH_S: Final = 0.25

#: What a working pipeline needs at most to commit past a probe, beyond the interval of its commits.
PASS_S: Final = 1.5

#: A probe that nobody has passed yet is waited for so long before another follows: its topic may have been replaced.
REPROBE_S: Final = 10.0

#: A question to the broker that takes longer counts as a no.
ASK_S: Final = 2.0
_ASK_AGAIN_S: Final = 0.1

_SILENT: Final = "the broker does not answer"

_log = logging.getLogger("nextbest.bridge")

#: Partition → the offset of the probe there.
Probe = Mapping[int, int]


class Workers(Protocol):
    """What can be known of the workers from outside. The first two block and raise KafkaException."""

    #: Seconds within which a pipeline that works commits past a probe.
    pass_s: float

    def probe(self) -> Probe:
        """Send one expired request to each partition."""

    def behind(self, probe: Probe) -> frozenset[int]:
        """The partitions in which the workers have not committed past the probe; waits `pass_s` for that to be none."""

    def stop(self) -> None:
        """End a wait under way. From any thread."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What is still missing, in words; empty: ready."""

    missing: tuple[str, ...]

    @property
    def ready(self) -> bool:
        return not self.missing


class Readiness:
    """Looks only when asked, and no more often than it must; concurrent callers share one look."""

    def __init__(
        self, workers: Workers, policy_missing: Callable[[str | None], str | None], listening: Callable[[], bool],
        unanswered_s: Callable[[], float], clock: Clock,
    ) -> None:
        """`unanswered_s`: when, last, a request got no answer that should have, in the clock's monotonic seconds."""
        self._workers = workers
        self._policy_missing = policy_missing
        self._listening = listening
        self._unanswered_s = unanswered_s
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="readiness")
        self._looking: asyncio.Future[str | None] | None = None
        self._began_s = self._ended_s = self._proven_s = float("-inf")
        self._pipeline_missing: str | None = "the workers have not been looked at yet"
        self._probe: Probe | None = None
        self._probed_s = 0.0

    async def check(self, tenant: str | None = None) -> Checks:
        """What is missing now, for a tenant, or for any at all."""
        missing = [self._policy_missing(tenant)]
        if not self._listening():
            missing.append("decision.replies is not read yet: is the broker there, and `nextbest topics apply` done?")
        missing.append(await self._pipeline())
        return Checks(tuple(one for one in missing if one is not None))

    def close(self) -> None:
        """End the thread; a look under way is not waited for."""
        self._workers.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _pipeline(self) -> str | None:
        if self._looking is None and self._due(self._clock.monotonic_s()):
            self._began_s = self._clock.monotonic_s()
            self._looking = asyncio.get_running_loop().run_in_executor(self._executor, self._look)
            self._looking.add_done_callback(self._looked)
        if self._looking is None:
            return self._pipeline_missing
        # A broker that does not answer must not hold up the answer of a health check.
        done, _ = await asyncio.wait({self._looking}, timeout=self._workers.pass_s + 1)
        return self._pipeline_missing if done else self._pipeline_missing or _SILENT

    def _due(self, now_s: float) -> bool:
        if self._pipeline_missing is not None:
            return now_s - self._ended_s >= NOT_READY_FRESH_S
        doubted = self._unanswered_s() >= self._proven_s
        return now_s - self._proven_s >= (DOUBTED_PROOF_S if doubted else PROOF_S)

    def _looked(self, looking: asyncio.Future[str | None]) -> None:
        self._looking = None
        self._ended_s = self._clock.monotonic_s()
        if looking.cancelled():
            return
        self._pipeline_missing = looking.result()
        if self._pipeline_missing is None:
            # What happened while one looked may have happened after the proof.
            self._proven_s = self._began_s

    def _look(self) -> str | None:
        """In the thread: what is missing of the workers, or None."""
        try:
            return self._look_at_workers()
        except KafkaException as error:
            _log.info("the workers cannot be looked at: %r", error)
            return _SILENT

    def _look_at_workers(self) -> str | None:
        if self._probe is not None and self._clock.monotonic_s() - self._probed_s >= REPROBE_S:
            self._probe = None
        while True:
            fresh = self._probe is None
            if self._probe is None:
                self._probe, self._probed_s = self._workers.probe(), self._clock.monotonic_s()
            if behind := self._workers.behind(self._probe):
                return _in_words(behind)
            self._probe = None
            if fresh:
                return None
            # Passed, but nobody knows when: the workers may still have much to catch up with. A new one tells.


def _in_words(behind: frozenset[int]) -> str:
    if len(behind) == DECISION_REQUESTS.partitions:
        return "no worker takes requests: is one running? One that has just started may still be recovering"
    numbers = ", ".join(map(str, sorted(behind)))
    return f"requests in partition {numbers} are not taken in time: a worker is missing, recovering or far behind"


class KafkaWorkers:
    """The Workers port on a cluster."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._stopping = threading.Event()
        self._producer: Producer | None = None
        self._consumer: Consumer | None = None
        self.pass_s = PASS_S + settings.commit_interval_ms / 1_000

    def probe(self) -> Probe:
        """See Workers."""
        if self._producer is None:
            # A probe sent twice does no harm, and what is not idempotent is ready at once when the broker is back.
            self._producer = kafka.producer(
                self._settings, "bridge-probe",
                **{"message.timeout.ms": int(ASK_S * 1_000), "enable.idempotence": False},
            )
        offsets: dict[int, int] = {}

        def delivered(error: Any, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is None and partition is not None and offset is not None:
                offsets[partition] = offset

        for subject in _probe_subjects():
            self._producer.produce(DECISION_REQUESTS.name, _expired(subject), subject.encode(), on_delivery=delivered)
        self._producer.flush(ASK_S)
        if len(offsets) < DECISION_REQUESTS.partitions:
            raise KafkaException("the broker did not take every probe")
        return offsets

    def behind(self, probe: Probe) -> frozenset[int]:
        """See Workers."""
        end_s = self._clock.monotonic_s() + self.pass_s
        while True:
            committed = self._committed(probe)
            left = frozenset(number for number, offset in probe.items() if committed.get(number, -1) <= offset)
            if not left or self._clock.monotonic_s() >= end_s or self._stopping.wait(_ASK_AGAIN_S):
                return left

    def stop(self) -> None:
        """See Workers."""
        self._stopping.set()

    def _committed(self, partitions: Mapping[int, object]) -> dict[int, int]:
        if self._consumer is None:
            # Of the workers' group by name only: it never subscribes, so it never joins.
            self._consumer = kafka.consumer(self._settings, self._settings.app_id, "bridge-offsets")
        self._consumer.poll(0)  # what the client logs waits for this
        places = [TopicPartition(DECISION_REQUESTS.name, number) for number in partitions]
        return {place.partition: place.offset for place in self._consumer.committed(places, timeout=ASK_S)}


@cache
def _probe_subjects() -> tuple[str, ...]:
    """One subject per partition that nobody can be: a tenant's name cannot begin with a sign."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < DECISION_REQUESTS.partitions:
        subject = f"{READINESS_PROBE}{number}"
        found.setdefault(partition_of(subject.encode(), DECISION_REQUESTS.partitions), subject)
        number += 1
    return tuple(found.values())


def _expired(subject: str) -> bytes:
    return avro.encode_checked(DECISION_REQUESTS, DecisionRequest(
        request_id="readiness-probe", subject=subject, channel="", placements=["none"], deadline_ms=0,
    ))

"""Whether a decision could be served now: the policy is live, replies are read, and workers really work.

That the workers' group owns every partition is not enough: a worker owns a partition before it has recovered its
state. So after each change of owners a probe goes to every partition, a request whose deadline has long passed. A
working worker reads it, drops it without touching any profile or answering anybody, and commits past it; once every
partition is committed past its probe, the pipeline is known to move. Nothing synthetic is ever decided.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.adapters import kafka
from pipeline.codecs import avro
from pipeline.core.model import DecisionRequest
from pipeline.ports import Clock
from pipeline.settings import Settings
from topics.catalog import DECISION_REQUESTS
from topics.partitions import partition_of

#: An answer is good for so long: whoever asks more often gets the same one. At a start one looks more often.
FRESH_S: Final = 1.0
NOT_READY_FRESH_S: Final = 0.25

#: A question to the broker that takes longer counts as a no.
ASK_S: Final = 3.0

_log = logging.getLogger("nextbest.bridge")

#: Which member of the workers' group owns which partition of the requests.
Owners = frozenset[tuple[str, int]]


class Workers(Protocol):
    """What can be known of the workers from outside. All block; all raise KafkaException and TimeoutError."""

    def owners(self) -> Owners:
        """Who owns which partition of the decision requests, empty while the group rebalances."""

    def probe(self) -> dict[int, int]:
        """Send one expired request to each partition: partition → the offset that proves it was read past."""

    def committed(self) -> dict[int, int]:
        """Partition → the offset that the workers have committed."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What is still missing, in words; empty: ready."""

    missing: tuple[str, ...]

    @property
    def ready(self) -> bool:
        return not self.missing


class Readiness:
    """Answers at most once a second anew; concurrent callers share one look."""

    def __init__(
        self, workers: Workers, policy_missing: Callable[[], str | None], listening: Callable[[], bool], clock: Clock
    ) -> None:
        self._workers = workers
        self._policy_missing = policy_missing
        self._listening = listening
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="readiness")
        self._looking: asyncio.Future[str | None] | None = None
        self._looked_s = float("-inf")
        self._pipeline_missing: str | None = "the workers have not been looked at yet"
        self._proven_for: Owners | None = None
        self._probed: tuple[Owners, dict[int, int]] | None = None

    async def check(self) -> Checks:
        """What is missing now."""
        missing = [self._policy_missing()]
        if not self._listening():
            missing.append("decision.replies is not read yet: is the broker there, and `nextbest topics apply` done?")
        missing.append(await self._pipeline())
        return Checks(tuple(one for one in missing if one is not None))

    def close(self) -> None:
        """End the thread; a look under way is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _pipeline(self) -> str | None:
        fresh_s = FRESH_S if self._pipeline_missing is None else NOT_READY_FRESH_S
        if self._looking is None and self._clock.monotonic_s() - self._looked_s >= fresh_s:
            self._looking = asyncio.get_running_loop().run_in_executor(self._executor, self._look)
            self._looking.add_done_callback(self._looked)
        if self._looking is not None:
            # A broker that does not answer must not hold up the answer of a health check.
            await asyncio.wait({self._looking}, timeout=ASK_S)
        return self._pipeline_missing

    def _looked(self, looking: asyncio.Future[str | None]) -> None:
        self._looking = None
        self._looked_s = self._clock.monotonic_s()
        if not looking.cancelled():
            self._pipeline_missing = looking.result()

    def _look(self) -> str | None:
        """In the thread: what is missing of the workers, or None."""
        try:
            return self._look_at_workers()
        except (KafkaException, TimeoutError) as error:
            _log.info("the workers cannot be looked at: %r", error)
            return "the broker does not answer"

    def _look_at_workers(self) -> str | None:
        owners = self._workers.owners()
        lacking = DECISION_REQUESTS.partitions - len({partition for _, partition in owners})
        if lacking:
            self._proven_for = None
            return f"no worker decides for {lacking} of {DECISION_REQUESTS.partitions} partitions: is one running?"
        if self._proven_for == owners:
            return None
        if self._probed is None or self._probed[0] != owners:
            self._probed = (owners, self._workers.probe())
        committed = self._workers.committed()
        behind = [partition for partition, offset in self._probed[1].items() if committed.get(partition, -1) <= offset]
        if behind:
            return f"the workers have not got to {len(behind)} of {DECISION_REQUESTS.partitions} partitions yet"
        self._proven_for = owners
        return None


class KafkaWorkers:
    """The Workers port on a cluster."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: AdminClient | None = None

    def owners(self) -> Owners:
        described = self._client().describe_consumer_groups([self._settings.app_id], request_timeout=ASK_S)
        group: Any = described[self._settings.app_id].result(ASK_S)
        if group.state.name != "STABLE":
            return frozenset()
        return frozenset(
            (member.member_id, place.partition)
            for member in group.members if member.assignment
            for place in member.assignment.topic_partitions if place.topic == DECISION_REQUESTS.name
        )

    def probe(self) -> dict[int, int]:
        offsets: dict[int, int] = {}
        producer = kafka.producer(self._settings, "bridge-probe", **{"message.timeout.ms": int(ASK_S * 1_000)})

        def delivered(error: Any, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is None and partition is not None and offset is not None:
                offsets[partition] = offset

        for subject in _probe_subjects():
            producer.produce(DECISION_REQUESTS.name, _expired(subject), subject.encode(), on_delivery=delivered)
        producer.flush(ASK_S)
        if len(offsets) < DECISION_REQUESTS.partitions:
            raise KafkaException("the broker did not take every probe")
        return offsets

    def committed(self) -> dict[int, int]:
        places = [TopicPartition(DECISION_REQUESTS.name, number) for number in range(DECISION_REQUESTS.partitions)]
        asked = ConsumerGroupTopicPartitions(self._settings.app_id, places)
        answer = self._client().list_consumer_group_offsets([asked], request_timeout=ASK_S)
        group = answer[self._settings.app_id].result(ASK_S)
        return {place.partition: place.offset for place in group.topic_partitions or ()}

    def _client(self) -> AdminClient:
        if self._admin is None:
            self._admin = kafka.admin(self._settings)
        return self._admin


@cache
def _probe_subjects() -> tuple[str, ...]:
    """One subject per partition that nobody can be: a tenant's name cannot begin with a sign."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < DECISION_REQUESTS.partitions:
        subject = f"@readiness/{number}"
        found.setdefault(partition_of(subject.encode(), DECISION_REQUESTS.partitions), subject)
        number += 1
    return tuple(found.values())


def _expired(subject: str) -> bytes:
    return avro.encode(DECISION_REQUESTS, DecisionRequest(
        request_id="readiness-probe", subject=subject, channel="", placements=["none"], deadline_ms=0,
    ))

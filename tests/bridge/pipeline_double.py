"""The bridge over the whole pipeline in memory: no broker, no threads, a clock that tests move.

What the pipeline does with a request is for tests to say: answer, keep silent, refuse the record, or have no room.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx
import uvicorn

from pipeline.adapters.privacy_archive import PrivacyArchive
from pipeline.bridge.api_keys import ApiKeys
from pipeline.bridge.app import create
from pipeline.bridge.asking import Asker
from pipeline.bridge.connections import Limits, guarded
from pipeline.bridge.decide_endpoint import DecideEndpoint
from pipeline.bridge.events_endpoint import EventsEndpoint
from pipeline.bridge.features_endpoint import FeaturesEndpoint
from pipeline.bridge.metrics import BridgeMetrics
from pipeline.bridge.operations import Endpoints
from pipeline.bridge.privacy_endpoint import PrivacyEndpoint
from pipeline.bridge.quotas import Quotas
from pipeline.bridge.readiness import Probe, Readiness
from pipeline.bridge.wire import Place, WireFullError
from pipeline.bridge.world import no_policy
from pipeline.codecs import avro
from pipeline.core.identity import identifiers
from pipeline.core.model.records import DecisionRequest
from pipeline.flow import Record
from pipeline.ports import Outbound
from pipeline.runtime.memory import MemoryPipeline
from pipeline.settings import Settings
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import BY_NAME, DECISION_REPLIES, DECISION_REQUESTS, PROFILES_BY_ID, SUBJECT_PARTITIONS
from topics.partitions import partition_of

Mode = Literal["answers", "is silent", "refuses", "has no room"]

ALL = frozenset(range(SUBJECT_PARTITIONS))


class WireDouble:
    """The Wire port onto a MemoryPipeline."""

    reply_partition = 3

    def __init__(self, pipeline: MemoryPipeline) -> None:
        self.pipeline = pipeline
        self.asker: Asker
        self.mode: Mode = "answers"
        self.listening = True
        self.away = False
        self.sent: list[Outbound] = []
        self.published: list[Outbound] = []
        #: Topics whose records the broker does not take.
        self.refused_topics: set[str] = set()
        self._replies_read = 0

    def send(self, record: Outbound, undelivered: Callable[[], None]) -> None:
        if self.mode == "has no room":
            raise WireFullError
        self.sent.append(record)
        loop = asyncio.get_running_loop()
        if self.mode == "refuses":
            loop.call_soon(undelivered)
        elif self.mode == "answers":
            self.deliver(record)
            self.hand_over()

    def deliver(self, record: Outbound) -> None:
        """The pipeline gets the record and does what it does."""
        self.pipeline.send(BY_NAME[record.topic], record.key, record.value, headers=record.headers)
        self.pipeline.run()

    def hand_over(self) -> None:
        """Every reply that has come since, as from a partition that only this bridge writes to.

        They are read at once, before `send` returns, as another thread may: what nobody waits for yet is lost.
        """
        logs = self.pipeline.logs.get(DECISION_REPLIES.name, [[] for _ in range(self.reply_partition + 1)])
        records = logs[self.reply_partition][self._replies_read :]
        self._replies_read += len(records)
        wanted = [record for record in records if self.asker.wants((record.key or b"").decode())]
        replies = [avro.decode(DECISION_REPLIES, record.value) for record in wanted]
        asyncio.get_running_loop().call_soon(self.asker.replied, replies)

    async def publish(self, records: Sequence[Outbound]) -> list[Place | None]:
        places: list[Place | None] = []
        for record in records:
            if record.topic in self.refused_topics:
                places.append(None)
                continue
            self.published.append(record)
            number = partition_of(record.key, BY_NAME[record.topic].partitions)
            places.append((number, len(self.pipeline.logs.get(record.topic, [[]] * 99)[number])))
            if self.mode == "answers":
                self.deliver(record)
        self.hand_over()
        return places


class WorkersDouble:
    """The Workers port: says what it is told to say."""

    pass_s = 2.0

    def __init__(self) -> None:
        #: The partitions that nobody reads.
        self.stuck: frozenset[int] = ALL
        self.probes = 0
        self.looks = 0

    def probe(self) -> Probe:
        self.probes += 1
        return {number: self.probes for number in ALL}

    def behind(self, probe: Probe) -> frozenset[int]:
        self.looks += 1
        return self.stuck

    def stop(self) -> None:
        pass


class BridgeDouble:
    """One bridge and everything around it. `published`: another policy than the shop's."""

    def __init__(
        self, policy: Path, published: Sequence[Outbound] | None = None, beside: BridgeDouble | None = None,
        **settings: Any,
    ) -> None:
        """`beside`: another bridge of the same pipeline."""
        self.settings = Settings(**({"tenant": "shop"} | settings))
        self.pipeline: MemoryPipeline = MemoryPipeline(FLOWS) if beside is None else beside.pipeline
        for record in shop.publication(policy) if published is None else published:
            self.pipeline.send(BY_NAME[record.topic], record.key, record.value)
        self.pipeline.run()
        self.clock = self.pipeline.clock
        self.metrics = BridgeMetrics()
        self.wire = WireDouble(self.pipeline)
        if beside is not None:
            self.wire.reply_partition = beside.wire.reply_partition + 1
        self.asker = self.wire.asker = Asker(
            self.wire, self.clock, self.metrics, in_flight_max=self.settings.max_in_flight,
            patience_ms=self.settings.deadline_ms,
        )
        self.metrics.in_flight.set_function(lambda: float(self.asker.in_flight))
        self.caught_up = True
        self.policy_missing: str | None = None
        self.workers = WorkersDouble()
        keys = ApiKeys(self.settings.api_keys.get_secret_value(), self.settings.tenant)
        quotas = Quotas(self.settings.tenant_quotas, self.clock.monotonic_s)
        world = self.pipeline.directory
        decide = DecideEndpoint(
            self.settings, keys, quotas, world, lambda: self.caught_up, self.asker, self.clock, self.metrics
        )
        events = EventsEndpoint(self.settings, keys, quotas, world, self.wire, self.asker, self.clock, self.metrics)
        self.archive = archive_of(self.pipeline, self.settings)
        privacy = PrivacyEndpoint(self.settings, keys, self.wire, lambda: self.archive, self.clock)
        features = FeaturesEndpoint(self.settings, keys, quotas, world, lambda: self.caught_up, self.asker)
        self.readiness = Readiness(
            self.workers, lambda tenant: self.policy_missing or no_policy(world, tenant), lambda: self.wire.listening,
            lambda: self.asker.unanswered_s, self.clock,
        )
        self.endpoints = Endpoints(decide, events, privacy, features, self.readiness, self.metrics)
        self.app = create(self.endpoints, None, self.settings.origins)

    def client(self) -> httpx.AsyncClient:
        """A client of the bridge; a bug in it is raised, not answered."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://bridge")

    def subject(self, value: str, type_: str = "user_id", tenant: str = "shop") -> str:
        """The key under which the bridge puts somebody."""
        return identifiers.subject_key(self.settings.tenant_keys, tenant, type_, value)

    def requests(self) -> list[DecisionRequest]:
        """What was asked of the pipeline."""
        return [avro.decode(DECISION_REQUESTS, record.value) for record in self.wire.sent]

    def events(self) -> list[Any]:
        """What was published, decoded."""
        return [avro.decode(BY_NAME[record.topic], record.value) for record in self.wire.published]

    def consents(self, user: str) -> None:
        """Somebody allows personalization."""
        subject = self.subject(user)
        event = shop.consent(subject, self.clock.at_ms)
        self.pipeline.send(BY_NAME["identity.events"], subject, event)
        self.pipeline.run()


def archive_of(pipeline: MemoryPipeline, settings: Settings) -> PrivacyArchive:
    """The archive over the pipeline's own logs; its changelog carries no times."""
    archive = PrivacyArchive(partial(_records, pipeline, PROFILES_BY_ID.changelog(settings.app_id)), settings)
    archive._key_encryption = pipeline.key_encryption
    return archive


def _records(
    pipeline: MemoryPipeline, changelog: str, topics: Sequence[str], wanted: Iterable[int] | None
) -> Iterator[Record]:
    numbers = None if wanted is None else set(wanted)
    for topic in topics:
        if topic == changelog:
            yield from (
                Record(topic, number, offset, pipeline.clock.at_ms, key, value)
                for number, log in enumerate(pipeline.changelog) for offset, (key, value) in enumerate(log)
                if numbers is None or number in numbers
            )
        for number, log in enumerate(pipeline.logs.get(topic, [])):
            if numbers is None or number in numbers:
                yield from log


def decide_body(user: str = "ann", **context: Any) -> dict[str, Any]:
    """A request that is right."""
    return {"subject": {"id": user}, "context": {"channel": "web", "placement": "hero"} | context}


@asynccontextmanager
async def served(bridge: BridgeDouble, limits: Limits | None = None) -> AsyncIterator[str]:
    """The bridge on a port, by the server that the real one has."""
    config = uvicorn.Config(bridge.app, "127.0.0.1", 0, http=guarded(limits or Limits(1_000, 1_000)), ws="none",
                            log_config=None, access_log=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task

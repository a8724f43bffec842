"""The worker: binds the topology to Faust. Entry point `run`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, cast

import faust
import uvloop
from faust.types.tables import CollectionT
from mode.supervisors import CrashingSupervisor
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from yarl import URL

from pipeline.adapters import kafka
from pipeline.adapters.batch_reader import BatchReader, WorkClass, reading_consumer
from pipeline.adapters.follower import Follower
from pipeline.adapters.interpreter import set_for_latency
from pipeline.adapters.keys import key_encryption_of
from pipeline.adapters.publisher import KafkaPublisher
from pipeline.adapters.system_clock import SystemClock
from pipeline.codecs.state import SubjectStates
from pipeline.flow import Flow, Record
from pipeline.metrics import WorkerMetrics
from pipeline.policy.directory import Directory
from pipeline.runtime import crash, membership, ports, standby
from pipeline.runtime.fates import LaneContext, handle_stateless
from pipeline.runtime.faust_store import LaneStore
from pipeline.runtime.faust_transport import LaneConsumer, LaneTableManager, LaneTransport
from pipeline.runtime.lane_driver import Lease
from pipeline.runtime.lanes import Lanes, LaneSetup
from pipeline.settings import Settings
from pipeline.topology import AGENT_FLOWS, BATCH_FLOWS, FLOWS, WORK
from topics.catalog import (
    ACCOUNTS,
    CATALOG_ITEMS,
    MODEL_SNAPSHOTS,
    POLICY_RELEASES,
    PROFILES_BY_ID,
    SUBJECT_PARTITIONS,
    TOPICS,
)

log = logging.getLogger(__name__)

#: The topology's classes of work, for the reader.
REPORTING = frozenset(flow.reads.name for flow in FLOWS if flow.reports)

WORK_CLASSES = [WorkClass(tuple(flow.reads.name for flow in FLOWS if flow.work is work), *shares)
                for work, shares in WORK.items()]

#: How often the worker looks for profiles that time alone changes.
DUE_EVERY_S = 1.0

#: How often what was erased is removed from the files: within a few minutes, and many at a time.
COMPACT_EVERY_S = 300.0

#: How often the group hears of a worker, and a worker of a rebalance: part of the stall when another one dies.
HEARTBEAT_S = 0.5

#: How long an orderly stop may take; what it leaves undone is read again.
STOP_S_MAX = 8.0

#: How long librdkafka waits for the rest of what the publisher hands over together.
GATHER_MS = 5

#: How long a worker waits at its start for the catalog and the policy to be in memory.
FOLLOWER_S = 60.0


class WorkerApp(faust.App):
    """A Faust app whose consumer feeds the lanes."""

    lanes: Lanes

    def _new_transport(self) -> Any:
        return LaneTransport(self.conf.broker_consumer, self)


class Worker:
    """One worker process: followers, publisher, lanes and the Faust app around them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.clock = SystemClock()
        self.metrics = WorkerMetrics()
        self.directory = Directory(loading=True)
        self.follower = Follower(
            settings, (POLICY_RELEASES, CATALOG_ITEMS, ACCOUNTS, MODEL_SNAPSHOTS), self.directory.apply,
            self.directory.loaded,
        )
        self.publisher: KafkaPublisher | None = None
        self.app = self._build_app()

    # -- building -------------------------------------------------------------------------------------------------

    def _build_app(self) -> WorkerApp:
        settings = self.settings
        session_s = settings.session_timeout_ms / 1000
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        app = WorkerApp(
            settings.app_id,
            broker=[URL(f"kafka://{address}") for address in settings.bootstrap.split(",")],
            datadir=str(settings.data_dir / "faust"),
            store="memory://",
            TableManager=LaneTableManager,
            topic_partitions=SUBJECT_PARTITIONS,
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=1,
            stream_wait_empty=False,
            broker_commit_interval=settings.commit_interval_ms / 1000,
            broker_session_timeout=session_s,
            broker_heartbeat_interval=min(session_s / 4, HEARTBEAT_S),
            broker_request_timeout=max(30.0, session_s),
            broker_rebalance_timeout=10.0,
            broker_max_poll_records=2_000,
            consumer_auto_offset_reset="earliest",
            recovery_consistency_check=False,
            web_bind=settings.worker_host,
            web_host="127.0.0.1",
            web_port=settings.worker_port or ports.free_port("127.0.0.1"),
            autodiscover=False,
        )
        self._add_table(app)
        for flow in BATCH_FLOWS:
            app.topics.add(app.topic(flow.reads.name, key_type=bytes, value_type=bytes, value_serializer="raw"))
        for flow in AGENT_FLOWS:
            self._add_agent(app, flow)
        self._add_pages(app)
        app.task(self._start_parts)
        app.timer(settings.commit_interval_ms / 1000)(self._commit)
        app.timer(DUE_EVERY_S)(self._ask_for_due)
        app.timer(COMPACT_EVERY_S)(self._compact_erased)
        return app

    def _add_table(self, app: WorkerApp) -> None:
        table = app.Table(
            PROFILES_BY_ID.name,
            key_type=bytes,
            value_type=bytes,
            partitions=SUBJECT_PARTITIONS,
        )
        self.table = cast(CollectionT, table)

    def _add_agent(self, app: WorkerApp, flow: Flow) -> None:
        topic = app.topic(flow.reads.name, key_type=bytes, value_type=bytes, value_serializer="raw")

        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                self._handle(flow, event.message.record, done=event.ack)

        app.agent(topic, name=flow.name, supervisor_strategy=CrashingSupervisor)(agent)

    def _handle(self, flow: Flow, record: Record, done: Callable[[], Any]) -> None:
        """One record of an ordinary flow: its outputs first, its acknowledgement once they are on the broker."""
        outputs = handle_stateless(flow, record, LaneContext(self.directory.live), self.metrics, self.name)
        if self.publisher is None:
            raise RuntimeError("records before the publisher was started")
        self.publisher.send(outputs, lambda _offset: done())

    def _add_pages(self, app: WorkerApp) -> None:
        @app.page("/metrics")
        async def metrics(web: Any, request: Any) -> Any:
            return web.bytes(generate_latest(self.metrics.registry), content_type=CONTENT_TYPE_LATEST.split(";")[0])

        @app.page("/readyz")
        async def ready(web: Any, request: Any) -> Any:
            active = self.app.lanes.active
            return web.json({"ready": active, "partitions": self.app.lanes.partitions()}, status=200 if active else 503)

    # -- running --------------------------------------------------------------------------------------------------

    def prepare(self, loop: Any) -> None:
        """Everything that must exist before the consumer: producer, lanes, the world in memory."""
        settings = self.settings
        lease = Lease(self.clock, settings.session_timeout_ms / 1000)
        in_time: dict[str, Any] = {"message.timeout.ms": int(settings.session_timeout_ms * 0.8)}
        encrypted = in_time | kafka.UNCOMPRESSED
        changelog = PROFILES_BY_ID.changelog(settings.app_id)
        self.publisher = KafkaPublisher(
            kafka.producer(settings, "worker-changelog", **encrypted),
            kafka.producer(settings, "worker", **in_time),
            kafka.producer(settings, "worker-lingering", **encrypted, **{"linger.ms": GATHER_MS}),
            [changelog],
            [topic.name for topic in TOPICS if not topic.awaited],
            loop,
            crash.stop,
            lease.held,
        )
        transport = cast(LaneTransport, self.app.transport)
        setup = LaneSetup(
            flows=BATCH_FLOWS,
            states=SubjectStates(),
            changelog=changelog,
            state_dir=settings.data_dir / "state" / PROFILES_BY_ID.name,
            new_reader=partial(kafka.consumer, settings, None, "takeover", **kafka.TELL_THE_END),
            new_standby_reader=partial(kafka.consumer, settings, None, "standby", **standby.FETCHING),
            input_ids=kafka.topic_ids(settings, [flow.reads.name for flow in BATCH_FLOWS]),
            live=self.directory.live,
            clock=self.clock,
            metrics=self.metrics,
            worker=self.name,
            key_encryption=key_encryption_of(settings),
            dead_letter_limit=settings.dead_letter_limit,
            caught_up=lambda topic, partition: transport.reader.caught_up(topic, partition),
        )
        lanes = Lanes(setup, self.publisher, lease)
        self.app.lanes = lanes
        transport.lanes = lanes
        transport.on_joined = partial(membership.note, settings.data_dir)
        transport.inputs = frozenset(flow.reads.name for flow in FLOWS)
        transport.reader = BatchReader(
            [(one, reading_consumer(settings, not REPORTING.isdisjoint(one.topics))) for one in WORK_CLASSES], loop,
            crash.stop)
        lanes.on_progress = transport.reader.wake
        store = LaneStore("lanes://", self.app, self.table, key_type=bytes, value_type=bytes)
        store.lanes = lanes
        self.table._data = store  # type: ignore[attr-defined]
        self.follower.start()
        if not self.follower.caught_up.wait(FOLLOWER_S):
            raise RuntimeError(f"policy and catalog were not read within {FOLLOWER_S:.0f} s: is the broker well?")

    async def _start_parts(self) -> None:
        log.info("worker %s started", self.name)

    async def _ask_for_due(self) -> None:
        self.app.lanes.ask_for_due()

    async def _compact_erased(self) -> None:
        await self.app.lanes.copies.compact_erased()

    async def _commit(self) -> None:
        consumer = self.app.consumer
        if isinstance(consumer, LaneConsumer):
            await consumer.commit_completed()

    def close(self) -> None:
        """After the app has stopped."""
        self.follower.stop()
        if self.publisher is not None:
            self.publisher.stop()


class _Process(faust.Worker):
    """Faust's process around the app: stops in order when told to, but within a bound."""

    def _schedule_shutdown(self, signal: Any) -> None:
        crash.end_within(STOP_S_MAX)
        super()._schedule_shutdown(signal)


def run(settings: Settings) -> NoReturn:
    """Run a worker until it is told to stop, and end the process."""
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = Worker(settings)
    worker.prepare(loop)
    set_for_latency()
    process = _Process(
        worker.app, loop=loop, loglevel=settings.log_level.upper(), quiet=False, redirect_stdouts=False
    )
    code = 0
    try:
        process.execute_from_commandline()
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    finally:
        worker.close()
    crash.leave(code)


if __name__ == "__main__":
    run(Settings())

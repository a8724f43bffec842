"""Faust's Kafka transport with the batch lane in it; with `faust_app.py` the only place that knows Faust.

Kept of Faust: group membership, assignment with co-partitioned tables and standbys, the table life cycle, agents for
ordinary topics. Replaced: the way of hot records (whole batches into `Lanes` instead of two tasks per record),
recovery of active tables (bulk, in `takeover.py`), and offsets of hot topics (positions are the lanes' own).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, cast

import aiokafka
from aiokafka.protocol.group import SyncGroupRequest
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from pipeline.runtime import crash
from pipeline.runtime.lanes import Lanes, StaleAssignmentError, TopicPartition

log = logging.getLogger(__name__)

#: How long a fetch may wait at the broker for the first record: bounds the delay of a fetch that was asked too early.
FETCH_WAIT_MS = 50


class LaneConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, with our fetch wait and a lease renewed by every successful join and heartbeat."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        consumer = self._ensure_consumer()
        consumer._fetcher._fetch_max_wait_ms = FETCH_WAIT_MS
        coordinator = consumer._coordinator
        heartbeat = coordinator._do_heartbeat
        lease = cast(LaneConsumer, self.consumer).lanes.lease

        async def heartbeat_and_renew() -> bool:
            asked_s = lease.now_s()
            alive: bool = await heartbeat()
            if alive:
                lease.renew(asked_s)
            return alive

        send = coordinator._send_req

        async def send_and_renew(request: Any) -> Any:
            asked_s = lease.now_s()
            response = await send(request)
            # Joining takes longer than a session may last, and the first heartbeat comes only later.
            if isinstance(request, SyncGroupRequest) and not response.error_code:
                lease.renew(asked_s)
            return response

        coordinator._do_heartbeat = heartbeat_and_renew
        coordinator._send_req = send_and_renew

    async def committed_or_earliest(self, inputs: Iterable[TP]) -> dict[TP, int]:
        """Committed offsets; where there is none, the beginning of the log."""
        consumer = self._ensure_consumer()
        tps = [aiokafka.TopicPartition(tp.topic, tp.partition) for tp in inputs]
        committed = dict(zip(tps, await asyncio.gather(*(consumer.committed(tp) for tp in tps)), strict=True))
        missing = [tp for tp, offset in committed.items() if offset is None]
        earliest = await consumer.beginning_offsets(missing) if missing else {}
        return {
            TP(tp.topic, tp.partition): earliest[tp] if offset is None else offset for tp, offset in committed.items()
        }

    async def seek_all(self, positions: Mapping[TP, int]) -> None:
        """Move the fetch positions, on the thread that fetches."""
        consumer = self._ensure_consumer()
        for tp, offset in positions.items():
            consumer.seek(aiokafka.TopicPartition(tp.topic, tp.partition), offset)


class ConsumerGroup:
    """The lanes' `Group` on Faust's consumer thread."""

    def __init__(self, thread: LaneConsumerThread) -> None:
        self._thread = thread

    async def committed(self, inputs: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The offsets to start from: committed, or the beginning of the log."""
        tps = [TP(*i) for i in inputs]
        return dict(await self._thread.call_thread(self._thread.committed_or_earliest, tps))

    async def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read on from here."""
        await self._thread.call_thread(self._thread.seek_all, {TP(*tp): at for tp, at in positions.items()})

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit; a rebalance meanwhile makes it void, which is harmless."""
        await self._thread.commit({TP(*tp): offset for tp, offset in offsets.items()})


class LaneConsumer(driver.Consumer):
    """Faust's consumer, which hands hot records to the lanes."""

    _thread: LaneConsumerThread
    group: ConsumerGroup

    @property
    def lanes(self) -> Lanes:
        """The worker's lanes, set on the transport before the app starts."""
        return cast(LaneTransport, self.transport).lanes

    def _new_consumer_thread(self) -> LaneConsumerThread:
        thread = LaneConsumerThread(self, loop=self.loop, beacon=self.beacon)
        self.group = ConsumerGroup(thread)
        return thread

    # -- life cycle -----------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.lanes.revoke(self.group)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.lanes.assigned()
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_stop(self) -> None:
        await self.lanes.revoke(self.group)
        self.lanes.close()
        await super().on_stop()

    async def commit_completed(self) -> None:
        """Commit the lanes' completed offsets; called by the app's timer."""
        if self.lanes.active:
            await self.lanes.commit(self.group)

    # -- records --------------------------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._drain_once()
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            raise
        except Exception as error:
            crash.stop("a batch could not be processed", error)

    async def _drain_once(self) -> None:
        records, active = await self._wait_next_records(timeout=1.0 if self.lanes.active else 0.1)
        generation = self.app.consumer_generation_id
        if (
            not self.lanes.active
            and self.flow_active
            and cast(TableManager, self.app.tables).recovery.completed.is_set()
        ):
            # The fetch positions are about to be set anew: what was fetched meanwhile is fetched again.
            await self._take_over()
            await self.perform_seek_ordinary()
            return
        if not records:
            return
        if not self.flow_active or generation != self.app.consumer_generation_id:
            await self.perform_seek_ordinary()
            return
        hot: dict[str, list[tuple[TP, Any]]] = {}
        for tp, batch in records.items():
            if tp.topic in self.lanes.topics:
                hot.setdefault(tp.topic, []).append((tp, batch))
            elif active is None or tp in active or tp in self._buffered_partitions:
                await self._deliver(tp, batch)
        # In the flows' order: what a caller sent before asking is applied before the question is answered.
        for topic in cast(LaneTransport, self.transport).order:
            for tp, batch in hot.get(topic, ()):
                await self.lanes.feed(tp.topic, tp.partition, batch, self.group)

    async def _take_over(self) -> None:
        inputs = [(tp.topic, tp.partition) for tp in self.assignment() if tp.topic in self.lanes.topics]
        try:
            await self.lanes.take_over(inputs, self.group)
        except StaleAssignmentError:
            log.info("rebalanced again while taking over %d inputs", len(inputs))

    async def perform_seek_ordinary(self) -> None:
        """Read ordinary topics again from what is committed; the lanes look after their own positions."""
        await self.perform_seek()
        if self.lanes.active:
            await self.lanes.seek_back(self.group)

    async def _deliver(self, tp: TP, batch: Iterable[Any]) -> None:
        """The ordinary way: one message after the other to Faust's conductor."""
        for record in batch:
            read = self._read_offset[tp]
            if read is not None and record.offset < read:
                continue
            if read and record.offset - read > 1 and self.app.topics.acks_enabled_for(tp.topic):
                await self._add_gap(tp, read + 1, record.offset)
            await self.callback(self._to_message(tp, record))
            self._read_offset[tp] = record.offset


class LaneTransport(driver.Transport):
    """Faust's transport making our consumer."""

    Consumer = LaneConsumer
    lanes: Lanes
    #: The lanes' topics in the order in which one fetch is applied.
    order: tuple[str, ...] = ()


class LaneRecovery(Recovery):
    """Faust's recovery for standbys only: a lane brings its own partition up to date when it takes over."""

    def need_recovery(self) -> bool:
        return False


class LaneTableManager(TableManager):
    """Faust's table manager with our recovery."""

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = LaneRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

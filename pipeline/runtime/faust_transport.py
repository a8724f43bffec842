"""Faust's Kafka transport with the batch lane in it; with `faust_app.py` the only place that knows Faust.

Kept of Faust: group membership, assignment with co-partitioned tables and standbys, the table life cycle, agents for
ordinary topics, with their acknowledgements and commits. Replaced: all reading (by librdkafka; Faust's consumer holds
the assignment and commits, and fetches nothing), the way of hot topics (whole fetches into `Lanes`, whose positions are
their own), and recovery (in bulk, `takeover.py`; of copies of others' partitions, `standby.py`).

Anybody may write to an input, and Faust's reader dies of a header whose name is not UTF-8; librdkafka's does not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import aiokafka
from aiokafka.protocol.group import SyncGroupRequest
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery, ServiceStopped
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from pipeline.adapters import kafka
from pipeline.adapters.batch_reader import BatchReader
from pipeline.flow import Record
from pipeline.runtime import crash
from pipeline.runtime.lanes import Lanes, StaleAssignmentError, TopicPartition

log = logging.getLogger(__name__)

kafka.keep_from_repeating("aiokafka")

#: How long a fetch of ordinary topics may wait at the broker; other questions on its connection wait behind it.
FETCH_WAIT_MS = 250


class LaneConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, with our fetch wait, a lease renewed by every successful join and heartbeat, and inputs
    that are assigned but not fetched."""

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
        on_joined = cast(LaneConsumer, self.consumer).on_joined

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
                on_joined(coordinator.member_id)
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

    async def fetch_nothing(self) -> None:
        """To be said again for every assignment."""
        consumer = self._ensure_consumer()
        consumer.pause(*consumer.assignment())


class ReadMessage(ConsumerMessage):
    """A record of an ordinary topic on its way through Faust to its agent."""

    __slots__ = ("record",)

    def __init__(self, record: Record, generation: int) -> None:
        super().__init__(
            record.topic, record.partition, record.offset, record.at_ms / 1000, 0, None, record.key,
            record.value, None, tp=TP(record.topic, record.partition), generation_id=generation,
        )  # fmt: skip
        self.record = record


class ConsumerGroup:
    """The lanes' `Group`: membership and commits on Faust's consumer thread, reading by the batch reader."""

    def __init__(self, thread: LaneConsumerThread, reader: BatchReader) -> None:
        self._thread = thread
        self._reader = reader
        #: The next offset of every ordinary input, which is read along with the lanes'.
        self.ordinary: dict[TopicPartition, int] = {}

    async def committed(self, inputs: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The offsets to start from: committed, or the beginning of the log."""
        tps = [TP(*i) for i in inputs]
        return dict(await self._thread.call_thread(self._thread.committed_or_earliest, tps))

    async def read_from(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these inputs and no others, from these offsets; what was fetched of them before is forgotten."""
        self._reader.read_from({**self.ordinary, **positions})

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit; a rebalance meanwhile makes it void, which is harmless."""
        await self._thread.commit({TP(*tp): offset for tp, offset in offsets.items()})


class LaneConsumer(driver.Consumer):
    """Faust's consumer, to which a batch reader brings the records: the hot ones for the lanes, the others for
    agents."""

    _thread: LaneConsumerThread
    group: ConsumerGroup

    @property
    def lanes(self) -> Lanes:
        """The worker's lanes, set on the transport before the app starts."""
        return cast(LaneTransport, self.transport).lanes

    @property
    def reader(self) -> BatchReader:
        """What reads the lanes' inputs, set on the transport before the app starts."""
        return cast(LaneTransport, self.transport).reader

    @property
    def inputs(self) -> frozenset[str]:
        """The topics that the batch reader reads: all but the changelogs, set on the transport."""
        return cast(LaneTransport, self.transport).inputs

    @property
    def on_joined(self) -> Callable[[str], None]:
        """Told the member id at every successful join, on the consumer's thread."""
        return cast(LaneTransport, self.transport).on_joined

    def _new_consumer_thread(self) -> LaneConsumerThread:
        thread = LaneConsumerThread(self, loop=self.loop, beacon=self.beacon)
        self.group = ConsumerGroup(thread, self.reader)
        return thread

    # -- life cycle -----------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        await super().on_start()
        self.add_future(self._feed_lanes())

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self._give_up()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await self._thread.call_thread(self._thread.fetch_nothing)
        self.lanes.assigned()
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_stop(self) -> None:
        await self._give_up()
        self.reader.stop()
        self.lanes.close()
        await super().on_stop()

    async def _give_up(self) -> None:
        self.reader.read_from({})
        await self.lanes.revoke(self.group)

    async def verify_all_partitions_active(self) -> None:
        """Faust's watch over what it fetches, which is nothing: it would call every partition stuck, several times a
        minute, for as long as the worker lives."""

    async def commit_completed(self) -> None:
        """Commit the lanes' completed offsets; called by the app's timer."""
        if self.lanes.active:
            await self.lanes.commit(self.group)

    # -- records --------------------------------------------------------------------------------------------------

    async def _feed_lanes(self) -> None:
        """Records, fetch by fetch, in the flows' order: what a caller sent before asking is applied before the
        question is answered."""
        try:
            while not self.should_stop:
                for topic, partition, records in await self.reader.next(self.lanes.in_flight):
                    if topic in self.lanes.topics:
                        await self.lanes.feed(topic, partition, records, self.group)
                    else:
                        await self._to_agent(records)
                    # An acknowledgement that came meanwhile lets an answer go: before another request is decided.
                    await asyncio.sleep(0)
        except Exception as error:
            crash.stop("a batch could not be processed", error)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Faust's loop over what was fetched, which is nothing here: the place where an assignment is taken over."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                # The first fetch of an assignment may have been under way before it was paused: it counts for nothing.
                await self._wait_next_records(timeout=1.0 if self.lanes.active else 0.1)
                recovered = cast(TableManager, self.app.tables).recovery.completed.is_set()
                if not self.lanes.active and self.flow_active and recovered:
                    await self._take_over()
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except Exception as error:
            crash.stop("partitions could not be taken over", error)

    async def _take_over(self) -> None:
        assigned = [(tp.topic, tp.partition) for tp in self.assignment() if tp.topic in self.inputs]
        inputs = [tp for tp in assigned if tp[0] in self.lanes.topics]
        self.group.ordinary = {}
        self.group.ordinary = dict(await self.group.committed([tp for tp in assigned if tp not in inputs]))
        try:
            await self.lanes.take_over(inputs, self.group)
        except StaleAssignmentError:
            log.info("rebalanced again while taking over %d inputs", len(inputs))

    async def _to_agent(self, records: Iterable[Record]) -> None:
        """Records of one ordinary input, each once."""
        for record in records:
            place = (record.topic, record.partition)
            if record.offset >= self.group.ordinary.get(place, record.offset + 1):
                self.group.ordinary[place] = record.offset + 1
                await self._deliver(TP(*place), [ReadMessage(record, self.app.consumer_generation_id)])

    async def _deliver(self, tp: TP, messages: Iterable[ConsumerMessage]) -> None:
        """The ordinary way: one message after the other to Faust's conductor."""
        for message in messages:
            read = self._read_offset[tp]
            if read is not None and message.offset < read:
                continue
            if read and message.offset - read > 1 and self.app.topics.acks_enabled_for(tp.topic):
                await self._add_gap(tp, read + 1, message.offset)
            await self.callback(message)
            self._read_offset[tp] = message.offset


class LaneTransport(driver.Transport):
    """Faust's transport making our consumer."""

    Consumer = LaneConsumer
    lanes: Lanes
    reader: BatchReader
    inputs: frozenset[str]
    on_joined: Callable[[str], None]


class LaneRecovery(Recovery):
    """Faust's recovery, which finds nothing to recover: see `takeover.py` and `standby.py`."""

    def add_active(self, table: Any, tp: TP) -> None:
        """Not Faust's affair."""

    def add_standby(self, table: Any, tp: TP) -> None:
        """Not Faust's affair."""

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        """Faust takes a wait that ran out of time for its own end: nothing would be recovered ever again, and the
        worker would keep its place in the group and decide nothing. It stops instead."""
        try:
            await super()._wait(coro, timeout)
        except ServiceStopped:
            if not self.should_stop:
                crash.stop("the broker did not answer in time while partitions were taken over")
            raise


class LaneTableManager(TableManager):
    """Faust's table manager with our recovery."""

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = LaneRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

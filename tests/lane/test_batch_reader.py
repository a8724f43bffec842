"""The reader between librdkafka and the lanes: whole fetches, in the flows' order, of the present assignment only."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from pipeline.adapters.batch_reader import (
    BATCHES_AHEAD,
    BULK_IN_FLIGHT,
    BULK_IN_FLIGHT_AWAITED,
    BULK_PORTION_AWAITED,
    BatchReader,
    WorkClass,
)


@dataclass
class Said:
    """A record as librdkafka hands it out, or an error."""

    where: str
    at: int
    failed: KafkaError | None = None

    def error(self) -> KafkaError | None:
        return self.failed

    def topic(self) -> str:
        return self.where

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return 1, 17

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes:
        return b"v"

    def headers(self) -> list[tuple[str, bytes]] | None:
        return [("traceparent", b"x")] if self.at == 0 else None


class FakeConsumer:
    """Gives what the test puts into it, one fetch at a time."""

    def __init__(self) -> None:
        self.fetches: queue.Queue[list[Said]] = queue.Queue()
        self.rest: list[Said] = []
        self.closed = threading.Event()
        self.polled = 0

    def assign(self, places: list[TopicPartition]) -> None:
        for one in places:
            self.fetches.put([Said(one.topic, one.offset)])

    def poll(self, _timeout: float) -> Said | None:
        try:
            first, *self.rest = self.fetches.get(timeout=0.02)
        except queue.Empty:
            return None
        self.polled += 1
        return first

    def consume(self, count: int, _timeout: float) -> list[Said]:
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def close(self) -> None:
        self.closed.set()


class World:
    def __init__(self) -> None:
        self.consumer, self.other = FakeConsumer(), FakeConsumer()
        self.failures: list[str] = []
        self.now_s = 0.0
        self.reader = BatchReader(
            [(WorkClass(("first", "second"), 1.0, bulk=True), self.consumer),  # type: ignore[list-item]
             (WorkClass(("asked",), 4.0), self.other)],  # type: ignore[list-item]
            asyncio.get_running_loop(),
            lambda reason, error: self.failures.append(f"{reason}: {error}"),
            lambda: self.now_s,
        )

    async def next(self, in_flight: int = 0) -> list[tuple[str, list[int]]]:
        batch = await asyncio.wait_for(self.reader.next(lambda: in_flight), 5)
        return [(topic, [record.offset for record in records]) for topic, _partition, records in batch]


def run(test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        world = World()
        try:
            await test(world)
        finally:
            world.reader.stop()
            assert world.consumer.closed.wait(5)
            assert world.other.closed.wait(5)

    asyncio.run(whole())


def test_a_fetch_comes_whole_and_in_the_order_of_the_flows() -> None:
    async def test(world: World) -> None:
        world.consumer.fetches.put([Said("second", 5), Said("first", 0), Said("second", 6), Said("first", 1)])
        assert await world.next() == [("first", [0, 1]), ("second", [5, 6])]

    run(test)


def test_of_what_is_there_at_the_same_time_the_first_consumers_comes_first() -> None:
    async def test(world: World) -> None:
        world.other.fetches.put([Said("asked", 0)])
        world.consumer.fetches.put([Said("first", 0)])
        while world.consumer.polled + world.other.polled < 2:
            # Nothing is taken over meanwhile: the loop does not run.
            time.sleep(0.001)
        time.sleep(0.02)
        await asyncio.sleep(0)
        assert [await world.next(), await world.next()] == [[("first", [0])], [("asked", [0])]]

    run(test)


END = KafkaError(KafkaError._PARTITION_EOF)


def test_an_input_is_caught_up_from_its_end_to_its_next_record_and_only_once_all_of_it_is_taken() -> None:
    async def test(world: World) -> None:
        async def until(expected: bool) -> None:
            for _ in range(500):
                if world.reader.caught_up("second", 0) is expected:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError(f"never {expected}")

        assert not world.reader.caught_up("second", 0)
        world.consumer.fetches.put([Said("second", 0), Said("second", 1, END)])
        await asyncio.sleep(0.1)
        assert not world.reader.caught_up("second", 0), "its record was not taken"
        assert await world.next() == [("second", [0])]
        await until(True)
        assert not world.reader.caught_up("first", 0)
        # The end, and records after it in one fetch.
        world.consumer.fetches.put([Said("second", 1, END), Said("second", 1)])
        assert await world.next() == [("second", [1])]
        assert not world.reader.caught_up("second", 0)
        world.consumer.fetches.put([Said("second", 2, END)])
        await until(True)
        # Something else is left to take: what follows it may be of this input.
        world.consumer.fetches.put([Said("first", 0)])
        await until(False)
        assert await world.next() == [("first", [0])]
        await until(True)
        world.reader.read_from({("second", 0): 0})
        assert not world.reader.caught_up("second", 0), "read from elsewhere"

    run(test)


async def _backlog(world: World, records: int) -> None:
    """So many events are there, and one request was just answered."""
    world.other.fetches.put([Said("asked", 0)])
    assert await world.next() == [("asked", [0])]
    world.consumer.fetches.put([Said("first", offset) for offset in range(records)])
    while world.consumer.polled < 1:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)


async def _asks(world: World, number: int) -> None:
    polled = world.other.polled
    world.other.fetches.put([Said("asked", number)])
    while world.other.polled == polled:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)


def test_a_request_waits_for_one_small_portion_of_a_backlog_and_the_backlog_goes_on() -> None:
    async def test(world: World) -> None:
        await _backlog(world, 300)
        seen: list[int] = []
        for number in range(1, 5):
            [(topic, offsets)] = await world.next()
            assert topic == "first" and len(offsets) == BULK_PORTION_AWAITED
            seen += offsets
            world.now_s += 0.004
            await _asks(world, number)
            assert await world.next() == [("asked", [number])]
            world.now_s += 0.0005
        while len(seen) < 300:
            [(_, offsets)] = await world.next()
            seen += offsets
        assert seen == [*range(300)]

    run(test)


def test_requests_without_end_leave_the_backlog_its_share() -> None:
    async def test(world: World) -> None:
        await _backlog(world, 10 * BULK_PORTION_AWAITED)
        for number in range(1, 60):
            world.other.fetches.put([Said("asked", number)])
        served = {"first": 0.0, "asked": 0.0}
        for _ in range(40):
            await asyncio.sleep(0.005)
            [(topic, _, _)] = await asyncio.wait_for(world.reader.next(), 5)
            world.now_s += 0.004
            served[topic] += 0.004
        assert 3 * served["first"] <= served["asked"] <= 5 * served["first"]

    run(test)


@pytest.mark.parametrize(("idle_s", "bound"), [(0.0, BULK_IN_FLIGHT_AWAITED), (10.0, BULK_IN_FLIGHT)])
def test_a_backlog_is_not_handed_over_while_much_is_in_flight(idle_s: float, bound: int) -> None:
    async def test(world: World) -> None:
        await _backlog(world, 5)
        world.now_s += idle_s
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(world.reader.next(lambda: bound), 0.05)
        in_flight = bound
        waiting = asyncio.create_task(world.reader.next(lambda: in_flight))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        in_flight = bound - 1
        world.reader.wake()
        [(topic, _, records)] = await asyncio.wait_for(waiting, 1)
        assert (topic, len(records)) == ("first", 5)

    run(test)


def test_each_consumer_is_given_its_own_topics() -> None:
    async def test(world: World) -> None:
        world.reader.read_from({("first", 0): 7, ("asked", 0): 9})
        assert sorted([await world.next(), await world.next()]) == [[("asked", [9])], [("first", [7])]]

    run(test)


def test_a_record_is_handed_over_as_it_came() -> None:
    async def test(world: World) -> None:
        world.consumer.fetches.put([Said("first", 0), Said("first", 1)])
        [(_, _, [one, two])] = await asyncio.wait_for(world.reader.next(), 5)
        assert (one.at_ms, one.key, one.value, one.headers) == (17, b"k", b"v", (("traceparent", b"x"),))
        assert two.headers == ()

    run(test)


def test_what_was_read_for_an_earlier_assignment_is_forgotten() -> None:
    async def test(world: World) -> None:
        world.consumer.fetches.put([Said("first", 0)])
        while world.consumer.polled < 1:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        world.reader.read_from({("first", 0): 7})
        assert await world.next() == [("first", [7])]

    run(test)


def test_it_reads_no_further_ahead_than_the_lanes_can_take() -> None:
    async def test(world: World) -> None:
        for offset in range(10):
            world.consumer.fetches.put([Said("first", offset)])
        await asyncio.sleep(0.1)
        assert world.consumer.polled == BATCHES_AHEAD + 1
        assert [await world.next() for _ in range(10)] == [[("first", [offset])] for offset in range(10)]

    run(test)


@pytest.mark.parametrize(("fatal", "failures"), [(True, 1), (False, 0)])
def test_an_error_that_no_retry_mends_is_reported_and_any_other_passed_over(fatal: bool, failures: int) -> None:
    async def test(world: World) -> None:
        error = KafkaError(KafkaError._FATAL if fatal else KafkaError._ALL_BROKERS_DOWN, "away", fatal=fatal)
        world.consumer.fetches.put([Said("first", 0, error), Said("first", 1)])
        if fatal:
            assert await asyncio.to_thread(world.consumer.closed.wait, 5)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        else:
            assert await world.next() == [("first", [1])]
        assert len(world.failures) == failures

    run(test)

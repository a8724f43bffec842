"""The publisher on three producers: each topic through its own, and one report when all of a group are taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from confluent_kafka import KafkaError

from pipeline.adapters.publisher import LINGER_S, POLL_S, REPORTS_S, UNDER_WAY_MAX, KafkaPublisher
from pipeline.ports import Outbound


class Taken:
    """A delivery report's record."""

    def __init__(self, topic: str, offset: int) -> None:
        self._topic, self._offset = topic, offset

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


class FakeProducer:
    """Keeps what it is given until the test says that the broker has taken it, or will not."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Callable[[Any, Any], None]]] = []
        self.flushed = False
        self.waits: list[float] = []
        self.values: list[bytes] = []
        #: Has no room until its reports were looked at: these offsets'.
        self.full: list[int] = []

    def produce(
        self, topic: str, value: bytes, _key: bytes, _partition: int, on_delivery: Callable[[Any, Any], None],
        headers: object = None,
    ) -> None:
        if self.full:
            raise BufferError
        self.waiting.append((topic, on_delivery))
        self.values.append(value)

    def poll(self, timeout: float) -> int:
        self.waits.append(timeout)
        if self.full and timeout < POLL_S:
            self.report(self.full.pop())
        time.sleep(timeout)
        return 0

    def flush(self, _timeout: float) -> int:
        self.flushed = True
        return 0

    def report(self, offset: int, error: KafkaError | None = None) -> None:
        topic, on_delivery = self.waiting.pop(0)
        on_delivery(error, Taken(topic, offset))


class World:
    """A publisher with a topic `changelog` and one, `audit`, that lingers; and what it has told."""

    def __init__(self) -> None:
        self.changelog, self.answers, self.lingering = FakeProducer(), FakeProducer(), FakeProducer()
        self.failures: list[str] = []
        self.done: list[int | None] = []
        self.held = True
        self.publisher = KafkaPublisher(
            self.changelog, self.answers, self.lingering,  # type: ignore[arg-type]
            ["changelog"], ["audit"],
            asyncio.get_running_loop(), self.failures.append, lambda: self.held,
        )

    def send(self, *topics: str) -> None:
        self.publisher.send([record(topic) for topic in topics], self.done.append)


def run(test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        world = World()
        try:
            await test(world)
        finally:
            world.publisher.stop()

    asyncio.run(whole())


def record(topic: str) -> Outbound:
    return Outbound(topic, b"k", b"v")


async def settled() -> None:
    """What other threads have left for the loop is done."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_group_over_two_producers_is_done_when_the_last_record_is_taken() -> None:
    async def test(world: World) -> None:
        answers, lingering = world.answers, world.lingering
        world.send("replies", "audit", "replies")
        assert [topic for topic, _ in answers.waiting] == ["replies", "replies"]
        assert lingering.waiting == []
        world.send("audit")
        await asyncio.sleep(LINGER_S * 1.5)
        assert [topic for topic, _ in lingering.waiting] == ["audit", "audit"], "together"
        answers.report(7)
        answers.report(8)
        await settled()
        assert world.done == []
        lingering.report(3)
        await settled()
        assert world.done == [8]
        world.send("audit")
        world.publisher.stop()
        assert len(lingering.waiting) == 2, "nothing collected is left behind"
        assert answers.flushed and world.changelog.flushed
        assert lingering.flushed
        assert world.failures == []

    run(test)


def test_a_report_for_the_changelog_is_looked_at_at_once_and_one_for_an_answer_soon() -> None:
    async def test(world: World) -> None:
        world.send("changelog")
        world.send("replies")
        assert [[topic for topic, _ in one.waiting] for one in (world.changelog, world.answers)] == [
            ["changelog"], ["replies"]
        ]
        await asyncio.sleep(REPORTS_S * 2.5)
        assert set(world.changelog.waits) == {POLL_S}, "its thread waits in librdkafka, which wakes it"
        assert set(world.answers.waits) == {0}
        world.changelog.report(4)
        world.answers.report(9)
        await settled()
        assert world.done == [4, 9]

    run(test)


def test_a_record_that_either_producer_cannot_deliver_is_reported_once_and_its_group_never_done() -> None:
    async def test(world: World) -> None:
        world.send("audit", "replies")
        await asyncio.sleep(LINGER_S * 1.5)
        world.lingering.report(-1, KafkaError(KafkaError._MSG_TIMED_OUT, "timed out"))
        world.answers.report(-1, KafkaError(KafkaError._MSG_TIMED_OUT, "timed out"))
        await settled()
        world.publisher.stop()
        assert len(world.failures) == 1
        assert "audit[0] did not take a record" in world.failures[0]
        assert world.done == []

    run(test)


def test_what_was_collected_before_the_right_to_send_ran_out_is_never_sent() -> None:
    async def test(world: World) -> None:
        world.send("audit")
        world.held = False
        await asyncio.sleep(LINGER_S * 1.5)
        world.publisher.stop()
        assert world.lingering.waiting == []
        assert len(world.failures) == 1 and "may not be sent any more" in world.failures[0]
        assert world.done == []

    run(test)


async def sent_to_changelog(world: World, partition: int, *values: bytes) -> None:
    world.publisher.send([Outbound("changelog", b"k", value, partition) for value in values], world.done.append)
    await settled()


def test_few_records_of_a_changelog_partition_are_under_way_and_what_waited_goes_out_together() -> None:
    async def test(world: World) -> None:
        changelog = world.changelog
        for number in range(UNDER_WAY_MAX - 1):
            await sent_to_changelog(world, 0, b"%d" % number)
        await sent_to_changelog(world, 0, b"a", b"b")
        first = [b"0", b"1", b"2", b"3", b"a", b"b"]
        for value in (b"c", b"d", b"e"):
            await sent_to_changelog(world, 0, value)
        await sent_to_changelog(world, 1, b"other")
        assert changelog.values == [*first, b"other"], "another partition's do not wait"
        changelog.report(0)
        assert changelog.values == [*first, b"other"]
        changelog.report(1)
        assert changelog.values == [*first, b"other", b"c", b"d", b"e"], "in order"
        for offset in range(2, 6):
            changelog.report(offset)
        await settled()
        assert world.done == [0, 1, 2, 3, 5], "the group of two once, with its last offset"

    run(test)


def test_what_waits_for_a_changelog_keeps_its_order_when_the_queue_is_full() -> None:
    """Reports are looked at in the middle of a send then, and each could let others go first."""
    async def test(world: World) -> None:
        changelog = world.changelog
        await sent_to_changelog(world, 0, *[b"%d" % number for number in range(UNDER_WAY_MAX)])
        await sent_to_changelog(world, 0, b"a", b"b")
        await sent_to_changelog(world, 0, b"c")
        changelog.full = [3, 2, 1]
        changelog.report(0)
        assert changelog.values[UNDER_WAY_MAX:] == [b"a", b"b", b"c"]
        assert world.failures == []

    run(test)


def test_what_waited_for_a_changelog_after_the_right_to_send_ran_out_is_never_sent() -> None:
    async def test(world: World) -> None:
        await sent_to_changelog(world, 0, *[b"%d" % number for number in range(UNDER_WAY_MAX)])
        await sent_to_changelog(world, 0, b"late")
        world.held = False
        world.changelog.report(0)
        await settled()
        assert b"late" not in world.changelog.values
        assert len(world.failures) == 1 and "may not be sent any more" in world.failures[0]

    run(test)

"""A copy of another worker's partition is a prefix of its changelog, whatever happens around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException

from pipeline.adapters.rocksdb_store import RocksStore
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.envelope import Envelope
from pipeline.runtime import standby
from pipeline.runtime.standby import Standby
from tests.lane.fakes import FakeMessage

VALUE = envelopes.encode(Envelope(epoch=1))


class Message(FakeMessage):
    """One record of some partition."""

    number: int

    def partition(self) -> int:
        return self.number


class Broker:
    """Some partitions' logs; `offsets` that are missing were compacted away."""

    def __init__(self) -> None:
        self.logs: dict[int, dict[int, bytes]] = {}
        self.low: dict[int, int] = {}
        self.broken = 0
        self.readers = 0
        self.assigned: list[dict[int, int]] = []
        #: Not set: a fetch is on its way.
        self.arrives = threading.Event()
        self.arrives.set()

    def append(self, partition: int, *keys: bytes, at: int | None = None) -> None:
        log = self.logs.setdefault(partition, {})
        for key in keys:
            log[at if at is not None else max(log, default=-1) + 1] = key

    def reader(self) -> Any:
        self.readers += 1
        return Reader(self)


class Reader:
    """What Standby uses of a consumer."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.at: dict[int, int] = {}

    def get_watermark_offsets(self, where: Any, timeout: float) -> tuple[int, int]:
        log = self.broker.logs.get(where.partition, {})
        return self.broker.low.get(where.partition, 0), max(log, default=-1) + 1

    def assign(self, where: list[Any]) -> None:
        self.at = {one.partition: one.offset for one in where}
        self.broker.assigned.append(dict(self.at))

    def consume(self, count: int, timeout: float) -> list[Any]:
        if self.broker.broken:
            self.broker.broken -= 1
            raise KafkaException("the broker is away")
        found = []
        for number, at in self.at.items():
            for offset in sorted(n for n in self.broker.logs.get(number, {}) if n >= at)[:1]:
                message = Message(offset, self.broker.logs[number][offset], VALUE)
                message.number = number
                found.append(message)
                self.at[number] = offset + 1
        if not found:
            time.sleep(0.002)
        self.broker.arrives.wait(5)
        return found

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def copies(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standby]:
    monkeypatch.setattr(standby, "RETRY_S", 0.01)
    found = Standby(broker.reader, "changelog")
    yield found
    found.stop()


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[RocksStore]]:
    found = [RocksStore(tmp_path / str(number)) for number in range(2)]
    yield found
    for store in found:
        store.close()


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.002)


def keys(store: RocksStore) -> list[bytes]:
    return [key for key, _ in store.items()]


def test_copies_are_kept_up_from_where_they_are(
    broker: Broker, copies: Standby, stores: list[RocksStore]
) -> None:
    broker.append(0, b"t/a", b"t/b")
    broker.append(1, b"t/c")
    stores[0].load([(b"t/a", VALUE, 0)])
    copies.follow({0: stores[0], 1: stores[1]})
    until(lambda: (stores[0].offset, stores[1].offset) == (1, 0))
    broker.append(1, b"t/d")
    until(lambda: stores[1].offset == 1)
    assert (keys(stores[0]), keys(stores[1])) == ([b"t/a", b"t/b"], [b"t/c", b"t/d"])
    assert broker.assigned == [{0: 1, 1: 0}]


def test_what_compaction_took_is_no_gap(broker: Broker, copies: Standby, stores: list[RocksStore]) -> None:
    broker.append(0, b"t/a", at=7)
    broker.append(0, b"t/b", at=12)
    broker.low[0] = 3
    copies.follow({0: stores[0]})
    until(lambda: stores[0].offset == 12)
    assert keys(stores[0]) == [b"t/a", b"t/b"]


def test_what_is_followed_no_more_is_not_touched(broker: Broker, copies: Standby, stores: list[RocksStore]) -> None:
    """From the moment that `follow` returns: its owner is about to write it, or it is closed."""
    for turn in range(20):
        had = stores[0].offset
        broker.append(0, *[b"t/%d" % n for n in range(50)])
        copies.follow({0: stores[0]})
        until(lambda had=had: stores[0].offset > had)  # type: ignore[misc]
        copies.follow({1: stores[1]} if turn % 2 else {})
        reached = stores[0].offset
        time.sleep(0.005)
        assert stores[0].offset == reached
    copies.follow({0: stores[0]})
    until(lambda: stores[0].offset == 999)


def test_what_was_fetched_for_another_copy_is_not_loaded(
    broker: Broker, copies: Standby, stores: list[RocksStore]
) -> None:
    """The same partition again, in a copy that is not as far."""
    broker.append(0, *[b"t/%d" % n for n in range(4)])
    stores[0].load([(b"t/0", VALUE, 0), (b"t/1", VALUE, 1)])
    broker.arrives.clear()
    copies.follow({0: stores[0]})
    until(lambda: bool(broker.assigned))
    copies.follow({0: stores[1]})
    broker.arrives.set()
    until(lambda: stores[1].offset == 3)
    assert (keys(stores[1]), stores[0].offset) == ([b"t/0", b"t/1", b"t/2", b"t/3"], 1)


def test_a_copy_of_another_changelog_is_left_to_a_take_over(
    broker: Broker, copies: Standby, stores: list[RocksStore]
) -> None:
    stores[0].load([(b"t/old", VALUE, 5)])
    broker.append(0, b"t/a")
    broker.append(1, b"t/c")
    copies.follow({0: stores[0], 1: stores[1]})
    until(lambda: stores[1].offset == 0)
    for _ in range(9):
        broker.append(0, b"t/b")
    time.sleep(0.02)
    assert keys(stores[0]) == [b"t/old"]


def test_reading_that_fails_begins_anew_where_the_copy_is(
    broker: Broker, copies: Standby, stores: list[RocksStore], caplog: pytest.LogCaptureFixture
) -> None:
    broker.append(0, b"t/a", b"t/b")
    broker.broken = 2
    copies.follow({0: stores[0]})
    until(lambda: stores[0].offset == 1)
    assert broker.readers == 3 and "not kept up for now" in caplog.text


def test_a_take_over_and_a_standby_may_read_side_by_side(
    broker: Broker, copies: Standby, stores: list[RocksStore]
) -> None:
    """A take-over that was given up still reads on its thread when the partition has become a standby's."""
    broker.append(0, *[b"t/%03d" % n for n in range(400)])
    loading = threading.Thread(target=lambda: [stores[0].load([(b"t/%03d" % n, VALUE, n)]) for n in range(400)])
    loading.start()
    copies.follow({0: stores[0]})
    loading.join()
    until(lambda: stores[0].offset == 399)
    assert len(keys(stores[0])) == 400

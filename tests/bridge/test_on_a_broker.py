"""The wire and the readiness probe on a real broker."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, TopicPartition

from pipeline.adapters import kafka
from pipeline.adapters.system_clock import SystemClock
from pipeline.bridge.asking import Asker, Unanswered
from pipeline.bridge.kafka_wire import KafkaWire
from pipeline.bridge.metrics import BridgeMetrics
from pipeline.bridge.readiness import KafkaWorkers, Readiness
from pipeline.bridge.wire import Place
from pipeline.codecs import avro
from pipeline.core.hashing import decision_id_of
from pipeline.core.model.records import DecisionReply, DecisionRequest
from pipeline.ports import Outbound
from pipeline.settings import Settings
from tests.support import shop
from tests.support.broker import fresh_topics
from tests.support.stack import Client, WorkerProcess, ready, wait_until
from topics.catalog import (
    BY_NAME,
    DEAD_LETTERS,
    DECISION_AUDIT,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    FEEDBACK_EVENTS,
    SUBJECT_PARTITIONS,
)

pytestmark = pytest.mark.broker

APP_ID = "bridge-tests"


@pytest.fixture(scope="module")
def settings(bootstrap: str) -> Settings:
    settings = Settings(bootstrap=bootstrap, app_id=APP_ID)
    empty_topics(settings)
    return settings


def empty_topics(settings: Settings) -> None:
    fresh_topics(settings)
    wait_until(lambda: has_leaders(settings), 20, "a leader for every partition")


def has_leaders(settings: Settings) -> bool:
    try:
        return bool(Client(settings.bootstrap).ends(DECISION_REQUESTS))
    except KafkaException:
        return False


class Answering:
    """A worker of a few lines: answers each request on the partition it names, with a stranger's reply before it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._assigned = threading.Event()

    def __enter__(self) -> Answering:
        self._thread.start()
        assert self._assigned.wait(20)
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join(20)

    def _run(self) -> None:
        consumer = kafka.consumer(self._settings, name="answering")
        producer = kafka.producer(self._settings, "answering")
        places = [TopicPartition(DECISION_REQUESTS.name, number) for number in range(SUBJECT_PARTITIONS)]
        for place in places:
            place.offset = consumer.get_watermark_offsets(place, timeout=10)[1]
        consumer.assign(places)
        self._assigned.set()
        while not self._stopping.is_set():
            message = consumer.poll(0.05)
            if message is None or message.error() is not None:
                continue
            request = avro.decode(DECISION_REQUESTS, message.value())
            own = decision_id_of(request.subject, request.request_id)
            for request_id, decision_id in (("stranger", "x"), (request.request_id, "x"), (request.request_id, own)):
                reply = DecisionReply(request_id, decision_id, [], False, decision_id)
                producer.produce(
                    DECISION_REPLIES.name, avro.encode(DECISION_REPLIES, reply), request_id,
                    partition=request.reply_partition,
                )
            producer.poll(0)
        producer.flush(10)
        consumer.close()


async def listening(wire: KafkaWire) -> None:
    end = time.monotonic() + 20
    while not wire.listening:
        assert time.monotonic() < end, "the replies are not read"
        await asyncio.sleep(0.01)


def asker_on(settings: Settings, instance: str) -> tuple[KafkaWire, Asker]:
    metrics = BridgeMetrics()
    wire = KafkaWire(settings, instance, metrics)
    asker = Asker(wire, SystemClock(), metrics, in_flight_max=500, patience_ms=5_000)
    wire.start(asyncio.get_running_loop(), asker)
    return wire, asker


def test_every_bridge_gets_its_own_replies_the_first_one_included(settings: Settings) -> None:
    async def ask() -> None:
        bridges = [asker_on(settings, f"bridge-{number}") for number in range(3)]
        for wire, _ in bridges:
            await listening(wire)
        assert len({wire.reply_partition for wire, _ in bridges}) > 1
        asked = [
            (asker, DecisionRequest(f"r{number}", f"shop/{name}-{number}", "web", ["hero"]))
            for number in range(20) for name, (_, asker) in enumerate(bridges)
        ]
        answers = await asyncio.gather(*(asker.ask(request, 5_000) for asker, request in asked))
        for (_, request), answer in zip(asked, answers, strict=True):
            assert isinstance(answer, DecisionReply), answer
            assert answer.decision_id == decision_id_of(request.subject, request.request_id)
        await asyncio.gather(*(asyncio.to_thread(wire.stop) for wire, _ in bridges))

    with Answering(settings):
        asyncio.run(ask())


def test_published_events_are_on_the_broker_when_it_says_so(settings: Settings) -> None:
    client = Client(settings.bootstrap)
    since = client.ends(FEEDBACK_EVENTS)
    events = [shop.click(f"shop/{number}", "i", 1, f"published-{number}") for number in range(300)]
    records = [Outbound(FEEDBACK_EVENTS.name, e.subject.encode(), avro.encode(FEEDBACK_EVENTS, e)) for e in events]
    too_large = Outbound(FEEDBACK_EVENTS.name, b"shop/large", os.urandom(5_000_000))

    async def publish() -> list[Place | None]:
        wire, _ = asker_on(settings, "publisher")
        try:
            return await wire.publish([*records[:150], too_large, *records[150:]])
        finally:
            await asyncio.to_thread(wire.stop)

    places = asyncio.run(publish())
    assert [place is not None for place in places] == [True] * 150 + [False] + [True] * 150
    assert [place for place in places if place] == _places(client, since, [record.key for record in records])
    assert {event.event_id for event in client.values(FEEDBACK_EVENTS, since)} == {event.event_id for event in events}


def _places(client: Client, since: list[int], keys: list[bytes]) -> list[Place]:
    """Where records of these keys lie that were sent in this order and alone."""
    by_key = {message.key(): (message.partition(), message.offset()) for message in client.read(FEEDBACK_EVENTS, since)}
    return [by_key[key] for key in keys]  # type: ignore[misc]


def test_a_broker_that_is_not_there_refuses_within_bounds(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"bootstrap": "127.0.0.1:1"})

    async def ask() -> tuple[object, list[Place | None]]:
        wire, asker = asker_on(nowhere, "nowhere")
        try:
            return (
                await asker.ask(DecisionRequest("r", "shop/a", "web", ["hero"]), 100),
                await wire.publish([Outbound(FEEDBACK_EVENTS.name, b"shop/a", b"")]),
            )
        finally:
            await asyncio.to_thread(wire.stop)

    started = time.monotonic()
    assert asyncio.run(ask()) == (Unanswered("pipeline_unavailable"), [None])
    assert time.monotonic() - started < 15


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[Callable[[], WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        started.append(WorkerProcess(settings.bootstrap, tmp_path / f"worker-{len(started)}", APP_ID))
        return started[-1]

    yield start
    for process in started:
        process.stop()


def test_ready_means_that_workers_move_and_asking_changes_nothing(
    settings: Settings, worker: Callable[[], WorkerProcess], tmp_path: Path
) -> None:
    empty_topics(settings)
    client = Client(settings.bootstrap)
    for record in shop.publication(tmp_path / "policy"):
        client.send(BY_NAME[record.topic], record.key, record.value)
    client.flush()
    before = [client.ends(topic) for topic in (DECISION_REPLIES, DECISION_AUDIT, DEAD_LETTERS)]

    clock = SystemClock()

    async def checks(until_ready: bool) -> Sequence[str]:
        readiness = Readiness(
            KafkaWorkers(settings, clock), lambda _tenant: None, lambda: True, lambda: float("-inf"), clock
        )
        try:
            end = time.monotonic() + 30
            while True:
                found = await readiness.check()
                if found.ready or not until_ready or time.monotonic() > end:
                    return found.missing
                await asyncio.sleep(0.1)
        finally:
            readiness.close()

    assert asyncio.run(checks(until_ready=False)) == (
        "no worker takes requests: is one running? One that has just started may still be recovering",
    )
    process = worker()
    assert asyncio.run(checks(until_ready=True)) == ()
    ready([process])
    # Two that nobody had read, and the one that proved it; the worker counts them after their commit.
    probes = process.counts()["requests/drop/past_deadline"] / SUBJECT_PARTITIONS
    assert probes in (2, 3)
    assert [client.ends(topic) for topic in (DECISION_REPLIES, DECISION_AUDIT, DEAD_LETTERS)] == before

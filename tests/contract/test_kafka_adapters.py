"""Topics, follower and dead letters on a real broker. Every test uses topics of its own."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from typer.testing import CliRunner

from pipeline.adapters import dead_letter_replay, dead_letters, kafka, topic_admin
from pipeline.adapters.follower import Follower
from pipeline.adapters.topic_plan import Action, TopicState, declared, plan
from pipeline.cli import dead_letters as dead_letters_cli
from pipeline.cli import topics as topics_cli
from pipeline.codecs import avro
from pipeline.core.model.bounds import ID_CHARS_MAX
from pipeline.core.model.records import CatalogItem, DeadLetter
from pipeline.local.broker import EmbeddedBroker
from pipeline.runtime import ports
from pipeline.settings import Settings
from topics.catalog import DEAD_LETTERS, FRAME_BYTES_MAX, Topic

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(bootstrap: str) -> Settings:
    return Settings(bootstrap=bootstrap, app_id="adapters")


@pytest.fixture
def own(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Callable[..., Topic]]:
    """Makes topics that no other test knows, and takes them and those named after them away again."""
    mark = f"{abs(hash(request.node.nodeid)):x}"

    def make(kind: str, schema: str | None = "catalog_item", partitions: int = 1, compacted: bool = True) -> Topic:
        topic = Topic(f"{kind}.{mark}", "key", schema, partitions, compacted=compacted)
        apply(settings, TopicState(topic.name, partitions, topic.config))
        return topic

    yield make
    client = kafka.admin(settings)
    made = [name for name in client.list_topics(timeout=kafka.ADMIN_TIMEOUT_S).topics if mark in name]
    for future in client.delete_topics(made).values() if made else ():
        future.result(kafka.ADMIN_TIMEOUT_S)


def apply(settings: Settings, wanted: TopicState) -> Action:
    """Make one topic as wanted; says what had to be done."""
    steps = plan([wanted], topic_admin.read_topics(kafka.admin(settings), [wanted.name]))
    topic_admin.apply_plan(settings, steps)
    return steps[0].action


def send(producer: Producer, topic: str, key: bytes, value: bytes | None) -> None:
    errors: list[KafkaError | None] = []
    producer.produce(topic, value, key, on_delivery=lambda error, _: errors.append(error))
    producer.flush(20)
    assert errors == [None]


def eventually(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
    return found


def records_of(settings: Settings, topic: str, count: int) -> list[Message]:
    """The first records of a topic of one partition."""
    consumer = kafka.consumer(settings)
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        read = consumer.consume(count, timeout=20)
    finally:
        consumer.close()
    assert [message.error() for message in read] == [None] * count
    return read


@pytest.mark.parametrize("limit", sorted({int(topic.config["max.message.bytes"]) for topic in declared("shop")}))
def test_the_largest_value_is_taken_and_read_however_badly_it_compresses(
    settings: Settings, own: Any, limit: int
) -> None:
    topic = own("large", schema=None, compacted=False)
    apply(settings, TopicState(topic.name, 1, {**topic.config, "max.message.bytes": str(limit)}))
    value = random.Random(limit).randbytes(limit - FRAME_BYTES_MAX)
    send(kafka.producer(settings), topic.name, b"k" * 4 * ID_CHARS_MAX, value)
    (record,) = records_of(settings, topic.name, 1)
    assert record.value() == value


def test_declared_topics_are_made_once_and_then_left_alone(settings: Settings) -> None:
    topic_admin.ensure_topics(settings)
    topic_admin.ensure_topics(settings)
    assert {step.action for step in topic_admin.make_plan(settings)} == {Action.UNCHANGED}
    assert len(kafka.topic_ids(settings, ["identity.events", "no.such.topic"])) == 1


def test_a_setting_is_changed_on_the_cluster_and_partitions_are_not(settings: Settings, own: Any) -> None:
    topic = own("plan", partitions=2, compacted=False)
    changed = TopicState(topic.name, 2, {"retention.ms": "3600000"})
    assert apply(settings, changed) is Action.CHANGE
    assert apply(settings, changed) is Action.UNCHANGED
    with pytest.raises(topic_admin.TopicsError, match="has 2 partitions, 4 are declared"):
        apply(settings, TopicState(topic.name, 4))
    assert topic_admin.read_topics(kafka.admin(settings), [topic.name])[topic.name].partitions == 2


def test_topics_plan_and_apply_from_the_command_line(settings: Settings) -> None:
    run = CliRunner().invoke(topics_cli.app, ["apply", "--bootstrap", settings.bootstrap])
    assert run.exit_code == 0, run.output
    run = CliRunner().invoke(topics_cli.app, ["plan", "--bootstrap", settings.bootstrap, "--json"])
    assert run.exit_code == 0, run.output
    assert {step["action"] for step in json.loads(run.stdout)} == {"unchanged"}


def test_a_cluster_that_is_not_there_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "ADMIN_TIMEOUT_S", 0.5)
    run = CliRunner().invoke(topics_cli.app, ["plan", "--bootstrap", "127.0.0.1:1"])
    assert run.exit_code == 1
    assert "The cluster at 127.0.0.1:1" in run.stderr
    assert "nextbest up" in run.stderr


class Shelf:
    """Holds what a follower applied."""

    def __init__(self) -> None:
        self.items: dict[bytes, CatalogItem | None] = {}
        self.offsets: list[int] = []

    def apply(self, topic: str, key: bytes, value: CatalogItem | None, offset: int) -> None:
        if value is not None and value.body == "unusable":
            raise KeyError("unusable")
        self.items[key] = value
        self.offsets.append(offset)


@pytest.fixture
def follow(settings: Settings) -> Iterator[Callable[[Settings, Topic], tuple[Follower, Shelf]]]:
    started: list[Follower] = []

    def start(settings: Settings, topic: Topic) -> tuple[Follower, Shelf]:
        shelf = Shelf()
        started.append(Follower(settings, [topic], shelf.apply))
        started[-1].start()
        return started[-1], shelf

    yield start
    for follower in started:
        follower.stop()


def item(number: int, body: str = "{}") -> CatalogItem:
    return CatalogItem("shop", str(number), body)


def test_a_follower_has_the_whole_topic_when_caught_up_and_what_comes_at_once(
    settings: Settings, own: Any, follow: Any
) -> None:
    topic = own("followed")
    producer = kafka.producer(settings)
    for number in range(300):
        producer.produce(topic.name, avro.encode(topic, item(number)), b"shop/%d" % number)
    send(producer, topic.name, b"shop/7", None)
    follower, shelf = follow(settings, topic)
    assert follower.caught_up.wait(20)
    assert len(shelf.items) == 300
    assert shelf.items[b"shop/7"] is None
    assert shelf.items[b"shop/8"] == item(8)
    sent_s = time.monotonic()
    send(producer, topic.name, b"shop/new", avro.encode(topic, item(1000)))
    eventually(lambda: b"shop/new" in shelf.items)
    assert time.monotonic() - sent_s < 1.0


def test_a_follower_passes_over_what_it_cannot_use(settings: Settings, own: Any, follow: Any) -> None:
    topic = own("followed")
    follower, shelf = follow(settings, topic)
    assert follower.caught_up.wait(20)
    producer = kafka.producer(settings)
    for key, value in (
        (b"shop/1", b"not avro"),
        (b"", avro.encode(topic, item(1))),
        (b"shop/2", avro.encode(topic, item(2, "unusable"))),
        (b"shop/3", avro.encode(topic, item(3))),
    ):
        send(producer, topic.name, key, value)
    eventually(lambda: b"shop/3" in shelf.items)
    assert shelf.items == {b"shop/3": item(3)}
    assert follower.bad_records == 3


def test_a_follower_waits_for_a_topic_that_does_not_exist_yet(settings: Settings, own: Any, follow: Any) -> None:
    late = Topic(own("late").name + ".later", "key", "catalog_item", 1, compacted=True)
    follower, shelf = follow(settings, late)
    assert not follower.caught_up.wait(0.5)
    apply(settings, TopicState(late.name, 1, late.config))
    assert follower.caught_up.wait(20)
    send(kafka.producer(settings), late.name, b"shop/1", avro.encode(late, item(1)))
    eventually(lambda: shelf.items)


class FailsOnce:
    """A consumer whose client gives up after the first record, the first time."""

    failed = False

    def __init__(self, consumer: Consumer) -> None:
        self._consumer, self._polled = consumer, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def poll(self, timeout: float) -> Message | None:
        if not FailsOnce.failed and self._polled:
            FailsOnce.failed = True
            raise KafkaException(KafkaError(KafkaError._FATAL))
        message = self._consumer.poll(timeout)
        self._polled += message is not None
        return message


def test_a_follower_whose_client_gave_up_applies_nothing_again(
    settings: Settings, own: Any, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, FailsOnce.failed = kafka.consumer, False
    monkeypatch.setattr(kafka, "consumer", lambda *args, **more: FailsOnce(made(*args, **more)))
    topic = own("followed")
    producer = kafka.producer(settings)
    for number in range(3):
        producer.produce(topic.name, avro.encode(topic, item(number)), b"shop/1")
    producer.flush()
    follower, shelf = follow(settings, topic)
    assert follower.caught_up.wait(20) and FailsOnce.failed
    assert shelf.offsets == [0, 1, 2]


def test_a_follower_goes_on_after_a_restart_of_the_broker(tmp_path: Path, follow: Any) -> None:
    broker = EmbeddedBroker(tmp_path, ports.free_port("127.0.0.1"))
    broker.start()
    settings = Settings(bootstrap=broker.bootstrap)
    topic = Topic("followed", "key", "catalog_item", 1, compacted=True)
    try:
        apply(settings, TopicState(topic.name, 1, topic.config))
        follower, shelf = follow(settings, topic)
        producer = kafka.producer(settings)
        send(producer, topic.name, b"shop/1", avro.encode(topic, item(1)))
        eventually(lambda: shelf.items)
        broker.stop()
        broker.start()
        send(producer, topic.name, b"shop/2", avro.encode(topic, item(2)))
        eventually(lambda: b"shop/2" in shelf.items)
        assert shelf.offsets == [0, 1]
        follower.stop()
    finally:
        broker.stop()


def letter(
    topic: str, offset: int, value: bytes | None, key: bytes | None = b"shop/1", cut: int = 0
) -> DeadLetter:
    headers: dict[str, bytes | None] = {"traceparent": b"00-1", "nothing": None}
    return DeadLetter("not_avro", "send Avro", topic, 0, offset, 5, key, value, headers, "identity", "w", cut)


@pytest.fixture
def source(settings: Settings, own: Any) -> str:
    """A topic whose records were dead-lettered: offset 0 twice, 1 without key, 2 of three megabytes."""
    topic_admin.ensure_topics(settings)
    topic: str = own("source", schema=None, compacted=False).name
    producer = kafka.producer(settings)
    for record in (
        letter(topic, 0, b'{"a": 1}'), letter(topic, 0, b'{"a": 1}'), letter(topic, 1, None, None),
        letter(topic, 2, bytes(1_000_000)),
    ):
        producer.produce(DEAD_LETTERS.name, avro.encode(DEAD_LETTERS, record), record.key or b"")
    assert producer.flush(20) == 0
    return topic


def test_letters_of_one_origin_are_one_and_keep_their_bytes(settings: Settings, source: str) -> None:
    told: list[tuple[int, int]] = []
    found = dead_letters.find(
        settings, dead_letters.Filter(topic=source), lambda done, total: told.append((done, total))
    ).letters
    assert sorted(one.id for one in found) == [f"{source}:0:{offset}" for offset in range(3)]
    assert {one.record.value for one in found} == {None}, "values may be large: they are read when asked for"
    assert told[-1][0] == told[-1][1] >= 4
    full = {one.record.offset: one.record.value for one in dead_letters.with_values(settings, found)}
    assert full == {0: b'{"a": 1}', 1: None, 2: bytes(1_000_000)}


def test_a_replay_sends_the_original_and_is_remembered(settings: Settings, source: str) -> None:
    wanted = dead_letters.Filter(topic=source, id=f"{source}:0:0")
    found = dead_letters.find(settings, wanted).letters
    producer = dead_letter_replay.open_producer(settings)
    dead_letter_replay.replay(producer, list(dead_letters.with_values(settings, found)))
    (record,) = records_of(settings, source, 1)
    assert (record.key(), record.value()) == (b"shop/1", b'{"a": 1}')
    assert record.headers() == [
        ("traceparent", b"00-1"), ("nothing", None), ("nextbest-replay-of", f"{source}:0:0".encode()),
    ]
    assert [one.replays for one in dead_letters.find(settings, wanted).letters] == [1]


def test_a_letter_that_the_broker_refuses_is_not_marked(settings: Settings, source: str, own: Any) -> None:
    small = own("small", schema=None, compacted=False)
    apply(settings, TopicState(small.name, 1, {**small.config, "max.message.bytes": "100"}))
    refused = dead_letters.Letter(letter(small.name, 9, bytes(range(256)) * 8), 5, 0)
    with pytest.raises(KafkaException):
        dead_letter_replay.replay(dead_letter_replay.open_producer(settings), [refused])
    assert not dead_letters.find(settings, dead_letters.Filter(topic=small.name)).letters


def cli(settings: Settings, *arguments: str, answer: str = "") -> tuple[int, str, str]:
    run = CliRunner().invoke(dead_letters_cli.app, [*arguments, "--bootstrap", settings.bootstrap], input=answer)
    return run.exit_code, run.stdout, run.stderr


def test_list_show_and_replay_from_the_command_line(settings: Settings, source: str) -> None:
    code, out, _ = cli(settings, "list", "--topic", source, "--since", "5m", "--json")
    assert code == 0
    assert {one["id"]: one["replays"] for one in json.loads(out)} == {f"{source}:0:{n}": 0 for n in range(3)}
    code, out, _ = cli(settings, "show", f"{source}:0:0")
    assert code == 0
    assert "7b 22 61 22" in out
    code, _, _ = cli(settings, "replay", f"{source}:0:0", answer="n\n")
    assert code == 1, "nothing is replayed without a yes"
    assert cli(settings, "replay", f"{source}:0:0", "--yes", "--json") == (
        0, '{"replayed": 1, "replayed_before": 0, "not_whole": 0}\n', "",
    )
    code, _, err = cli(settings, "replay", f"{source}:0:0", "--yes", answer="n\n")
    assert code == 1
    assert "was replayed 1 time(s) before" in err
    code, out, _ = cli(settings, "replay", "--topic", source, "--yes", "--json")
    assert json.loads(out) == {"replayed": 2, "replayed_before": 1, "not_whole": 0}
    code, out, _ = cli(settings, "replay", "--topic", source, "--again", "--yes", "--json")
    assert json.loads(out) == {"replayed": 3, "replayed_before": 0, "not_whole": 0}
    assert len(records_of(settings, source, 6)) == 6


def test_a_letter_that_is_not_whole_is_shown_and_not_replayed(settings: Settings, source: str) -> None:
    cut = avro.encode(DEAD_LETTERS, letter(source, 7, b"the beginning", cut=1_000))
    send(kafka.producer(settings), DEAD_LETTERS.name, b"shop/1", cut)
    code, out, _ = cli(settings, "show", f"{source}:0:7")
    assert code == 0
    assert "Left out    1000 bytes" in out
    code, _, err = cli(settings, "replay", f"{source}:0:7", "--yes")
    assert code == 1
    assert "let its producer send it again" in err
    code, out, _ = cli(settings, "replay", "--topic", source, "--yes", "--json")
    assert json.loads(out) == {"replayed": 3, "replayed_before": 0, "not_whole": 1}
    assert len(records_of(settings, source, 3)) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--reason", "bad_luck"], "the reasons are not_avro"),
        (["list", "--since", "yesterday"], "2h, 7d"),
        (["show", "here"], "TOPIC:PARTITION:OFFSET"),
        (["show", "no.topic:0:0"], "No dead letter no.topic:0:0"),
        (["replay"], "--topic, --reason or --since"),
        (["replay", "no.topic:0:0", "--yes"], "No such dead letter"),
    ],
)
def test_a_wrong_question_is_told_what_to_ask(settings: Settings, arguments: list[str], said: str) -> None:
    topic_admin.ensure_topics(settings)
    code, _, err = cli(settings, *arguments)
    assert code == 1
    assert said in err

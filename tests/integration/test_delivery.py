"""The promises of delivery on a real broker: killed workers, a rebalance under load, poison."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, only not re-exported for types
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from pipeline.adapters.topic_admin import ensure_topics
from pipeline.codecs import avro
from pipeline.core.model.records import DeadLetter, Decision
from pipeline.core.model.values import replaced
from pipeline.runtime import membership
from pipeline.settings import Settings
from pipeline.topology import FLOWS
from tests.support import odd_headers, shop
from tests.support.stack import Client, WorkerProcess, ready, wait_until
from topics.catalog import (
    BY_NAME,
    CATALOG_ITEMS,
    DEAD_LETTERS,
    DECISION_AUDIT,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    DECISIONS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    INPUT_BYTES_MAX,
    POLICY_RELEASES,
    SUBJECT_PARTITIONS,
)

pytestmark = pytest.mark.broker

APP_ID = "delivery"
ODD_HEADER = "name headers in UTF-8"


@pytest.fixture(scope="module")
def client(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    ensure_topics(Settings(bootstrap=bootstrap, app_id=APP_ID))
    client = Client(bootstrap, APP_ID)
    for record in shop.publication(tmp_path_factory.mktemp("policy")):
        client.send(BY_NAME[record.topic], record.key, record.value)
    client.flush()
    return client


@pytest.fixture
def start(bootstrap: str, client: Client, tmp_path: Path) -> Iterator[Callable[[str], WorkerProcess]]:
    """Starts a worker on the data of this name; none is left behind, whatever fails."""
    started: list[WorkerProcess] = []

    def one(name: str) -> WorkerProcess:
        started.append(WorkerProcess(bootstrap, tmp_path / name, APP_ID))
        return started[-1]

    yield one
    for worker in started:
        worker.stop()


@pytest.fixture
def workers(start: Callable[[str], WorkerProcess]) -> list[WorkerProcess]:
    started = [start(f"worker-{n}") for n in range(2)]
    ready(started)
    return started


def consented(client: Client, subjects: list[str]) -> None:
    """They agree, and it is applied: two topics keep no order between them."""
    since = client.ends(DECISION_REPLIES)
    events = [replaced(shop.consent(subject, 1), reply_partition=0) for subject in subjects]
    for event in events:
        client.send(IDENTITY_EVENTS, event.subject, event)
    client.flush()
    wanted = {event.event_id for event in events}
    wait_until(lambda: wanted <= {reply.request_id for reply in client.values(DECISION_REPLIES, since)},
               what="the consents to be in force")


def asked(client: Client, name: str, subjects: int, seconds: float, rate: float, during: threading.Event) -> list[str]:
    """Open-loop requests from consenting subjects; sets `during` once a third of the time has passed."""
    consented(client, [f"shop/{name}-{number}" for number in range(subjects)])
    ids: list[str] = []
    started = time.monotonic()
    while (elapsed := time.monotonic() - started) < seconds:
        number = len(ids)
        if number / rate > elapsed:
            time.sleep(number / rate - elapsed)
        subject = f"shop/{name}-{number % subjects}"
        ids.append(f"{name}-{number}")
        client.send(DECISION_REQUESTS, subject, shop.request(ids[-1], subject))
        if elapsed > seconds / 3:
            during.set()
    client.flush()
    return ids


def check_answers(client: Client, ids: list[str], since: dict[str, list[int]]) -> None:
    """Every request answered, never twice differently, decided once, caps kept."""

    def all_answered() -> dict[str, set[str]] | None:
        answers: dict[str, set[str]] = {}
        for reply in client.values(DECISION_REPLIES, since["replies"]):
            answers.setdefault(reply.request_id, set()).add(repr(reply))
        return answers if answers.keys() >= set(ids) else None

    answers = wait_until(all_answered, 45.0, "an answer to every request")
    assert {request_id for request_id, versions in answers.items() if len(versions) > 1} == set()
    wanted = set(ids)

    def all_told() -> list[Decision] | None:
        """Nobody waits for these: they come a moment after the answers."""
        decisions = [d for d in client.values(DECISIONS, since["decisions"]) if d.request_id in wanted]
        audits = {audit.request.request_id for audit in client.values(DECISION_AUDIT, since["audit"])}
        return decisions if {d.request_id for d in decisions} == wanted <= audits else None

    decisions = wait_until(all_told, 20.0, "a decision and an audit of every request")
    versions: dict[str, set[str]] = {}
    for decision in decisions:
        versions.setdefault(decision.request_id, set()).add(repr(decision))
    assert all(len(v) == 1 for v in versions.values())
    shown: Counter[tuple[str, str]] = Counter()
    for decision in {d.request_id: d for d in decisions}.values():
        shown.update((decision.profile_id, c.item_id) for c in decision.decisions if not c.fallback)
    assert max(shown.values()) == 2, "the cap of two a day"
    per_profile: Counter[str] = Counter(profile for profile, _ in shown)
    assert set(per_profile.values()) == {2}, "both items were used up for everybody: nothing was under-delivered"


def positions(client: Client) -> dict[str, list[int]]:
    return {
        "replies": client.ends(DECISION_REPLIES),
        "decisions": client.ends(DECISIONS),
        "audit": client.ends(DECISION_AUDIT),
    }


def letters_after(client: Client, since: list[int], count: int) -> list[DeadLetter]:
    """The dead letters from `since` on, once there are so many."""
    letters: list[DeadLetter] = wait_until(
        lambda: (found := client.values(DEAD_LETTERS, since)) and len(found) >= count and found,
        what=f"{count} dead letters",
    )
    return letters


def test_a_killed_worker_loses_nothing_and_decides_nothing_twice(client: Client, workers: list[WorkerProcess]) -> None:
    since, during = positions(client), threading.Event()

    def kill() -> None:
        during.wait(30)
        workers[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    ids = asked(client, "killed", subjects=40, seconds=9.0, rate=150.0, during=during)
    killer.join()
    check_answers(client, ids, since)
    wait_until(lambda: workers[1].partitions() == list(range(SUBJECT_PARTITIONS)), what="the survivor's take-over")


def test_a_dead_workers_place_is_given_up_in_its_name_long_before_its_session_ends(
    bootstrap: str, client: Client, tmp_path: Path
) -> None:
    settings = Settings(bootstrap=bootstrap, app_id="told", data_dir=tmp_path / "0")
    ensure_topics(settings)
    workers = [
        WorkerProcess(bootstrap, tmp_path / f"{number}", "told", session_timeout_ms=120_000) for number in range(2)
    ]
    try:
        ready(workers)
        workers[0].kill()
        assert membership.leave(settings)
        wait_until(lambda: workers[1].partitions() == list(range(SUBJECT_PARTITIONS)), what="the survivor's take-over")
        assert not membership.leave(settings), "nothing is left to give up"
    finally:
        for worker in workers:
            worker.stop()


def test_a_copy_kept_beside_the_owner_leaves_a_take_over_little_to_read(
    client: Client, workers: list[WorkerProcess]
) -> None:
    began = [worker.value("nextbest_standby_records_total") for worker in workers]
    consented(client, [f"shop/copied-{number}" for number in range(600)])
    wait_until(lambda: all(worker.value("nextbest_standby_records_total") >= before + 100
                           for worker, before in zip(workers, began, strict=True)), what="both workers' copies")
    wait_until(lambda: sum(worker.value("nextbest_standby_records_total") for worker in workers) >= sum(began) + 600,
               what="all of it in a copy")
    had = workers[1].value("nextbest_recovered_records_total")
    workers[0].kill()
    wait_until(lambda: workers[1].partitions() == list(range(SUBJECT_PARTITIONS)), what="the survivor's take-over")
    assert workers[1].value("nextbest_recovered_records_total") - had < 60


def test_workers_that_join_and_leave_under_load_skip_nothing(
    client: Client, workers: list[WorkerProcess], start: Callable[[str], WorkerProcess]
) -> None:
    since, during = positions(client), threading.Event()

    def shuffle() -> None:
        during.wait(30)
        ready([*workers, start("third")])
        workers[0].stop()

    shuffler = threading.Thread(target=shuffle)
    shuffler.start()
    ids = asked(client, "shuffled", subjects=40, seconds=15.0, rate=150.0, during=during)
    shuffler.join()
    check_answers(client, ids, since)


def test_poison_of_every_kind_is_kept_with_its_bytes_and_stops_nobody(
    client: Client, workers: list[WorkerProcess]
) -> None:
    since = client.ends(DEAD_LETTERS)
    good = avro.encode(FEEDBACK_EVENTS, shop.click("shop/poison", "upgrade", 1, "p1"))
    poison: dict[str, tuple[str | None, bytes | None]] = {
        "not_avro": ("shop/poison", b"{}"),
        "unknown_schema": ("shop/poison", b"\x00\x7f\xff\xff\xff" + good[5:]),
        "wrong_schema": ("shop/poison", avro.encode(IDENTITY_EVENTS, shop.consent("shop/poison", 1))),
        "truncated": ("shop/poison", good[:-3]),
        "wrong_type": ("shop/poison", good + b"more"),
        "too_large": ("shop/poison", good + bytes(2_000_000)),
        "empty_key": (None, good),
        "wrong_key": ("shop/somebody-else", good),
        "null_value": ("shop/poison", None),
    }
    for key, value in poison.values():
        client.send(FEEDBACK_EVENTS, key, value)
    replies = client.ends(DECISION_REPLIES)
    client.send(DECISION_REQUESTS, "shop/poison", shop.request("after-poison", "shop/poison"))
    client.flush()

    letters = letters_after(client, since, len(poison))
    assert {letter.reason: letter.value for letter in letters} == {r: value for r, (_, value) in poison.items()}
    assert all(letter.detail and letter.topic == FEEDBACK_EVENTS.name for letter in letters)
    wait_until(
        lambda: "after-poison" in {r.request_id for r in client.values(DECISION_REPLIES, replies)},
        what="the answer behind the poison",
    )


@pytest.mark.parametrize("codec", ["zstd", "snappy"])
def test_what_unpacks_to_more_than_memory_should_hold_never_reaches_a_worker(
    bootstrap: str, client: Client, codec: str
) -> None:
    refused: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "message.max.bytes": 400_000_000,
                         "partitioner": "murmur2_random"})
    # Packed it has 100 kB, or, by lz4 and snappy, the 255th and 21st part.
    producer.produce(FEEDBACK_EVENTS.name, bytes(110_000_000), "shop/huge", on_delivery=lambda e, _m: refused.append(e))
    producer.flush(60)
    assert [error.code() for error in refused if error] == [KafkaError.MSG_SIZE_TOO_LARGE]


@contextmanager
def kept_as_sent(bootstrap: str, client: Client, topics: Iterable[str]) -> Iterator[None]:
    """The topics as a cluster may have them that is not as declared: the broker keeps what came, byte for byte. As
    declared it packs anew, and rewrites what is no text."""
    waiting = set(topics)
    entry = ConfigEntry("compression.type", "producer", incremental_operation=AlterConfigOpType.SET)
    resources = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry]) for topic in waiting]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.incremental_alter_configs(resources).values():
        future.result(10)
    while waiting:  # the broker agrees to a setting before it goes by it
        since = client.ends(DEAD_LETTERS)
        odd_headers.send(bootstrap, [(topic, b"shop/odd-header", b"odd") for topic in waiting])
        letters = letters_after(client, since, len(waiting))
        waiting -= {letter.topic for letter in letters if ODD_HEADER in letter.detail}
    yield
    ensure_topics(Settings(bootstrap=bootstrap, app_id=APP_ID))


def test_a_header_whose_name_is_not_utf8_makes_a_dead_letter_on_every_input(
    bootstrap: str, client: Client, workers: list[WorkerProcess], tmp_path: Path
) -> None:
    replies = client.ends(DECISION_REPLIES)
    live = {record.topic: record for record in shop.publication(tmp_path / "policy", at_ms=4)}
    odd: dict[str, tuple[bytes, bytes | None]] = {flow.reads.name: (b"shop/odd-header", b"odd") for flow in FLOWS}
    # One that is good but for its header, and one that would withdraw the live policy.
    odd[CATALOG_ITEMS.name] = (b"shop/upgrade", live[CATALOG_ITEMS.name].value)
    odd[POLICY_RELEASES.name] = (b"shop/@active", None)
    with kept_as_sent(bootstrap, client, odd):
        since = client.ends(DEAD_LETTERS)
        odd_headers.send(bootstrap, [(topic, key, value) for topic, (key, value) in odd.items()])
    letters = letters_after(client, since, len(odd))
    assert {letter.topic: letter.value for letter in letters} == {topic: value for topic, (_, value) in odd.items()}
    assert all(ODD_HEADER in letter.detail for letter in letters)
    consented(client, ["shop/odd-header"])
    client.send(DECISION_REQUESTS, "shop/odd-header", shop.request("after-odd", "shop/odd-header"))
    client.flush()
    answers = wait_until(
        lambda: [r for r in client.values(DECISION_REPLIES, replies) if r.request_id == "after-odd"],
        what="the answer behind it",
    )
    assert answers[0].decisions[0].item_id == "upgrade", "the policy is still there"
    assert sorted(p for worker in workers for p in worker.partitions()) == list(range(SUBJECT_PARTITIONS))


def test_a_policy_is_live_in_every_worker_within_a_second(
    client: Client, workers: list[WorkerProcess], tmp_path: Path
) -> None:
    subjects = [f"shop/live-{n}" for n in range(16)]
    consented(client, subjects)
    text = shop.POLICY.replace("priority: 50", "priority: 5")
    for record in shop.publication(tmp_path / "policy", text, at_ms=2):
        client.send(BY_NAME[record.topic], record.key, record.value)
    client.flush()
    time.sleep(1.0)  # the promise under test: live within a second
    since = client.ends(DECISION_REPLIES)
    for subject in subjects:
        client.send(DECISION_REQUESTS, subject, shop.request(f"ask-{subject}", subject))
    client.flush()
    replies = wait_until(
        lambda: (found := client.values(DECISION_REPLIES, since)) and len(found) >= len(subjects) and found,
        what="all answers",
    )
    assert {reply.decisions[0].item_id for reply in replies} == {"tips"}
    for record in shop.publication(tmp_path / "policy", at_ms=3):
        client.send(BY_NAME[record.topic], record.key, record.value)
    client.flush()


def test_a_worker_restarted_on_its_data_goes_on_where_it_was(
    client: Client, start: Callable[[str], WorkerProcess]
) -> None:
    first = start("restarted")
    ready([first])
    subject = "shop/restart"
    consented(client, [subject])
    since = client.ends(DECISION_REPLIES)
    for number in range(2):
        client.send(DECISION_REQUESTS, subject, shop.request(f"restart-{number}", subject))
    client.flush()
    wait_until(lambda: len(client.values(DECISION_REPLIES, since)) == 2, what="two answers")
    assert first.stop() == 0

    client.send(DECISION_REQUESTS, subject, shop.request("restart-2", subject))
    client.flush()
    second = start("restarted")
    ready([second])
    replies = wait_until(
        lambda: (found := client.values(DECISION_REPLIES, since)) and len(found) >= 3 and found, what="the third answer"
    )
    assert [reply.decisions[0].item_id for reply in replies] == ["upgrade", "upgrade", "tips"]
    assert second.stop() == 0


def test_what_unpacks_to_more_than_is_processed_is_a_dead_letter(
    bootstrap: str, client: Client, workers: list[WorkerProcess]
) -> None:
    since, before = client.ends(DEAD_LETTERS), [worker.memory_bytes() for worker in workers]
    size = INPUT_BYTES_MAX * 4
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "gzip", "message.max.bytes": 400_000_000,
                         "partitioner": "murmur2_random"})
    failed: list[KafkaError] = []
    for number in range(1):
        producer.produce(FEEDBACK_EVENTS.name, bytes(size), f"shop/large-{number}",
                         on_delivery=lambda error, _m: failed.append(error) if error else None)
        producer.flush(60)
    assert failed == []
    letters = letters_after(client, since, 1)
    assert {letter.reason for letter in letters} == {"too_large"}
    grown = sum(worker.memory_bytes() for worker in workers) - sum(before)
    assert grown < 10 * size

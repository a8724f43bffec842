"""The embedded broker comes up, keeps what it acknowledged, ends with its process, and says what is in its way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from pipeline.adapters import kafka
from pipeline.local import broker as broker_module
from pipeline.local.broker import EmbeddedBroker
from pipeline.runtime.errors import StartupError
from pipeline.settings import Settings
from tests.support.processes import alive, wait_for

TOPIC = "test.broker"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    running = EmbeddedBroker(tmp_path_factory.mktemp("broker"), 0)
    running.start()
    yield running
    running.stop()


def send(settings: Settings, value: bytes) -> None:
    producer = kafka.producer(settings)
    producer.produce(TOPIC, key=b"k", value=value)
    assert producer.flush(15) == 0


def read_all(settings: Settings) -> list[bytes | None]:
    to_the_end: dict[str, Any] = {"enable.partition.eof": True}
    consumer = kafka.consumer(settings, **to_the_end)
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    values = []
    while (record := consumer.poll(15)) is not None and not record.error():
        values.append(record.value())
    consumer.close()
    return values


def create_topic(settings: Settings) -> None:
    admin = kafka.admin(settings)  # its end would cancel the request
    admin.create_topics([NewTopic(TOPIC, num_partitions=1)])[TOPIC].result(15)


@pytest.mark.broker
def test_what_was_acknowledged_is_there_after_a_stop_and_after_a_kill(broker: EmbeddedBroker) -> None:
    create_topic(Settings(bootstrap=broker.bootstrap))
    send(Settings(bootstrap=broker.bootstrap), b"before the stop")
    broker.stop()
    assert broker.poll() is not None
    broker.start()
    send(Settings(bootstrap=broker.bootstrap), b"before the kill")
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    wait_for(lambda: broker.poll() is not None)
    broker.start()
    assert read_all(Settings(bootstrap=broker.bootstrap)) == [b"before the stop", b"before the kill"]


@pytest.mark.broker
def test_topics_are_made_by_nobody_by_accident(broker: EmbeddedBroker) -> None:
    settings = Settings(bootstrap=broker.bootstrap)
    soon: dict[str, Any] = {"message.timeout.ms": 1000}
    producer = kafka.producer(settings, **soon)
    failed: list[str] = []
    producer.produce("never.declared", value=b"x", on_delivery=lambda error, _: failed.append(str(error)))
    producer.flush(15)
    assert failed
    assert "never.declared" not in kafka.admin(settings).list_topics(timeout=15).topics


@pytest.mark.broker
def test_it_ends_with_its_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pipeline.local.broker import EmbeddedBroker\n"
        f"broker = EmbeddedBroker(Path({str(tmp_path)!r}), 0); broker.launch(); print(broker.pid, flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        java = int(process.stdout.readline())
        assert alive(java)
        process.kill()
    wait_for(lambda: not alive(java), timeout_s=broker_module.STOP_S_MAX + 5)


def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartupError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*--kafka-port"):
            EmbeddedBroker(tmp_path, port).start()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "ROOM_BYTES_MIN", 10**18)
    with pytest.raises(StartupError, match=r"only \d+ MB are free .*--data-dir"):
        EmbeddedBroker(tmp_path, 0).start()


def test_a_data_directory_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StartupError, match=r"cannot write to .*--data-dir"):
        EmbeddedBroker(tmp_path / "file", 0).start()


def test_a_broker_that_ends_while_starting_gives_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "JVM_FLAGS", ("-XX:NoSuchFlag",))
    (tmp_path / "kafka" / "data").mkdir(parents=True)
    with pytest.raises(StartupError, match=r"ended while starting; its last words(?s:.*)NoSuchFlag"):
        EmbeddedBroker(tmp_path, 0).start()

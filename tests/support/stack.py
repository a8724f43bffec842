"""Real worker processes and plain clients on a real broker, for integration tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from pipeline.adapters import kafka
from pipeline.adapters.keys import Keys
from pipeline.codecs import avro
from pipeline.runtime import ports
from pipeline.settings import Settings
from topics.catalog import Topic

READY_S = 60.0


def free_port() -> int:
    """A port of the loopback nobody listens on just now."""
    return ports.free_port("127.0.0.1")


def wait_until(condition: Callable[[], Any], timeout_s: float = READY_S, what: str = "it") -> Any:
    """The condition's first true value; fails after the timeout."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not happen within {timeout_s:.0f} s"
        time.sleep(0.05)


class WorkerProcess:
    """One `nextbest worker` as its own process."""

    def __init__(self, bootstrap: str, data_dir: Path, app_id: str, **settings: object) -> None:
        self.port = free_port()
        self.log = data_dir / "worker.log"
        data_dir.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "NEXTBEST_BOOTSTRAP": bootstrap,
            "NEXTBEST_DATA_DIR": str(data_dir),
            "NEXTBEST_APP_ID": app_id,
            "NEXTBEST_WORKER_PORT": str(self.port),
            **{f"NEXTBEST_{name.upper()}": str(value) for name, value in settings.items()},
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli.main", "worker"], env=environment, stdout=log, stderr=log
            )

    def partitions(self) -> list[int]:
        """The partitions it decides for; none while it is not ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return list(json.load(answer)["partitions"])
        except (OSError, urllib.error.URLError):
            return []

    def counts(self) -> dict[str, float]:
        """`flow/fate/reason` → records so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = {}
        for line in text.splitlines():
            if line.startswith("nextbest_records_total{"):
                labels = dict(part.split("=") for part in line[line.index("{") + 1 : line.index("}")].split(","))
                name = "/".join(labels[key].strip('"') for key in ("flow", "fate", "reason"))
                found[name] = float(line.rsplit(" ", 1)[1])
        return found

    def value(self, name: str) -> float:
        """One of its metrics that has no labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            return next(float(line.split()[1]) for line in answer.read().decode().splitlines()
                        if line.startswith(f"{name} "))

    def memory_bytes(self) -> int:
        """The most that it has ever kept resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1_024

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop, and wait."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=30)


def ready(workers: Iterable[WorkerProcess], partitions: int = 8) -> None:
    """Wait until the workers own all partitions between them."""
    workers = list(workers)

    def shared() -> bool:
        for worker in workers:
            code = worker.process.poll()
            assert code is None, f"a worker ended with {code}:\n{worker.log.read_text()[-3000:]}"
        owned = [worker.partitions() for worker in workers]
        return all(owned) and sorted(p for mine in owned for p in mine) == list(range(partitions))

    wait_until(shared, what="the workers' share of all partitions")


class Client:
    """Produces and reads as any Kafka client would."""

    def __init__(self, bootstrap: str, app_id: str = "nextbest") -> None:
        """`app_id`: the workers', in whose changelog the keys lie that open what is encrypted."""
        self.settings = Settings(bootstrap=bootstrap, app_id=app_id)
        self.producer: Producer = kafka.producer(self.settings, "test")
        self.refused: list[str] = []

    def send(self, topic: Topic, key: str | bytes | None, value: object) -> None:
        """Queue one record: a core value, or bytes or None as they are."""
        data = value if isinstance(value, bytes) or value is None else avro.encode(topic, value)
        while True:
            try:
                self.producer.produce(topic.name, data, key, on_delivery=self._delivered)
                break
            except BufferError:
                self.producer.poll(0.05)
        self.producer.poll(0)

    def _delivered(self, error: object, message: Message) -> None:
        if error is not None:
            self.refused.append(f"{message.topic()}: {error}")

    def flush(self) -> None:
        """Wait until the broker has everything; fails where it refused something."""
        assert self.producer.flush(30) == 0
        assert self.refused == []

    def ends(self, topic: Topic) -> list[int]:
        """The next offset of every partition."""
        with Reader(self.settings) as consumer:
            return [
                consumer.get_watermark_offsets(TopicPartition(topic.name, p), timeout=10)[1]
                for p in range(topic.partitions)
            ]

    def read(self, topic: Topic, since: list[int]) -> list[Message]:
        """Every record of the topic from `since` up to now."""
        ends = self.ends(topic)
        wanted = {p: (start, end) for p, (start, end) in enumerate(zip(since, ends, strict=True)) if start < end}
        found: list[Message] = []
        if not wanted:
            return found
        with Reader(self.settings) as consumer:
            consumer.assign([TopicPartition(topic.name, p, start) for p, (start, _) in wanted.items()])
            while wanted:
                message = consumer.poll(10.0)
                assert message is not None, f"{topic.name}: still missing {wanted}"
                assert message.error() is None, message.error()
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None
                found.append(message)
                if partition in wanted and offset + 1 >= wanted[partition][1]:
                    del wanted[partition]
        return found

    def values(self, topic: Topic, since: list[int]) -> list[Any]:
        """The same, decoded."""
        with Keys(self.settings) as keys:
            return [keys.value(topic, message.key(), message.value()) for message in self.read(topic, since)]


class Reader:
    """A consumer without a group, closed at the end."""

    def __init__(self, settings: Settings) -> None:
        self.consumer: Consumer = kafka.consumer(settings, name="test")

    def __enter__(self) -> Consumer:
        return self.consumer

    def __exit__(self, *error: object) -> None:
        self.consumer.close()

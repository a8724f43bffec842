"""One Kafka broker for the whole test session, from one setting, NEXTBEST_TEST_BROKER:

`embedded` (the default), `testcontainers` (needs a container engine), or the HOST:PORT of a cluster that runs already.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.adapters import kafka, topic_admin
from pipeline.adapters.topic_plan import declared
from pipeline.local.broker import HEAP, START_S_MAX, EmbeddedBroker, properties
from pipeline.runtime import ports
from pipeline.settings import Settings

SETTING: Final = "NEXTBEST_TEST_BROKER"
IMAGE: Final = "apache/kafka:4.3.1"
_GONE_S: Final = 30.0


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of the session's broker. Its topics are whatever the test before left: see `fresh_topics`."""
    chosen = os.environ.get(SETTING, "embedded")
    if chosen == "embedded":
        with embedded(tmp_path_factory.mktemp("broker")) as address:
            yield address
    elif chosen == "testcontainers":
        with container() as address:
            yield address
    elif ":" in chosen:
        wait_until_ready(chosen)
        yield chosen
    else:
        raise pytest.UsageError(f"{SETTING} is embedded, testcontainers or HOST:PORT, not {chosen!r}")


@contextmanager
def embedded(data_dir: Path) -> Iterator[str]:
    broker = EmbeddedBroker(data_dir, 0)
    broker.start()
    try:
        yield broker.bootstrap
    finally:
        broker.stop()


@contextmanager
def container() -> Iterator[str]:
    """The same broker with the same settings, in a container of Apache's image."""
    from testcontainers.core.container import DockerContainer

    port = ports.free_port("127.0.0.1")
    controller_port = ports.free_port("127.0.0.1", port)
    listeners = f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:{controller_port}"
    settings = properties(port, controller_port, "/tmp/kraft-combined-logs") | {
        "listeners": listeners,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
    }
    del settings["controller.quorum.bootstrap.servers"]
    image = DockerContainer(IMAGE).with_env("KAFKA_HEAP_OPTS", f"-Xmx{HEAP}")
    # It asks nobody who they are: on this machine only.
    image.ports[port] = ("127.0.0.1", port)  # type: ignore[index, assignment]  # what the engine takes
    for name, value in settings.items():
        image.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    with image:
        address = f"127.0.0.1:{port}"
        try:
            wait_until_ready(address)
        except KafkaException:
            said = b"".join(image.get_logs()).decode(errors="replace").splitlines()
            pytest.fail(f"the broker in the container did not answer; its last words:\n{chr(10).join(said[-20:])}")
        yield address


def wait_until_ready(address: str, timeout_s: float = START_S_MAX) -> None:
    """Until the broker answers. Raises KafkaException with the reason where it does not in time."""
    kafka.admin(Settings(bootstrap=address)).list_topics(timeout=timeout_s)


def fresh_topics(settings: Settings) -> None:
    """Delete this installation's topics and changelogs with all their records, and make them again, empty."""
    client = kafka.admin(settings)
    names = [topic.name for topic in declared(settings.app_id)]
    left = existing(client, names)
    if left:
        for future in client.delete_topics(left, operation_timeout=_GONE_S).values():
            future.result(_GONE_S)
    end = time.monotonic() + _GONE_S
    while left := existing(client, names):
        assert time.monotonic() < end, f"not deleted: {', '.join(left)}"
        time.sleep(0.05)
    topic_admin.ensure_topics(settings)


def existing(client: AdminClient, names: list[str]) -> list[str]:
    known = client.list_topics(timeout=_GONE_S).topics
    return [name for name in names if name in known]

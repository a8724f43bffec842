"""Dockerfile and compose file name what exists, and the broker in a container is set as the embedded one is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.local.broker import properties
from pipeline.settings import Settings
from tests.support.broker import IMAGE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The compose file's services; YAML has merged the shared parts."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    return loaded


def test_the_image_is_made_of_what_exists_and_the_engine_gets_no_more() -> None:
    copied = {
        source
        for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_nothing_runs_as_root() -> None:
    assert re.search(r"^USER nextbest$", (ROOT / "Dockerfile").read_text("utf-8"), re.M)


def test_only_bridge_and_prometheus_are_seen_from_outside_and_only_on_this_machine(services: dict[str, Any]) -> None:
    seen = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(seen) == {"bridge", "prometheus"}
    assert all(port.startswith("127.0.0.1:") for ports in seen.values() for port in ports)


def test_the_settings_in_the_compose_file_exist(services: dict[str, Any]) -> None:
    known = {f"NEXTBEST_{name.upper()}" for name in Settings.model_fields}
    for service in services.values():
        given = {name for name in service.get("environment", {}) if name.startswith("NEXTBEST_")}
        assert given <= known


def test_the_broker_is_set_as_the_embedded_one(services: dict[str, Any]) -> None:
    assert services["broker"]["image"] == IMAGE
    given = services["broker"]["environment"]
    for name in (
        "auto.create.topics.enable", "broker.heartbeat.interval.ms", "broker.session.timeout.ms",
        "default.replication.factor", "group.initial.rebalance.delay.ms", "log.cleaner.dedupe.buffer.size",
        "offsets.topic.num.partitions", "offsets.topic.replication.factor",
        "share.coordinator.state.topic.min.isr", "share.coordinator.state.topic.num.partitions",
        "share.coordinator.state.topic.replication.factor", "transaction.state.log.min.isr",
        "transaction.state.log.num.partitions", "transaction.state.log.replication.factor", "process.roles", "node.id",
    ):  # fmt: skip
        assert given["KAFKA_" + name.upper().replace(".", "_")] == properties(1, 2, "data")[name], name


def test_prometheus_reads_every_worker_and_the_bridge(services: dict[str, Any]) -> None:
    scrape = yaml.safe_load((ROOT / "connectors/prometheus/prometheus.yml").read_text("utf-8"))
    targets = {target for job in scrape["scrape_configs"] for one in job["static_configs"] for target in one["targets"]}
    port = services["worker-1"]["environment"]["NEXTBEST_WORKER_PORT"]
    workers = {f"{name}:{port}" for name in services if name.startswith("worker-")}
    assert targets == workers | {f"bridge:{services['bridge']['environment']['NEXTBEST_HTTP_PORT']}"}

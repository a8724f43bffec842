"""Latency: each target under the same open-loop load, in turn, round by round, so that all meet the same weather."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from bench import client, echo, null_worker
from bench.client import Order, Result
from bench.cluster import Cluster, renamed
from bench.figures import Latency
from bench.inputs import Subjects
from bench.parts import Parts
from bench.plan import Plan
from topics.catalog import DECISION_REPLIES, DECISION_REQUESTS, IDENTITY_EVENTS

#: What a client's process takes beside its load: start, preparation, last answers.
CLIENT_S: Final = 4.0
CLIENT_S_MAX: Final = 60.0

#: At the higher rate the topics alone are left out: what they add is seen at the lower one.
TARGETS: Final = (client.ECHO, client.NULL, client.BRIDGE, client.TOPICS)
TARGETS_HIGH: Final = (client.ECHO, client.NULL, client.BRIDGE)

#: Parts and cluster of the target: the null worker has its own broker and bridge.
Where = Callable[[str], tuple[Parts, Cluster]]


def seconds(plan: Plan) -> float:
    """About how long `measure` takes."""
    targets = len(TARGETS) + (len(TARGETS_HIGH) if plan.rate_high else 0)
    return plan.rounds * targets * _lasts(plan) + 2 * plan.compile_s


def prepare(parts: Parts, cluster: Cluster, plan: Plan, at_ms: int) -> None:
    """The echo and its topics, and subjects that the worker knows."""
    cluster.create((renamed(DECISION_REQUESTS, echo.ASK), renamed(DECISION_REPLIES, echo.REPLY)))
    parts.start("echo", ["-m", "bench.echo", cluster.settings.bootstrap, str(client.REPLY_PARTITION)])
    cluster.send(IDENTITY_EVENTS.name, Subjects(cluster.settings, "asking", plan.subjects).known(at_ms))
    parts.wait("the echo", lambda: cluster.assigned(echo.GROUP))
    parts.wait("the subjects", lambda: not cluster.lag(cluster.settings.app_id, IDENTITY_EVENTS))


def prepare_null(parts: Parts, cluster: Cluster) -> None:
    """The null worker behind a bridge of its own."""
    cluster.create((renamed(DECISION_REQUESTS, null_worker.CHANGELOG),))
    parts.start("null worker", ["-m", "bench.null_worker", cluster.settings.bootstrap])
    parts.wait("the null worker", lambda: cluster.assigned(cluster.settings.app_id))
    parts.start_bridge()


def measure(where: Where, plan: Plan, data_dir: Path, begin: Callable[[str, float], None]) -> list[Latency]:
    """Every target at every rate; `begin` is told of each measurement and how long it takes."""
    found = [Latency(target, plan.rate) for target in TARGETS]
    high = [] if plan.rate_high is None else [Latency(target, plan.rate_high) for target in TARGETS_HIGH]
    first = seed = 0
    if plan.compile_s:
        warming = replace(plan, round_s=plan.compile_s)
        begin("both bridges, not counted", 2 * _lasts(warming))
        for target in (client.BRIDGE, client.NULL):
            _once(where, warming, Latency(target, plan.rate), first, seed, data_dir)
            first += _requests(plan.rate, warming)
    # The higher rate comes last: what it leaves undone would be in the promised one's way.
    turns = [(number, one) for targets in (found, high) for number in range(plan.rounds) for one in targets]
    for number, latency in turns:
        seed += 1
        begin(f"{latency.target}, {latency.rate}/s, round {number + 1} of {plan.rounds}", _lasts(plan))
        parts, _ = where(latency.target)
        before_s = parts.cpu_s()
        latency.rounds.append(_once(where, plan, latency, first, seed, data_dir))
        for name, after_s in parts.cpu_s().items():
            latency.used_s[name] = latency.used_s.get(name, 0.0) + after_s - before_s[name]
        latency.lasted_s += plan.round_s + plan.warm_s
        first += _requests(latency.rate, plan)
    return found + high


def _lasts(plan: Plan) -> float:
    return plan.round_s + plan.warm_s + CLIENT_S


def _requests(rate: int, plan: Plan) -> int:
    """More than one round sends."""
    return round(rate * (plan.round_s + plan.warm_s) * 1.1)


def _once(where: Where, plan: Plan, latency: Latency, first: int, seed: int, data_dir: Path) -> Result:
    parts, cluster = where(latency.target)
    result = data_dir / f"client-{seed}.json"
    order = Order(
        latency.target, cluster.settings.bootstrap, parts.http_port, latency.rate, plan.round_s, plan.warm_s,
        plan.subjects, first, seed, str(result),
    )
    arguments = ["-m", "bench.client", json.dumps(asdict(order))]
    parts.run("client", arguments, plan.round_s + plan.warm_s + CLIENT_S_MAX)
    return Result(**json.loads(result.read_text("utf-8")))

"""One whole run: everything on one broker, one after the other. Knows nothing of terminals."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import client, latency, machine, quix_env, recovery, throughput
from bench.cluster import Cluster
from bench.figures import Latency, ratio
from bench.inputs import Encoded
from bench.parts import ROOT, Parts
from bench.plan import Plan
from pipeline.adapters.topic_admin import ensure_topics
from pipeline.policy.load import load
from pipeline.policy.publish import prepare
from pipeline.settings import Settings

#: About how long broker, worker, bridge and their first records take.
START_S: Final = 40.0


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told how the run goes on: a sentence, what begins and how long it takes, that time passes."""

    say: Callable[[str], None]
    begin: Callable[[str, float], None]
    tick: Callable[[], None]


def seconds(plan: Plan) -> float:
    """About how long a run takes."""
    sides = 2 if plan.quix else 1
    return START_S + latency.seconds(plan) + throughput.RUN_S * plan.runs * sides + recovery.RECOVERY_S


def run(plan: Plan, directory: Path, watcher: Watcher) -> dict[str, Any]:
    """Measure; returns the results. Raises BenchError and StartupError. Leaves no process behind."""
    python = quix_env.ensure(watcher.say) if plan.quix else None
    weather = machine.Weather()
    at_ms = time.time_ns() // 1_000_000
    with Parts(directory, watcher.tick) as parts, Parts(directory / "null", watcher.tick) as null:
        watcher.begin("starting broker, worker, bridge and echo", START_S)
        broker = parts.start_broker(watcher.say)
        settings = Settings(bootstrap=broker.bootstrap)
        cluster = Cluster(settings)
        ensure_topics(settings)
        publish(cluster, at_ms)
        worker = parts.start_worker()
        parts.start_bridge()
        latency.prepare(parts, cluster, plan, at_ms)
        nulls = _null(null, watcher, at_ms)
        latencies = latency.measure(
            lambda target: (null, nulls) if target == client.NULL else (parts, cluster), plan, directory,
            watcher.begin)
        null.end_all()
        sides = [throughput.nextbest(cluster, worker)]
        if python is not None:
            sides.append(throughput.quix(parts, cluster, python))
        throughput.measure(parts, cluster, plan, sides, at_ms, watcher.begin)
        watcher.begin("recovery", recovery.RECOVERY_S)
        recovered = recovery.measure(parts, cluster, worker, beside=plan.recovery_beside)
    return _results(plan, latencies, sides, recovered, machine.facts(plan.quix) | weather.shares(), at_ms)


def _null(parts: Parts, watcher: Watcher, at_ms: int) -> Cluster:
    """The null worker's own installation, which is idle while others are measured."""
    parts.directory.mkdir()
    cluster = Cluster(Settings(bootstrap=parts.start_broker(watcher.say).bootstrap))
    ensure_topics(cluster.settings)
    publish(cluster, at_ms)
    latency.prepare_null(parts, cluster)
    return cluster


def publish(cluster: Cluster, at_ms: int) -> None:
    """The example policy, live."""
    publication = prepare(load(ROOT / "policy"), cluster.settings.tenant, {}, at_ms, getpass.getuser())
    for record in publication.records:
        cluster.send(record.topic, [Encoded(record.key, record.value or b"")])


def _results(
    plan: Plan, latencies: list[Latency], sides: list[throughput.Side], recovered: dict[str, Any],
    facts: dict[str, Any], at_ms: int,
) -> dict[str, Any]:
    def of(target: str, rate: int | None) -> dict[str, Any] | None:
        found = next((one for one in latencies if (one.target, one.rate) == (target, rate)), None)
        return None if found is None else {"load": _load(plan, found), **found.summary()}

    decide, echo = of(client.BRIDGE, plan.rate) or {}, of(client.ECHO, plan.rate) or {}
    null = of(client.NULL, plan.rate) or {}
    figures = throughput.summary(plan, sides)
    return {
        "plan": plan.name,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ms / 1000)),
        "decide": decide,
        "null_worker": null,
        "echo": echo,
        "decide_over_topics": of(client.TOPICS, plan.rate) or {},
        "high": {"decide": of(client.BRIDGE, plan.rate_high), "null_worker": of(client.NULL, plan.rate_high),
                 "echo": of(client.ECHO, plan.rate_high)},
        "throughput": figures,
        "recovery": recovered,
        "ratios": {
            "decide_p95_to_echo_p95": ratio(decide.get("p95_ms"), echo.get("p95_ms")),
            "decide_p95_to_null_p95": ratio(decide.get("p95_ms"), null.get("p95_ms")),
            "nextbest_to_quix": ratio(figures["nextbest_per_s"], figures["quix_per_s"]),
        },
        "machine": facts,
    }


def _load(plan: Plan, one: Latency) -> str:
    through = {
        client.ECHO: "produced to a topic, echoed by one process to another topic",
        client.TOPICS: "produced to decision.requests, answered on decision.replies",
        client.BRIDGE: "POST /personalization/decide over kept-alive connections",
        client.NULL: "POST /personalization/decide to a bridge before a worker that does nothing",
    }[one.target]
    return (
        f"{one.rate} requests/s, open loop with Poisson arrivals, {plan.rounds} × {plan.round_s:g} s after "
        f"{plan.warm_s:g} s of warm-up, over {plan.subjects} profiles with consent; {through}; "
        "latency from the moment due"
    )

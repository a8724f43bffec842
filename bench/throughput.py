"""Throughput through the topics: the same requests through Nextbest's worker and through the Quix Streams app, in turn.

The process under test is frozen (SIGSTOP) while the broker takes the requests in, and its time runs from the moment it
is thawed, with everything lying ready, until the last of its outputs can be read. Its start is not part of it. Nothing
else runs meanwhile but the broker and idle processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from bench import compared, quix_topics
from bench.client import REPLY_PARTITION
from bench.cluster import Cluster
from bench.figures import spread
from bench.inputs import Encoded, Subjects
from bench.parts import BenchError, Part, Parts, cpu_s
from bench.plan import Plan
from pipeline.adapters.keys import Keys
from topics.catalog import (
    DECISION_AUDIT,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    DECISIONS,
    IDENTITY_EVENTS,
    PROFILES_BY_ID,
    Topic,
)

#: Every request has exactly one of each.
OUTPUTS: Final = (DECISIONS, DECISION_AUDIT, DECISION_REPLIES)
RUN_S_MAX: Final = 300.0
#: About how long one run takes, for the progress bar.
RUN_S: Final = 25.0
LOOK_S: Final = 0.02
#: Half of the worker's session: past it the group would give its partitions away.
FROZEN_S_MAX: Final = 3.0


@dataclass(slots=True)
class Run:
    """One run of one side."""

    per_s: float
    #: Processor time for each request (µs): of the process under test, and of the broker.
    cpu_us: float | None
    broker_cpu_us: float | None
    #: Seconds until every input offset was committed: all state durable, nothing would be read again.
    committed_s: float


@dataclass(slots=True)
class Side:
    """Nextbest or Quix Streams: its process, its topics, what it did."""

    name: str
    part: Part
    group: str
    #: Where the identity events go, and the requests.
    known: Topic
    asked: Topic
    outputs: tuple[Topic, ...]
    #: Where its state goes, with the subjects' keys, and whose value lies there under a key.
    changelog: str
    subject_of: Callable[[bytes], bytes]
    runs: list[Run] = field(default_factory=list)
    #: The first run's decisions by request, opened with the side's own keys.
    decided: dict[str, Any] = field(default_factory=dict)


def nextbest(cluster: Cluster, worker: Part) -> Side:
    """The worker that has just answered the latency runs."""
    app_id = cluster.settings.app_id
    changelog = PROFILES_BY_ID.changelog(app_id)
    return Side("nextbest", worker, app_id, IDENTITY_EVENTS, DECISION_REQUESTS, OUTPUTS, changelog, lambda key: key)


def quix(parts: Parts, cluster: Cluster, python: str) -> Side:
    """The Quix Streams app, started on topics of the same making."""
    asked, made = quix_topics.ASKED, quix_topics.OUTPUTS
    cluster.create((asked, *made.values()))
    state_dir = parts.directory / "quix-state"
    part = parts.start(
        "Quix Streams app", ["-m", "bench.quix_app", cluster.settings.bootstrap, str(state_dir)], python=python
    )
    outputs = tuple(made[topic.name] for topic in OUTPUTS)
    return Side(
        "quix", part, quix_topics.GROUP, asked, asked, outputs, quix_topics.CHANGELOG, quix_topics.subject_of
    )


def measure(
    parts: Parts, cluster: Cluster, plan: Plan, sides: list[Side], at_ms: int, begin: Callable[[str, float], None]
) -> None:
    """Fill the sides' runs. Raises BenchError where outputs are missing or the sides decide differently."""
    subjects = Subjects(cluster.settings, "load", plan.subjects)
    for side in sides:
        cluster.send(side.known.name, subjects.known(at_ms))
    for side in sides:
        parts.wait(
            f"{side.name}'s knowledge of the subjects",
            partial(_caught_up, cluster, side),
            RUN_S_MAX,
        )
    for number in range(plan.runs):
        records = [
            record for _, record in subjects.requests(
                f"load-{number}", range(number * plan.requests, (number + 1) * plan.requests), REPLY_PARTITION)
        ]
        for side in sides if number % 2 == 0 else reversed(sides):
            begin(f"{plan.requests:,} requests through {side.name}, run {number + 1} of {plan.runs}", RUN_S)
            _run(parts, cluster, side, records)
    if len(sides) == 2:
        one, other = sides
        compared.require_same(one.name, one.decided, other.name, other.decided)


def _caught_up(cluster: Cluster, side: Side) -> bool:
    return cluster.assigned(side.group) and not cluster.lag(side.group, side.known)


def _run(parts: Parts, cluster: Cluster, side: Side, records: list[Encoded]) -> None:
    before = cluster.ends(side.outputs)
    frozen_s = time.perf_counter()
    with side.part.frozen():
        cluster.send(side.asked.name, records)
        broker_cpu_s, own_cpu_s = cpu_s(parts.broker.pid), side.part.cpu_s()
    started_s = time.perf_counter()
    if started_s - frozen_s > FROZEN_S_MAX:
        raise BenchError(f"the broker took {started_s - frozen_s:.1f} s for {len(records)} records: too busy a machine")
    wanted = {name: sum(offsets) + len(records) for name, offsets in before.items()}
    while any(sum(offsets) < wanted[name] for name, offsets in cluster.ends(side.outputs).items()):
        if time.perf_counter() - started_s > RUN_S_MAX:
            raise BenchError(f"{side.name} did not finish {len(records)} requests in {RUN_S_MAX:.0f} s")
        parts.pause(LOOK_S)
    seconds = time.perf_counter() - started_s
    parts.wait(f"{side.name}'s commit", lambda: not cluster.lag(side.group, side.asked))
    committed_s = time.perf_counter() - started_s
    own_us = _each_us(own_cpu_s, side.part.cpu_s(), records)
    broker_us = _each_us(broker_cpu_s, cpu_s(parts.broker.pid), records)
    side.runs.append(Run(len(records) / seconds, own_us, broker_us, committed_s))
    surplus = {name: sum(offsets) - wanted[name] for name, offsets in cluster.ends(side.outputs).items()}
    if any(surplus.values()):
        raise BenchError(f"{side.name} made more outputs than requests: {surplus}")
    if not side.decided:
        side.decided = _decisions(cluster, side, before)


def _each_us(before_s: float | None, after_s: float | None, records: list[Encoded]) -> float | None:
    return None if before_s is None or after_s is None else round((after_s - before_s) / len(records) * 1e6, 1)


def _decisions(cluster: Cluster, side: Side, before: dict[str, list[int]]) -> dict[str, Any]:
    """What was decided since `before`. Raises BenchError where the side's own keys do not open it."""
    topic = side.outputs[0]
    with Keys(cluster.settings, side.changelog, side.subject_of) as keys:
        keys.refresh()
        return compared.decisions(keys.ring, cluster.read(topic, before[topic.name]))


def summary(plan: Plan, sides: list[Side]) -> dict[str, Any]:
    """The figures of both sides, and what they were measured under."""
    found: dict[str, Any] = {
        "load": f"{plan.requests} requests lying ready over {plan.subjects} profiles with consent, 8 partitions, "
                f"one process, median of {plan.runs}, from the first input to the last output readable",
    }
    for side in sides:
        rates = spread([run.per_s for run in side.runs])
        found[f"{side.name}_per_s"] = rates["median"]
        found[f"{side.name}_runs_per_s"] = rates["runs"]
        found[f"{side.name}_cpu_us_per_request"] = [run.cpu_us for run in side.runs]
        found[f"{side.name}_broker_cpu_us_per_request"] = [run.broker_cpu_us for run in side.runs]
        found[f"{side.name}_committed_s"] = [round(run.committed_s, 1) for run in side.runs]
    found.setdefault("quix_per_s", None)
    found["same_decisions"] = len(sides[0].decided) if len(sides) == 2 else None
    return found

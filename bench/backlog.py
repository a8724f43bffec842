"""`python -m bench.backlog [--events N]`: decisions while a backlog of events is worked off, beside decisions without
one; and the backlog's speed with decisions beside its speed alone. Writes bench/results/backlog.json.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from bench import client, run
from bench.client import Order
from bench.cluster import Cluster
from bench.inputs import Encoded, Subjects
from bench.latencies import Latencies
from bench.parts import ROOT, Parts
from pipeline.adapters.topic_admin import ensure_topics
from pipeline.codecs import avro
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.local import parent
from pipeline.settings import Settings
from topics.catalog import FEEDBACK_EVENTS, IDENTITY_EVENTS

RESULTS: Final = ROOT / "bench" / "results" / "backlog.json"
RATE: Final = 100
CALM_S: Final = 20.0
WARM_S: Final = 5.0
SUBJECTS: Final = 20_000
ITEMS: Final = ("boots_sale", "tent_guide", "jacket_new")
DRAINED_S_MAX: Final = 3_600.0


def events(subjects: Subjects, name: str, count: int, at_ms: int) -> Iterator[Encoded]:
    """Views and clicks of all subjects in turn."""
    keys = [subjects.key(number) for number in range(subjects.count)]
    chance = random.Random(name)
    for number in range(count):
        key = keys[number % len(keys)]
        kind = FeedbackKind.CLICK if chance.random() < 0.1 else FeedbackKind.VIEW
        event = FeedbackEvent(f"{name}-{number}", key, kind, at_ms + number // 100, kind.value, chance.choice(ITEMS),
                              placement="home.hero", channel="web")
        yield Encoded(key.encode(), avro.encode(FEEDBACK_EVENTS, event))


class Backlog:
    """Events on their way in, and how long until the worker has committed them all."""

    def __init__(self, cluster: Cluster, subjects: Subjects, name: str, count: int) -> None:
        self._began_s = time.monotonic()
        self._cluster, self.count = cluster, count
        self._sending = threading.Thread(target=cluster.send, args=(
            FEEDBACK_EVENTS.name, events(subjects, name, count, time.time_ns() // 1_000_000)))
        self._sending.start()

    def left(self) -> int:
        """Events that are not committed; more than there are, while they are being sent."""
        if self._sending.is_alive():
            return self.count
        return self._cluster.lag(self._cluster.settings.app_id, FEEDBACK_EVENTS)

    def per_s(self) -> float:
        """Events a second, from the first sent to now."""
        return self.count / (time.monotonic() - self._began_s)


def decided(parts: Parts, cluster: Cluster, seconds: float, number: int) -> dict[str, Any]:
    """Decisions through the bridge for so long."""
    result = parts.directory / f"client-{number}.json"
    order = Order(client.BRIDGE, cluster.settings.bootstrap, parts.http_port, RATE, seconds, WARM_S, SUBJECTS,
                  number * 1_000_000, number, str(result))
    parts.run("client", ["-m", "bench.client", json.dumps(asdict(order))], seconds + WARM_S + 60.0)
    found = json.loads(result.read_text("utf-8"))
    # What the bridge answered alone counts as never decided.
    latencies = Latencies(found["latencies_ms"], sum(found["errors"].values()))
    return {"p50_ms": latencies.percentile(50), "p95_ms": latencies.percentile(95),
            "p99_ms": latencies.percentile(99), "answers": latencies.count, "errors": found["errors"]}


def measure(count: int, directory: Path, say: Console) -> dict[str, Any]:
    """Alone and together, in turn."""
    with Parts(directory, lambda: None) as parts:
        broker = parts.start_broker(say.print)
        settings = Settings(bootstrap=broker.bootstrap)
        cluster = Cluster(settings)
        ensure_topics(settings)
        at_ms = time.time_ns() // 1_000_000
        run.publish(cluster, at_ms)
        parts.start_worker()
        parts.start_bridge()
        subjects = Subjects(settings, "asking", SUBJECTS)
        cluster.send(IDENTITY_EVENTS.name, subjects.known(at_ms))
        parts.wait("the subjects", lambda: not cluster.lag(settings.app_id, IDENTITY_EVENTS))
        decided(parts, cluster, CALM_S, 1)
        say.print(f"decisions alone, {CALM_S:.0f} s")
        calm = decided(parts, cluster, CALM_S, 2)
        say.print(f"{count:,} events alone")
        alone = Backlog(cluster, subjects, "alone", count)
        parts.wait("the backlog's end", lambda: not alone.left(), DRAINED_S_MAX)
        alone_per_s = alone.per_s()
        say.print(f"{count:,} events and decisions")
        beside = Backlog(cluster, subjects, "beside", count)
        lasts_s = max(10.0, 0.7 * count / alone_per_s)
        busy = decided(parts, cluster, lasts_s, 3)
        left = beside.left()
        parts.wait("the backlog's end", lambda: not beside.left(), DRAINED_S_MAX)
        beside_per_s = beside.per_s()
    return {"events": count, "rate": RATE, "calm": calm, "busy": busy, "left_when_decisions_ended": left,
            "alone_per_s": round(alone_per_s), "beside_per_s": round(beside_per_s),
            "p95_ratio": round(busy["p95_ms"] / calm["p95_ms"], 2), "speed_ratio": round(beside_per_s / alone_per_s, 2)}


def main(
    events: Annotated[int, typer.Option(help="How many lie there.")] = 1_000_000,
    results: Annotated[Path, typer.Option(help="Where the results go, as JSON.")] = RESULTS,
) -> None:
    """A backlog of events beside decisions."""
    parent.end_with_it()
    console = Console()
    directory = Path(tempfile.mkdtemp(prefix="nextbest-bench-"))
    found = measure(events, directory, console)
    shutil.rmtree(directory, ignore_errors=True)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    table = Table("", "without a backlog", f"behind {events:,} events")
    for name in ("p50_ms", "p95_ms", "p99_ms"):
        table.add_row(name, f"{found['calm'][name]:.1f}", f"{found['busy'][name]:.1f}")
    table.add_row("events/s", f"{found['alone_per_s']:,} (alone)", f"{found['beside_per_s']:,} (beside decisions)")
    console.print(table)
    console.print(f"p95 {found['p95_ratio']} ×, the backlog's speed {found['speed_ratio']} ×; written to {results}")


if __name__ == "__main__":
    typer.run(main)

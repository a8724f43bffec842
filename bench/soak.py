"""`python -m bench.soak [--minutes N]`: people who keep coming back. Latency, bytes per changelog write and the
worker's memory, minute by minute. Writes bench/results/soak.json and soak.svg.

150 decisions and 50 events a second over 3,000 subjects: in 25 minutes about 70 decisions and 22 events each.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from confluent_kafka import TopicPartition
from rich.console import Console
from rich.table import Table

from bench import client, run
from bench.client import Order
from bench.cluster import Cluster
from bench.inputs import Subjects
from bench.latencies import Latencies
from bench.memory import resident_bytes
from bench.parts import ROOT, Part, Parts
from pipeline.adapters import kafka
from pipeline.adapters.topic_admin import ensure_topics
from pipeline.codecs import avro
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.local import parent
from pipeline.settings import Settings
from topics.catalog import FEEDBACK_EVENTS, IDENTITY_EVENTS, PROFILES_BY_ID, SUBJECT_PARTITIONS

RESULTS: Final = ROOT / "bench" / "results" / "soak.json"
SUBJECTS: Final = 3_000
DECISIONS_PER_S: Final = 150
EVENTS_PER_S: Final = 50
MINUTE_S: Final = 60.0
#: Records of each partition's end that are looked at.
SAMPLE: Final = 100
#: What it is measured against; see docs/benchmarks.md.
WRITE_BYTES_MAX, P95_RATIO_MAX, RESIDENT_MIB_MAX = 5_000, 1.15, 400


@dataclass(frozen=True, slots=True)
class Minute:
    """One minute: latency of decisions through the bridge, mean size of the newest changelog records, memory."""

    p50_ms: float
    p95_ms: float
    errors: int
    write_bytes: int
    resident_mib: int


class Events(threading.Thread):
    """Views and clicks, at a steady pace, until told to stop."""

    def __init__(self, settings: Settings, subjects: Subjects) -> None:
        super().__init__(daemon=True)
        self._producer = kafka.producer(settings, "bench-events")
        self._subjects = subjects
        self._stop = threading.Event()

    def run(self) -> None:
        """Send what is due, every tenth of a second."""
        chance, number, began_s = random.Random(1), 0, time.monotonic()
        while not self._stop.wait(0.1):
            while number < (time.monotonic() - began_s) * EVENTS_PER_S:
                number += 1
                key = self._subjects.key(chance.randrange(SUBJECTS))
                kind = chance.choice((FeedbackKind.VIEW, FeedbackKind.VIEW, FeedbackKind.CLICK))
                event = FeedbackEvent(f"soak-{number}", key, kind, time.time_ns() // 1_000_000, kind.value,
                                      chance.choice(("boots_sale", "tent_guide")), placement="home.hero", channel="web")
                self._producer.produce(FEEDBACK_EVENTS.name, avro.encode(FEEDBACK_EVENTS, event), key.encode())
            self._producer.poll(0)

    def stop(self) -> None:
        """No more."""
        self._stop.set()
        self.join()
        self._producer.flush(10)


def write_bytes(cluster: Cluster) -> int:
    """The mean size of the changelog's newest records: of a subject's value, and of what is put beside it."""
    changelog = PROFILES_BY_ID.changelog(cluster.settings.app_id)
    consumer = kafka.consumer(cluster.settings, None, "bench-sizes")
    try:
        sizes: list[int] = []
        for number in range(SUBJECT_PARTITIONS):
            where = TopicPartition(changelog, number)
            low, high = consumer.get_watermark_offsets(where, timeout=10)
            consumer.assign([TopicPartition(changelog, number, max(low, high - SAMPLE))])
            sizes += [len(message.value() or b"") for message in consumer.consume(min(SAMPLE, high - low), timeout=5)
                      if message.error() is None]
        return round(sum(sizes) / len(sizes)) if sizes else 0
    finally:
        consumer.close()


def measure(minutes: int, directory: Path, console: Console) -> list[Minute]:
    """Minute by minute."""
    found: list[Minute] = []
    with Parts(directory, lambda: None) as parts:
        broker = parts.start_broker(console.print)
        settings = Settings(bootstrap=broker.bootstrap)
        cluster = Cluster(settings)
        ensure_topics(settings)
        at_ms = time.time_ns() // 1_000_000
        run.publish(cluster, at_ms)
        worker = parts.start_worker()
        parts.start_bridge()
        subjects = Subjects(settings, "asking", SUBJECTS)
        cluster.send(IDENTITY_EVENTS.name, subjects.known(at_ms))
        parts.wait("the subjects", lambda: not cluster.lag(settings.app_id, IDENTITY_EVENTS))
        _decided(parts, cluster, 20.0, 0)
        events = Events(settings, subjects)
        events.start()
        for number in range(1, minutes + 1):
            found.append(_minute(parts, cluster, worker, number))
            console.print(f"minute {number}: {found[-1]}", highlight=False)
        events.stop()
    return found


def _minute(parts: Parts, cluster: Cluster, worker: Part, number: int) -> Minute:
    result = _decided(parts, cluster, MINUTE_S, number)
    # What the bridge answered alone counts as never decided.
    errors = sum(result["errors"].values())
    latencies = Latencies(result["latencies_ms"], errors)
    return Minute(round(latencies.percentile(50), 2), round(latencies.percentile(95), 2), errors,
                  write_bytes(cluster), round(resident_bytes(worker.pid) / 2**20))


def _decided(parts: Parts, cluster: Cluster, seconds: float, number: int) -> dict[str, Any]:
    result = parts.directory / f"client-{number}.json"
    order = Order(client.BRIDGE, cluster.settings.bootstrap, parts.http_port, DECISIONS_PER_S, seconds, 0.5, SUBJECTS,
                  number * 1_000_000, number, str(result))
    parts.run("client", ["-m", "bench.client", json.dumps(asdict(order))], seconds + 60.0)
    found: dict[str, Any] = json.loads(result.read_text("utf-8"))
    return found


def summary(minutes: Sequence[Minute]) -> dict[str, Any]:
    """The figures that are judged. The end is as long as the beginning: two minutes."""
    first = sorted(one.p95_ms for one in minutes[:2])
    last = sorted(one.p95_ms for one in minutes[-2:])
    return {"p95_first_ms": round(sum(first) / len(first), 2), "p95_last_ms": round(sum(last) / len(last), 2),
            "p95_ratio": round(sum(last) / sum(first), 2), "write_bytes_last": minutes[-1].write_bytes,
            "resident_mib_max": max(one.resident_mib for one in minutes), "errors": sum(one.errors for one in minutes)}


def plot(minutes: Sequence[Minute]) -> str:
    """The three series as one SVG picture, each on its own scale from nought."""
    width, height, rows = 640, 150, ("p95_ms", "write_bytes", "resident_mib")
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 20} {len(rows) * (height + 30)}" '
             'font-family="sans-serif" font-size="12">']
    for row, name in enumerate(rows):
        values = [float(getattr(one, name)) for one in minutes]
        top, below = max(values) or 1.0, row * (height + 30) + height + 20
        step = width / max(1, len(values) - 1)
        points = " ".join(f"{10 + n * step:.1f},{below - value / top * height:.1f}" for n, value in enumerate(values))
        parts.append(f'<text x="10" y="{below - height - 4}">{name}: {values[0]:g} at first, {values[-1]:g} at last, '
                     f'scale 0 to {top:g}, {len(values)} minutes</text>')
        parts.append(f'<polyline fill="none" stroke="#06c" stroke-width="1.5" points="{points}"/>')
        parts.append(f'<line x1="10" y1="{below}" x2="{width + 10}" y2="{below}" stroke="#999"/>')
    return "\n".join([*parts, "</svg>", ""])


def main(
    minutes: Annotated[int, typer.Option(help="How long.", min=2)] = 25,
    results: Annotated[Path, typer.Option(help="Where the results go, as JSON; the plot beside it.")] = RESULTS,
) -> None:
    """People who keep coming back."""
    parent.end_with_it()
    console = Console()
    directory = Path(tempfile.mkdtemp(prefix="nextbest-soak-"))
    found = measure(minutes, directory, console)
    shutil.rmtree(directory, ignore_errors=True)
    figures = summary(found)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(figures | {"minutes": [asdict(one) for one in found]}, indent=2) + "\n", "utf-8")
    results.with_suffix(".svg").write_text(plot(found), "utf-8")
    table = Table("", "found", "at most")
    table.add_row("bytes per changelog write, at the end", f"{figures['write_bytes_last']:,}", f"{WRITE_BYTES_MAX:,}")
    table.add_row("p95 at the end / at first", f"{figures['p95_ratio']}", f"{P95_RATIO_MAX}")
    table.add_row("resident, MiB", f"{figures['resident_mib_max']}", f"{RESIDENT_MIB_MAX}")
    console.print(table)
    console.print(f"Written to {results} and {results.with_suffix('.svg').name}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)

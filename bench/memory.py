"""`python -m bench.memory [--profiles N]`: what a worker keeps resident that owns so many profiles, on a real broker.

The profiles come in as identity events; then some of them are asked for, at random. Measured are the
worker that took them in, and one that starts again on the same local state.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bench.cluster import Cluster
from bench.inputs import Subjects
from bench.parts import HOST, ROOT, Part, Parts
from bench.run import publish
from pipeline.adapters.topic_admin import ensure_topics
from pipeline.local import parent
from pipeline.runtime.ports import free_port
from pipeline.settings import Settings
from topics.catalog import DECISION_REQUESTS, IDENTITY_EVENTS

RESULTS: Final = ROOT / "bench" / "results" / "memory.json"
TARGET_GIB: Final = 0.8
#: Sent and taken in at a time, so that neither backlog nor broker grows with the number of profiles.
CHUNK: Final = 50_000
CHUNK_S_MAX: Final = 300.0
ASKED: Final = 20_000
GIB: Final = 1024**3


def main(
    profiles: Annotated[int, typer.Option(help="How many profiles.")] = 1_000_000,
    results: Annotated[Path, typer.Option(help="Where the results go, as JSON.")] = RESULTS,
) -> None:
    """Resident memory of one worker that owns every partition."""
    parent.end_with_it()
    directory = Path(tempfile.mkdtemp(prefix="nextbest-memory-"))
    with Parts(directory, lambda: None) as parts:
        found = _measure(parts, profiles)
    shutil.rmtree(directory, ignore_errors=True)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    typer.echo(json.dumps(found, indent=2))
    held = max(found["filled_gib"], found["asked_gib"], found["started_again_gib"])
    typer.echo(f"{'holds' if held <= TARGET_GIB else 'broken'}  {held:.2f} GiB at most, target {TARGET_GIB} GiB")


def _measure(parts: Parts, profiles: int) -> dict[str, Any]:
    broker = parts.start_broker(typer.echo)
    settings = Settings(bootstrap=broker.bootstrap)
    cluster = Cluster(settings)
    ensure_topics(settings)
    at_ms = time.time_ns() // 1_000_000
    publish(cluster, at_ms)
    port = free_port(HOST)
    worker = parts.start_worker(port=port)
    found: dict[str, Any] = {"profiles": profiles, "empty_gib": _resident_gib(worker)}
    started_s = time.perf_counter()
    subjects = Subjects(settings, "resident", profiles)
    for first in range(0, profiles, CHUNK):
        chunk = range(first, min(first + CHUNK, profiles))
        cluster.send(IDENTITY_EVENTS.name, subjects.known(at_ms, chunk))
        parts.wait("the profiles", lambda: not cluster.lag(settings.app_id, IDENTITY_EVENTS), CHUNK_S_MAX)
        typer.echo(f"{chunk.stop:,} profiles, {_resident_gib(worker):.2f} GiB")
    found["profiles_per_s"] = round(profiles / (time.perf_counter() - started_s))
    found["filled_gib"] = _resident_gib(worker)
    _ask(parts, cluster, subjects, 0)
    found["asked_gib"] = _resident_gib(worker)
    parts.end(worker)
    found["local_state_gib"] = _size_gib(parts.directory / "worker" / "state")
    worker = parts.start_worker(port=port)
    _ask(parts, cluster, subjects, 1)
    found["started_again_gib"] = _resident_gib(worker)
    return found


def _ask(parts: Parts, cluster: Cluster, subjects: Subjects, round_: int) -> None:
    """Decide for some of them, anywhere in the table."""
    chance = random.Random(round_)
    records = (
        record for number in (chance.randrange(subjects.count) for _ in range(ASKED))
        for _, record in subjects.requests(f"resident-{round_}-{chance.random()}", range(number, number + 1), 0)
    )
    cluster.send(DECISION_REQUESTS.name, records)
    parts.wait("the decisions", lambda: not cluster.lag(cluster.settings.app_id, DECISION_REQUESTS), CHUNK_S_MAX)


def resident_bytes(pid: int) -> int:
    """VmRSS of a process, files that it maps included."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _resident_gib(part: Part) -> float:
    return round(resident_bytes(part.pid) / GIB, 3)


def _size_gib(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / GIB, 3)


if __name__ == "__main__":
    typer.run(main)

"""Recovery: how long a worker without any local state needs to have every profile, beside Faust's own way.

Comes last in a run: it ends the worker that was measured.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any, Final

from bench.cluster import Cluster
from bench.parts import HOST, Part, Parts
from pipeline.runtime.ports import free_port

#: About how long both take.
RECOVERY_S: Final = 40.0
RECOVERY_S_MAX: Final = 600.0


def measure(parts: Parts, cluster: Cluster, worker: Part, beside: bool) -> dict[str, Any]:
    """Replace the worker by one that has nothing; then, if wanted, let plain Faust recover the same changelog."""
    parts.end(worker)
    port = free_port(HOST)
    again = parts.start_worker("worker again", port)
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
        metrics = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[:1] != "#")
    records = round(float(metrics["nextbest_recovered_records_total"]))
    seconds = float(metrics["nextbest_recovery_seconds"])
    found: dict[str, Any] = {
        "load": f"{records} changelog records, no local state",
        "records": records,
        "nextbest_s": round(seconds, 2),
        "nextbest_per_s": round(records / seconds),
        "faust_s": None,
        "faust_per_s": None,
    }
    if beside:
        parts.end(again)
        settings, result = cluster.settings, parts.directory / "faust-recovery.json"
        arguments = [settings.bootstrap, settings.app_id, str(parts.directory / "faust"), str(result)]
        parts.wait("the workers' group to be empty", lambda: not cluster.assigned(settings.app_id))
        parts.run("plain Faust", ["-m", "bench.faust_recovery", *arguments], RECOVERY_S_MAX)
        faust_s = json.loads(result.read_text("utf-8"))["seconds"]
        found |= {"faust_s": round(faust_s, 2), "faust_per_s": round(records / faust_s)}
    return found

"""What the figures were measured on: they mean little without it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import confluent_kafka

from bench import quix_env
from pipeline.runtime import jars

PACKAGES: Final = (
    "faust-streaming", "confluent-kafka", "rocksdict", "fastavro", "msgspec", "uvicorn", "cel-expr-python",
)


def facts(with_quix: bool) -> dict[str, Any]:
    """Machine and versions."""
    versions = {name: version(name) for name in PACKAGES}
    if with_quix:
        versions["quixstreams"] = quix_env.version()
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "kafka": jars.KAFKA.rpartition(":")[2],
        "librdkafka": confluent_kafka.libversion()[0],
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


class Steal:
    """The share of processor time that other machines on the same host took meanwhile; None where not told."""

    def __init__(self) -> None:
        self._before = _jiffies()

    def share(self) -> float | None:
        """Since the start."""
        before, now = self._before, _jiffies()
        if before is None or now is None or sum(now) == sum(before):
            return None
        return round((now[7] - before[7]) / (sum(now) - sum(before)), 3)


def _jiffies() -> list[int] | None:
    try:
        first = Path("/proc/stat").read_text("utf-8").splitlines()[0]
    except OSError:
        return None
    return [int(number) for number in first.split()[1:9]]

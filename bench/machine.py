"""What the figures were measured on: they mean little without it."""

from __future__ import annotations

import os
import platform
import resource
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import confluent_kafka

from bench import quix_env
from pipeline.local import jars

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


class Weather:
    """What else took processor time meanwhile: other machines on the same host, and other processes on this one."""

    def __init__(self) -> None:
        self._jiffies = _jiffies()
        self._own_s = _own_s()

    def shares(self) -> dict[str, float | None]:
        """Since the start, as shares of all processors' time; None where the system does not tell.

        Call when everything that was started has ended: only then is its time known.
        """
        before, now = self._jiffies, _jiffies()
        if before is None or now is None or sum(now) == sum(before):
            return {"stolen_share": None, "others_share": None}
        spent = [late - early for early, late in zip(before, now, strict=True)]
        user, nice, system, stolen = spent[0], spent[1], spent[2], spent[7]
        own = (_own_s() - self._own_s) * os.sysconf("SC_CLK_TCK")
        others = max(0.0, user + nice + system - own)
        return {"stolen_share": round(stolen / sum(spent), 3), "others_share": round(others / sum(spent), 3)}


def _own_s() -> float:
    """Processor time of this process and of everything it started that has ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _jiffies() -> list[int] | None:
    """user, nice, system, idle, iowait, irq, softirq, steal."""
    try:
        first = Path("/proc/stat").read_text("utf-8").splitlines()[0]
    except OSError:
        return None
    return [int(number) for number in first.split()[1:9]]

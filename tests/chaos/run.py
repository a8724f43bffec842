"""One run from start to verdict. Knows nothing of terminals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench.cluster import Cluster
from bench.latencies import Latencies
from bench.machine import facts
from pipeline.adapters.keys import key_encryption_of
from pipeline.codecs.encryption import KeyEncryption
from tests.chaos import stalls
from tests.chaos.callers_judged import how_answered, judge_callers, judge_caps, judge_commits
from tests.chaos.calls import Asked
from tests.chaos.families_judged import disks, judge_families
from tests.chaos.faults import Done, Faults
from tests.chaos.installation import ChaosError, Installation, StuckError
from tests.chaos.load import Load
from tests.chaos.logs import INPUTS, Logs, read
from tests.chaos.plan import Options, faults
from tests.chaos.zombies import Zombie, judge_zombies, zombies

REST_S_MAX: Final = 120.0


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told how the run goes on: what begins, and which share of the load was sent."""

    begin: Callable[[str], None]
    tick: Callable[[float], None]


def run(options: Options, folder: Path, watcher: Watcher) -> dict[str, Any]:
    """Attack an installation of its own and judge what is left; returns the results. Leaves no process behind.

    Raises ChaosError, StartupError; StuckError where the installation did not come to rest.
    """
    watcher.begin(f"Starting a broker, {options.workers} workers and {options.bridges} bridges")
    with Installation(options, folder) as installation:
        load = Load(options, [bridge.port for bridge in installation.bridges], installation.client, watcher.tick)
        attack = Faults(installation, faults(options))
        load_is = f"{options.requests:,} requests at {options.rate:g}/s"
        watcher.begin(f"{load_is}, {options.kills} kills, seed {options.seed}: {options.load_s:.0f} s")
        attack.start()
        try:
            load.run()
        finally:
            attack.finish()
        watcher.begin("Waiting for rest")
        _rest(installation)
        owners = {p: worker.data_dir for p, worker in installation.stop_workers().items()}
        watcher.begin("Reading what is left")
        logs = read(installation.settings)
        found = list(zombies(attack.done, logs, folder / "kafka" / "data", installation.settings.app_id))
    watcher.begin("Judging")
    wrong = list(_wrong(load, logs, owners, found, key_encryption_of(installation.settings)))
    return _results(options, load, attack.done, installation, logs, found, wrong)


def _rest(installation: Installation) -> None:
    """Until every partition is owned and every input is committed, twice in a row. Raises StuckError."""
    try:
        installation.wait("an owner for every partition", installation.shared)
    except ChaosError as error:
        raise StuckError(f"not at rest: {error}") from error
    cluster, group = Cluster(installation.settings), installation.settings.app_id

    def left() -> dict[str, int]:
        return {topic.name: lag for topic in INPUTS if (lag := cluster.lag(group, topic))}

    end_s, calm = time.monotonic() + REST_S_MAX, 0
    while calm < 2:
        installation.keep()
        behind = left()
        calm = 0 if behind else calm + 1
        if time.monotonic() > end_s:
            raise StuckError(f"not at rest after {REST_S_MAX:.0f} s of calm, records left: {behind}; "
                             f"the logs are in {installation.folder}")
        time.sleep(0.5)


def _wrong(
    load: Load, logs: Logs, owners: dict[int, Path], found: list[Zombie], key_encryption: KeyEncryption
) -> Iterator[str]:
    yield from judge_callers(load.told, logs)
    yield from judge_caps(logs)
    yield from judge_commits(logs)
    yield from judge_zombies(found, logs)
    for family, wrong in judge_families(load.families, logs, disks(owners), key_encryption):
        yield f"family {family[:-1]}: {wrong}"


def _results(
    options: Options, load: Load, done: list[Done], installation: Installation, logs: Logs, found: list[Zombie],
    wrong: list[str],
) -> dict[str, Any]:
    cost = list(stalls.stalls(done, load.told.asked, logs))
    return {
        "seed": options.seed,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "options": asdict(options),
        "wrong": wrong,
        "requests": {"sent": options.requests, "per_s": round(load.per_s, 1),
                     **how_answered(load.told, load.over_topics, logs)},
        "latency_ms": _latency(load.told.asked) | {"sent_late_max": round(load.late_ms_max)},
        "events": {"accepted over http": len(load.told.accepted), "sent again": load.told.sent_again},
        "identifiers": sum(len(family.subjects) for family in load.families),
        "families": len(load.families),
        "records": {topic: len(records) for topic, records in logs.records.items()} | {"changelog": logs.changes},
        "take_overs": len(logs.announcements),
        "faults": [asdict(one) for one in done],
        "stalls": stalls.summary(cost) | {"kills": [asdict(one) for one in cost]},
        "zombies": [asdict(one) for one in found],
        "stopped_by_themselves": [asdict(one) for one in installation.ended],
        "machine": facts(with_quix=False),
    }


def _latency(asked: list[Asked]) -> dict[str, float]:
    if not asked:
        return {}
    times = Latencies(one.at_ms - one.due_ms for one in asked)
    figures = {"p50": times.percentile(50), "p99": times.percentile(99), "max": times.longest}
    return {name: round(ms, 1) for name, ms in figures.items()}

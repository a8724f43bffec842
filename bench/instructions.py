"""`python -m bench.instructions`: processor instructions that a decision takes in memory, counted by valgrind.

The same in every hour, whatever else runs there: what `make bench` cannot tell of a small change on a shared machine.
Every state is read from the store anew, as with more subjects than a worker keeps opened.
It leaves out librdkafka, RocksDB, and what waits for memory. With the example policy; every subject is asked once a
round, and the first round is taken off, with everything before it.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

SUBJECTS: Final = 300
ROUNDS: Final = 5
PAUSE_MS: Final = 21_000
#: What a trait takes, with its name and time.
_TRAIT_BYTES: Final = 62
_COUNTED: Final = re.compile(r"I\s+refs:\s+([\d,]+)")


def work(rounds: int, more: int, policy: Path) -> None:
    """Decide for every subject so many times; all that is not deciding is the same for any number of rounds.

    `more`: bytes of traits besides, which no rule reads; what is known of a subject is read anew for each decision.
    """
    # Of the checkout that is measured, which need not be this one.
    from bench.inputs import Subjects
    from pipeline.codecs import avro
    from pipeline.flow import Record
    from pipeline.policy.load import load
    from pipeline.policy.publish import prepare
    from pipeline.runtime import lane
    from pipeline.runtime.memory import MemoryPipeline
    from pipeline.settings import Settings
    from pipeline.topology import FLOWS
    from topics.catalog import BY_NAME, DECISION_REQUESTS, IDENTITY_EVENTS
    from topics.partitions import subject_partition

    pipeline, settings = MemoryPipeline(FLOWS), Settings()
    subjects = Subjects(settings, "instructions", SUBJECTS)
    for out in prepare(load(policy), settings.tenant, {}, pipeline.clock.at_ms, "bench").records:
        pipeline.send(BY_NAME[out.topic], out.key, out.value, out.partition)
    for known in subjects.known(pipeline.clock.at_ms):
        pipeline.send(IDENTITY_EVENTS, known.key, known.value)
        if more:
            event = avro.decode(IDENTITY_EVENTS, known.value)
            besides = {f"trait_{n}": f"value {n} of {known.key.decode()[-24:]}" for n in range(more // _TRAIT_BYTES)}
            event = type(event)(f"{event.event_id}-more", event.subject, event.kind, event.at_ms, besides)
            pipeline.send(IDENTITY_EVENTS, known.key, avro.encode(IDENTITY_EVENTS, event))
    pipeline.run()
    lane.KEYS_CACHED_MAX = -1
    lane.PartitionLane._evict = _forget_all  # type: ignore[assignment]
    logs = pipeline.logs.setdefault(DECISION_REQUESTS.name, [[] for _ in range(DECISION_REQUESTS.partitions)])
    offsets = [0] * len(logs)
    waiting: list[list[Record]] = []
    for number in range(ROUNDS):
        at_ms = pipeline.clock.at_ms + number * PAUSE_MS
        waiting.append([])
        for _, one in subjects.requests(f"r{number}", range(number * SUBJECTS, (number + 1) * SUBJECTS), 0):
            to = subject_partition(one.key)
            waiting[-1].append(Record(DECISION_REQUESTS.name, to, offsets[to], at_ms, one.key, one.value, ()))
            offsets[to] += 1
    gc.collect()
    gc.freeze()
    gc.disable()
    for batch in waiting[:rounds]:
        for record in batch:
            logs[record.partition].append(record)
        pipeline.run()
        pipeline.clock.at_ms += PAUSE_MS


def _forget_all(lane: Any) -> None:
    """Keep nothing opened between two batches: as with more subjects than are kept."""
    lane._entries = {key: entry for key, entry in lane._entries.items() if entry.step}


def measure(checkout: Path, more: int, policy: Path) -> int:
    """Instructions per decision with the code of a checkout and the packages of its environment."""
    counts = []
    for rounds in (1, ROUNDS):
        done = subprocess.run(
            ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
             str(checkout / ".venv/bin/python"), "-P", __file__, "--work", str(rounds), "--more", str(more),
             "--policy", str(policy)],
            cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout), "PYTHONHASHSEED": "0"},
            capture_output=True, text=True,
        )
        found = _COUNTED.search(done.stderr)
        if done.returncode or found is None:
            sys.exit(f"nothing was counted in {checkout}:\n{done.stderr[-1500:]}")
        counts.append(int(found[1].replace(",", "")))
    return (counts[1] - counts[0]) // (SUBJECTS * (ROUNDS - 1))


def main(
    beside: Annotated[
        Path | None, typer.Option(help="Compare with another checkout, which has its .venv.", exists=True)
    ] = None,
    more: Annotated[int, typer.Option(help="Bytes more that are known of each, which nothing reads.")] = 0,
    policy: Annotated[
        Path | None, typer.Option(help="Decide by this policy here; default: the example.", exists=True)
    ] = None,
    rounds: Annotated[int, typer.Option("--work", hidden=True)] = 0,
) -> None:
    """Instructions per decision; a minute for each checkout."""
    if rounds:
        work(rounds, more, policy or Path("policy"))
        return
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is missing: install it (Debian, Ubuntu: apt install valgrind)")
    example = Path("policy")
    own = measure(Path(__file__).absolute().parents[1], more, example if policy is None else policy.absolute())
    print(f"{own:,} instructions per decision")
    if beside is not None:
        other = measure(beside.absolute(), more, example)
        print(f"{other:,} in {beside}: {own / other:.3f} × as many here")


if __name__ == "__main__":
    typer.run(main)

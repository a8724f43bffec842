"""`make sim`: many seeds on every core; `make sim SEED=123`: one seed, told step by step."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.sim.policies import policies
from tests.sim.run import Finding, examine, examine_all

SEEDS = 10_000
CHUNK = 100


def main() -> int:
    """Exit code 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed alone and print what happens in it")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    if options.seed is not None:
        return _tell(options.seed)
    return _run(options.first, options.seeds, options.jobs)


def _tell(seed: int) -> int:
    finding = examine(seed, trace=True)
    print("\n".join(finding.trace))
    print(f"\nseed {seed}: {_verdict(finding)}")
    return 1 if finding.wrong else 0


def _verdict(finding: Finding) -> str:
    return "every promise kept" if not finding.wrong else "\n  " + "\n  ".join(finding.wrong)


def _run(first: int, count: int, jobs: int) -> int:
    started_s = time.monotonic()
    policies()  # before the processes part: compiled once, and an error in it is told here
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    failed = 0
    with ProcessPoolExecutor(jobs) as pool:
        for done, findings in enumerate(_in_order(pool, chunks), 1):
            for finding in findings:
                failed += 1
                print(f"seed {finding.seed}: {_verdict(finding)}\n  replay it: make sim SEED={finding.seed}")
                sys.stdout.flush()
            if done % 10 == 0 or done == len(chunks):
                print(f"{min(done * CHUNK, count):>7,} seeds, {failed} failed, {time.monotonic() - started_s:.0f} s",
                      file=sys.stderr, flush=True)
    print(f"{count:,} seeds from {first}: {failed} failed")
    return 1 if failed else 0


def _in_order(pool: ProcessPoolExecutor, chunks: list[range]) -> Iterator[list[Finding]]:
    yield from pool.map(examine_all, chunks)


if __name__ == "__main__":
    sys.exit(main())

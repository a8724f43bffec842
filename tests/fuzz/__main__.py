"""`make fuzz`: a running installation under odd inputs for a bounded time; see `tests.fuzz.rounds`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from pipeline.local import parent
from tests.fuzz.installation import Broken, installed
from tests.fuzz.rounds import Rounds


def main() -> int:
    """Exit code 1 where something was found."""
    options = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    options.add_argument("--minutes", type=float, default=15.0, help="how long")
    options.add_argument("--seed", type=int, default=None, help="chooses the inputs; default: of the time")
    chosen = options.parse_args()
    parent.end_with_it()
    seed = chosen.seed if chosen.seed is not None else time.time_ns() % 10**9
    print(f"seed {seed}", flush=True)
    begun_s, count = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="nextbest-fuzz-") as folder, installed(Path(folder)) as there:
        rounds = Rounds(there, random.Random(seed))
        try:
            while time.monotonic() - begun_s < 60 * chosen.minutes:
                rounds.one()
                count += 1
                print(f"  {count} rounds, {rounds.calls:,} calls, {rounds.records:,} records, "
                      f"{time.monotonic() - begun_s:.0f} s", flush=True)
        except Broken as error:
            print(f"found, with seed {seed} in round {count + 1}:\n{error}")
            return 1
    print(f"nothing found: {count} rounds, {rounds.calls:,} calls, {rounds.records:,} records")
    return 0


if __name__ == "__main__":
    sys.exit(main())

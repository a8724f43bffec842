"""`make mutants`: plants a random sample of small bugs, one at a time, and counts those that the tests notice.

mutmut (https://mutmut.readthedocs.io) makes the mutants and runs, for each, only the tests that reach its function.
What survives is tried again in a fresh process, as code that runs at import was not replaced the first time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Final

from mutmut.__main__ import copy_also_copy_files, copy_src_dir, create_mutants, setup_source_paths, status_by_exit_code
from mutmut.configuration import Config

from tests.mutation import report
from tests.mutation.mutant import Mutant, read

HERE: Final = Path(__file__).parent
PROCESSES: Final = 2
#: Command lines have a limit, and a run that is interrupted loses one portion only.
PORTION: Final = 100
RERUN_SECONDS: Final = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if at least `--least` percent of the judged mutants were noticed, 1 otherwise."""
    asked = _parser().parse_args(arguments)
    names = sorted(_names(asked.only))
    equivalent = _equivalent()
    drawn = list(islice(_drawn(names, asked.seed), asked.sample))
    left_out = [mutant for mutant in drawn if (mutant.function, mutant.removed, mutant.added) in equivalent]
    judged = [mutant for mutant in drawn if mutant not in left_out]
    print(f"{len(names)} mutants, {len(drawn)} drawn (seed {asked.seed}), {len(left_out)} equivalent", flush=True)
    outcomes = dict(_kept(judged)) if asked.go_on else {}
    outcomes |= dict(_run([mutant for mutant in judged if mutant.name not in outcomes]))
    survivors = [mutant for mutant in judged if outcomes[mutant.name] in ("survived", "no tests")]
    with ThreadPoolExecutor(PROCESSES) as pool:
        for mutant, noticed in zip(survivors, pool.map(_noticed_afresh, survivors), strict=True):
            outcomes[mutant.name] = "killed" if noticed else "survived"
    result = report.Result(asked.seed, len(names), judged, left_out, outcomes)
    print(report.text(result))
    if asked.write:
        report.write(result)
    return 0 if result.percent >= asked.least else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make mutants ARGS=", description=__doc__)
    parser.add_argument("--sample", type=int, default=400, help="how many mutants to draw (default: 400)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default: 1)")
    parser.add_argument("--only", default="", help="only files whose path has this in it: --only core/decide/caps.py")
    parser.add_argument("--least", type=float, default=90, help="percent that must be noticed (default: 90)")
    parser.add_argument("--go-on", action="store_true", help="keep the outcomes of a run of this code that was stopped")
    parser.add_argument("--write", action="store_true", help="write the result to docs/mutation-score.md")
    return parser


def _names(only: str) -> Iterator[tuple[str, Path]]:
    """Name and file of every mutant there is."""
    os.environ["MUTANT_UNDER_TEST"] = "mutant_generation"
    Config.ensure_loaded()
    Path("mutants").mkdir(exist_ok=True)
    with redirect_stdout(StringIO()):
        copy_src_dir()
        copy_also_copy_files()
        setup_source_paths()
        create_mutants(PROCESSES)
    for meta in sorted(Path("mutants").rglob("*.py.meta")):
        path = meta.relative_to("mutants").with_suffix("")
        if only in str(path):
            yield from ((name, path) for name in json.loads(meta.read_text())["exit_code_by_key"])


def _drawn(names: Sequence[tuple[str, Path]], seed: int) -> Iterator[Mutant]:
    """The mutants in an order of chance, without those that change only a text for people."""
    for name, path in random.Random(seed).sample(names, len(names)):
        mutant, is_text = read(name, path)
        if not is_text:
            yield mutant


def _equivalent() -> set[tuple[str, str, str]]:
    entries = tomllib.loads((HERE / "equivalent.toml").read_text()).get("mutant", [])
    return {(entry["function"], entry["removed"], entry["added"]) for entry in entries}


def _kept(mutants: Sequence[Mutant]) -> Iterator[tuple[str, str]]:
    """Name and outcome of each mutant that has one from before."""
    for path in {mutant.path for mutant in mutants}:
        codes = json.loads(Path(f"mutants/{path}.meta").read_text())["exit_code_by_key"]
        for mutant in mutants:
            if mutant.path == path and codes[mutant.name] is not None:
                yield mutant.name, status_by_exit_code[codes[mutant.name]]


def _run(mutants: Sequence[Mutant]) -> Iterator[tuple[str, str]]:
    """Name and outcome of each mutant, in mutmut's words."""
    for start in range(0, len(mutants), PORTION):
        portion = mutants[start : start + PORTION]
        names = [mutant.name for mutant in portion]
        with open("mutants/last-run.log", "w") as log:
            done = subprocess.run(
                [sys.executable, "-m", "mutmut", "run", "--max-children", str(PROCESSES), *names], stdout=log,
                stderr=subprocess.STDOUT, check=False,
            )
        if done.returncode != 0:
            raise SystemExit(f"mutmut ended with {done.returncode}: see mutants/last-run.log")
        codes: dict[str, int | None] = {}
        for path in {mutant.path for mutant in portion}:
            codes |= json.loads(Path(f"mutants/{path}.meta").read_text())["exit_code_by_key"]
        for name in names:
            yield name, status_by_exit_code[codes[name]]
        print(f"{start + len(portion)} of {len(mutants)} run", flush=True)


def _noticed_afresh(mutant: Mutant) -> bool:
    """Whether its tests notice it in a process that imports the mutant."""
    statistics = json.loads(Path("mutants/mutmut-stats.json").read_text())
    mangled = mutant.name.rpartition("__mutmut_")[0]
    durations = statistics["duration_by_test"]
    reached = statistics["tests_by_mangled_function_name"].get(mangled, [])
    tests = sorted(reached or durations, key=lambda test: float(durations[test]))
    listed = Path(f"mutants/tests-of-{mangled.rpartition('.')[2]}.txt")
    listed.write_text("\n".join(tests))
    options = Config.get().pytest_add_cli_args
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", *options, f"@{listed.name}"], cwd="mutants", check=False,
            env={**os.environ, "MUTANT_UNDER_TEST": mutant.name}, capture_output=True, timeout=RERUN_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.chaos.mutated MUTANT`: a worker with one of its safeguards taken out, to see that it is missed."""

from __future__ import annotations

import sys

from pipeline.cli.main import app
from tests.sim.mutants import MUTANTS

if __name__ == "__main__":
    with MUTANTS[sys.argv[1]]():
        app(["worker"])

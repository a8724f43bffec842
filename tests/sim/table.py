"""The table of planted bugs in docs/simulation.md: which seed finds each. Run as a program, it is made again."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sim.mutants import MUTANTS
from tests.sim.run import examine

DOCUMENT = Path(__file__).parents[2] / "docs" / "simulation.md"
SEEDS_MAX = 10_000
_BEGIN, _END = "<!-- planted bugs:begin -->\n", "<!-- planted bugs:end -->\n"


def caught() -> dict[str, int]:
    """Safeguard → the first seed that misses it, as the document has it."""
    rows = re.findall(r"^\| (.+?) \| (\d+) \| ", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: int(seed) for name, seed in rows}


def main() -> None:
    """Look for the first seed of each planted bug; takes some minutes."""
    rows = ["| safeguard taken out | seed | what is wrong then |", "|---|---|---|"]
    for name, mutant in MUTANTS.items():
        row = f"| {name} | not found in {SEEDS_MAX:,} seeds | |"
        for seed in range(SEEDS_MAX):
            with mutant():
                wrong = examine(seed).wrong
            if wrong:
                row = f"| {name} | {seed} | {_short(wrong[0])} |"
                break
        print(row, flush=True)
        rows.append(row)
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN)
    DOCUMENT.write_text(before + _BEGIN + "\n".join(rows) + "\n" + _END + rest.split(_END)[1], encoding="utf-8")


def _short(text: str) -> str:
    return re.sub(r":? lag .*", "", text.replace("|", "/"))[:110]


if __name__ == "__main__":
    main()

"""What a mutation run found: the score as a whole and by folder, and every survivor with its change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutation.mutant import Mutant

PAGE: Final = Path("docs/mutation-score.md")
_ENTRY: Final = "- `{function}`: `{removed}` → `{added}`"


@dataclass(frozen=True, slots=True)
class Result:
    """Judged mutants with their outcomes (`killed`, `survived`, `timeout`, …) by name; `total`: all that there are,
    those of texts included, which are never judged."""

    seed: int
    total: int
    judged: Sequence[Mutant]
    left_out: Sequence[Mutant]
    outcomes: Mapping[str, str]

    @property
    def survivors(self) -> list[Mutant]:
        return [mutant for mutant in self.judged if self.outcomes[mutant.name] == "survived"]

    @property
    def percent(self) -> float:
        """Noticed mutants of a hundred judged; a run of tests that hangs has noticed."""
        return 100 * (1 - len(self.survivors) / len(self.judged)) if self.judged else 0.0


def text(result: Result) -> str:
    """The result for a terminal and for the page."""
    noticed = len(result.judged) - len(result.survivors)
    lines = [
        f"Seed {result.seed}: {len(result.judged)} of {result.total} mutants judged, {noticed} noticed: "
        f"**{result.percent:.1f} %**; {len(result.left_out)} more drawn and left out as equivalent.", "",
        "| folder | judged | noticed | score |", "|---|---|---|---|",
    ]
    survived = Counter(_folder(mutant) for mutant in result.survivors)
    for folder, judged in sorted(Counter(_folder(mutant) for mutant in result.judged).items()):
        noticed = judged - survived[folder]
        lines.append(f"| `{folder}` | {judged} | {noticed} | {100 * noticed / judged:.0f} % |")
    lines += ["", "Survivors:" if result.survivors else "No survivors.", ""]
    for mutant in result.survivors:
        removed, added = (part.replace("\n", " ⏎ ") for part in (mutant.removed, mutant.added))
        lines.append(_ENTRY.format(function=mutant.function, removed=removed, added=added))
    return "\n".join(lines)


def write(result: Result) -> None:
    """Put the result between the page's markers."""
    before, _, rest = PAGE.read_text().partition("<!-- score:begin -->\n")
    after = rest.partition("<!-- score:end -->")[2]
    PAGE.write_text(f"{before}<!-- score:begin -->\n{text(result)}\n<!-- score:end -->{after}")


def _folder(mutant: Mutant) -> str:
    return str(Path(mutant.path).parent)

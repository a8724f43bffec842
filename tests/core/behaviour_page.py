"""The page `docs/behaviour.md`, made from the cases: `python -m tests.core.behaviour_page` writes it anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .stories import tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "behaviour.md"
_INTRO = """# Rules of behaviour

What the engine does, rule by rule, with the examples that hold it to it. Every line below is a test: the tables are
`tests/cases/*.json`, and `python -m tests.core.behaviour_page` makes this page of them. {count} examples.

In the stories, a subject asks for the placement `hero` on the channel `web` unless something else is said, has agreed
to everything, and `a`, `b`, `c` are items of the catalog. `→ a` means that `a` was decided; `→ welcome (capped)` is
the placement's fallback and its reason. `time` looks at the subject's segments at that moment, `wait` lets the worker
look whenever a look has become due meanwhile, `release` makes a changed policy live.
The subject `joins` and `leaves` a firm, in roles; `firm` says what is so of one; a `colleague` is another member of
the subject's firms. `journey` says where in one the subject is: its stage, and in parentheses how it ended; `renamed`
makes a release live that calls the stages `a` and `b` otherwise, `without` one without that section.
"""


def page() -> str:
    """The whole page."""
    found = tables()
    parts = [_INTRO.format(count=sum(len(group["rows"]) for table in found for group in table["groups"]))]
    for table in found:
        parts.append(f"\n## {table['title']}\n")
        for group in table["groups"]:
            parts.append(f"\n### {group['states']}\n")
            given = _given(group)
            if given:
                parts.append(f"\nGiven {given}.\n")
            parts.append(_stories(group) if table["kind"] == "story" else _table(table, group))
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _given(group: dict[str, Any]) -> str:
    return "; ".join(f"{name} {_code(value)}" for name, value in group.items() if name not in ("states", "rows"))


def _table(table: dict[str, Any], group: dict[str, Any]) -> str:
    lines = ["| " + " | ".join(table["columns"]) + " |", "|" + "---|" * len(table["columns"])]
    lines += ["| " + " | ".join(_code(cell) for cell in row) + " |" for row in group["rows"]]
    return "\n".join(lines)


def _stories(group: dict[str, Any]) -> str:
    return "\n".join(_story(row) for row in group["rows"])


def _story(row: dict[str, Any]) -> str:
    extra = "; ".join(f"{name} {_code(value)}" for name, value in row.items() if name not in ("say", "steps"))
    steps = ", ".join(_step(step) for step in row["steps"])
    return f"- **{row['say']}**: {steps}" + (f" — with {extra}" if extra else "")


def _step(step: list[Any]) -> str:
    when, what, *details = step
    nothing = "outside" if what.startswith("journey ") else "nobody"
    came = next((f" → {one or nothing}" for one in details if isinstance(one, str)), "")
    options = next((f" {_code(one)}" for one in details if isinstance(one, dict)), "")
    return f"{when} {what}{options}{came}"


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`".replace("|", "\\|") if text else "(empty)"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")

"""The table of problem types in docs/http-api.md, from `pipeline/bridge/problems.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pipeline.bridge.problems import KINDS

PAGE: Final = Path(__file__).resolve().with_name("http-api.md")
BEGIN: Final = "<!-- problems:begin -->\n"
END: Final = "<!-- problems:end -->"


def page() -> str:
    """docs/http-api.md with the table between its marks as it should be."""
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{table()}\n{END}{after}"


def table() -> str:
    """One row per type, in the order of its status."""
    rows = ["| status | `type` | what to do |", "|---|---|---|"]
    kinds = sorted(KINDS, key=lambda kind: kind.status)
    return "\n".join([*rows, *(f"| {kind.status} | `{kind.type}` | {kind.title}. {kind.advice} |" for kind in kinds)])

"""`python -m docs.generate`: writes every generated page of the documentation anew. A test fails when one is stale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from docs import problems_table, topics_page, topology_diagram

ROOT: Final = Path(__file__).resolve().parents[1]

#: Each generated file and what makes it.
PAGES: Final[dict[str, Callable[[], str]]] = {
    "docs/topics.md": topics_page.page,
    "docs/http-api.md": problems_table.page,
    "ARCHITECTURE.md": topology_diagram.page,
}


def main() -> None:
    """Write the pages that changed; say which."""
    for name, make in PAGES.items():
        path, text = ROOT / name, make()
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    main()

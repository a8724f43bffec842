"""Generated pages are what the code says now."""

from __future__ import annotations

import pytest

from docs.generate import PAGES, ROOT


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == PAGES[name](), f"{name} is stale: run `make docs`"

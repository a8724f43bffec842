"""Each bound of docs/limits.md names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [line for line in (ROOT / "docs" / "limits.md").read_text("utf-8").splitlines() if line.startswith("| ")]


def test_every_bound_names_a_test_that_goes_past_it() -> None:
    rows = [row for row in ROWS if not row.startswith("| bound")]
    assert len(rows) >= 18
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        assert tests, row
        for file, name in tests:
            text = (ROOT / file).read_text("utf-8")
            assert not name or f"def {name}(" in text, f"{file} has no {name}"

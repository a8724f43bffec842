"""The pytest plugin of mutation runs: deterministic property tests, and node ids where mutmut looks for them."""

from __future__ import annotations

import hypothesis
import pytest

# A mutant must not survive or die by chance: every run draws the same examples.
hypothesis.settings.register_profile("mutation", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("mutation")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """mutmut 3.7 reads `_nodeid`; pytest 9.2 keeps it under its public name only."""
    for item in items:
        item._nodeid = item.nodeid  # type: ignore[attr-defined]

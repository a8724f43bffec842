"""The pytest plugin of mutation runs: deterministic property tests, and node ids where mutmut looks for them."""

from __future__ import annotations

import hypothesis
import pytest

# A mutant must not survive or die by chance: every run draws the same examples.
hypothesis.settings.register_profile("mutation", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("mutation")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """mutmut runs pytest several times in one process; pytest 9.2 escapes ids that it made for the run before once
    more, and does not find them again."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        if mark._param_ids_from is not None:
            object.__setattr__(mark._param_ids_from, "_param_ids_generated", None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """mutmut 3.7 reads `_nodeid`; pytest 9.2 keeps it under its public name only."""
    for item in items:
        item._nodeid = item.nodeid  # type: ignore[attr-defined]

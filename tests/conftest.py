"""What every test may use."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from pipeline.local import parent
from tests.support.broker import bootstrap

__all__ = ["bootstrap"]

# How long one example takes says nothing on a machine that others use too.
settings.register_profile("nextbest", deadline=None)
settings.load_profile("nextbest")

# Brokers of tests live for a minute: what Java compiles for hours would take longer than it saves.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")


def pytest_configure(config: pytest.Config) -> None:
    """A test run ends with what started it, where that is asked for (`make test` does), and in order."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parent.end_with_it()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` runs in two processes: one begins with the tests that share a broker, one after the other, the other
    one with those that start an installation of their own; whichever is done takes the rest."""
    for item in items:
        if item.get_closest_marker("broker") is not None:
            shares = isinstance(item, pytest.Function) and "bootstrap" in item.fixturenames
            item.add_marker(pytest.mark.xdist_group("broker" if shares else "installations"))

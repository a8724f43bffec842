"""What every test may use."""

from __future__ import annotations

import signal

import pytest

from pipeline.runtime import parent
from tests.support.broker import bootstrap

__all__ = ["bootstrap"]


def pytest_configure(config: pytest.Config) -> None:
    """A test run ends with what started it, where that is asked for (`make test` does), and in order."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parent.end_with_it()

"""What keeps a process from starting for a reason that its operator can do something about."""

from __future__ import annotations


class StartupError(Exception):
    """One sentence that says what is wrong and what to do; shown without a traceback."""

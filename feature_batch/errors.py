"""What keeps features in batch from going on, for a reason that its operator can do something about."""

from __future__ import annotations

from pipeline.runtime.errors import StartupError


class FeatureBatchError(StartupError):
    """One sentence that says what is wrong and what to do; shown without a traceback."""

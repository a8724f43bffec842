"""Why bytes could not become a value, or a value bytes: one exception with a reason and advice for the producer."""

from __future__ import annotations

from pipeline.flow import Reason


class CodecError(ValueError):
    """Bad data, not a bug: `reason` is a dead-letter reason, `detail` tells the producer what to do."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

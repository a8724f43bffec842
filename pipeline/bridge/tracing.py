"""W3C trace context: the caller's `traceparent` goes with the record; where there is none, a trace begins here."""

from __future__ import annotations

import os
import re
from typing import Final

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def headers_for(traceparent: str | None) -> tuple[tuple[str, bytes], ...]:
    """The record's headers. A malformed one is replaced, as the standard asks."""
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        traceparent = f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"
    return (("traceparent", traceparent.encode()),)

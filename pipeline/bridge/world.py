"""What the bridge must know of the live policy: names to check, and what to show when the pipeline is not there."""

from __future__ import annotations

from typing import Protocol

from pipeline.core.live import Live
from pipeline.core.model import Chosen


class World(Protocol):
    """The policies as last published; kept up from another thread. Never blocks for the network."""

    def live(self, tenant: str) -> Live | None:
        """The tenant's live release, or None where nothing was published yet."""

    def fallback(self, tenant: str, placement: str) -> list[Chosen]:
        """The placement's declared fallback."""

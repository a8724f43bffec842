"""What the bridge must know of the live policy: names to check, and what to show when the pipeline is not there."""

from __future__ import annotations

from typing import Protocol

from pipeline.core.decide.live import Live
from pipeline.core.model.records import Chosen


def no_policy(world: World, tenant: str | None) -> str | None:
    """Why nothing can be decided for a tenant (None: for anybody), or None. One tenant without a policy is its own
    matter: it must not take the bridge from all the others."""
    if tenant is not None:
        return None if world.live(tenant) is not None else (
            f"tenant {tenant[:63]} has no live policy: `nextbest policy publish <folder> --tenant …`")
    if any(world.live(name) is not None for name in world.tenants()):
        return None
    return "no tenant has a live policy: `nextbest policy publish <folder>`"


class World(Protocol):
    """The policies as last published; kept up from another thread. Never blocks for the network."""

    def live(self, tenant: str) -> Live | None:
        """The tenant's live release, or None where nothing was published yet."""

    def tenants(self) -> tuple[str, ...]:
        """Every tenant of which anything was published."""

    def fallback(self, tenant: str, placement: str) -> list[Chosen]:
        """The placement's declared fallback."""

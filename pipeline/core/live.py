"""What is live for one tenant: the compiled release and the catalog at a version, arranged for looking up.

Made once per release or catalog change; deciding only reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipeline.core.caps import uses
from pipeline.core.catalog import item_reads
from pipeline.core.definitions import Cap, CapUse, Item, Placement, Policy, Variant


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item on one placement and channel, with what is known beforehand: its variants there and its counters."""

    item: Item
    variants: tuple[Variant, ...]
    caps: tuple[CapUse, ...]


@dataclass(frozen=True, slots=True)
class Live:
    """One tenant's release and catalog. Immutable: a change makes a new one."""

    tenant: str
    release: str
    catalog_version: int
    policy: Policy
    items: dict[str, Item]
    #: (placement, channel) → candidates in the order of their ids, whatever order the catalog came in.
    slots: dict[tuple[str, str], tuple[Candidate, ...]]
    caps: dict[str, Cap]


def arrange(tenant: str, policy: Policy, items: Iterable[Item], catalog_version: int) -> Live:
    """The release and items as deciding wants them."""
    ordered = sorted(items, key=lambda item: item.id)
    policy = replace(policy, reads=policy.reads.union(*(item_reads(item) for item in ordered)))
    slots = {
        (placement.id, channel): tuple(_candidates(policy, ordered, placement, channel))
        for placement in policy.placements.values() for channel in sorted(placement.channels)
    }
    return Live(tenant, policy.release, catalog_version, policy, {item.id: item for item in ordered}, slots,
                {cap.id: cap for cap in policy.caps})


def _candidates(policy: Policy, items: list[Item], placement: Placement, channel: str) -> Iterable[Candidate]:
    for item in items:
        if item.placements and placement.id not in item.placements:
            continue
        if item.channels and channel not in item.channels:
            continue
        variants = tuple(
            variant for variant in item.variants
            if (not variant.placements or placement.id in variant.placements)
            and (not variant.channels or channel in variant.channels)
        )
        if variants:
            yield Candidate(item, variants, uses(policy.caps, item, placement.id, channel))

"""What is live for one tenant: the compiled release and the catalog at a version, arranged for looking up.

Made once per release or catalog change; deciding only reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipeline.core import caps
from pipeline.core.catalog import item_reads
from pipeline.core.definitions import (
    Cap,
    CapUse,
    Experiment,
    Holdout,
    Item,
    Placement,
    Policy,
    Rest,
    Variant,
)
from pipeline.core.rules import Rule


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item on one placement and channel, with what is known beforehand: its variants there and what may stop it."""

    item: Item
    variants: tuple[Variant, ...]
    #: Stage, outcome and rule of the levels that have one.
    rules: tuple[tuple[str, str, Rule], ...]
    #: Whether it has a validity or an inventory.
    limited: bool
    caps: tuple[CapUse, ...]
    rests: tuple[tuple[Rest, str], ...]
    experiments: tuple[Experiment, ...]
    holdouts: tuple[Holdout, ...]


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
    rests: dict[str, Rest]


def arrange(tenant: str, policy: Policy, items: Iterable[Item], catalog_version: int) -> Live:
    """The release and items as deciding wants them."""
    ordered = sorted(items, key=lambda item: item.id)
    policy = replace(policy, reads=policy.reads.union(*(item_reads(item) for item in ordered)))
    slots = {
        (placement.id, channel): tuple(
            candidate for item in ordered
            if (candidate := candidate_for(policy, item, placement, channel, listed=True)) is not None
        )
        for placement in policy.placements.values() for channel in sorted(placement.channels)
    }
    return Live(tenant, policy.release, catalog_version, policy, {item.id: item for item in ordered}, slots,
                {cap.id: cap for cap in policy.caps}, {rest.id: rest for rest in policy.rests})


def candidate_for(
    policy: Policy, item: Item, placement: Placement, channel: str, listed: bool = False
) -> Candidate | None:
    """The item as a candidate there; None where it has no variant. `listed`: only where the item asks to be shown."""
    if listed and ((item.placements and placement.id not in item.placements)
                   or (item.channels and channel not in item.channels)):
        return None
    variants = tuple(
        variant for variant in item.variants
        if (not variant.placements or placement.id in variant.placements)
        and (not variant.channels or channel in variant.channels)
    )
    if not variants:
        return None
    levels = (
        ("eligibility", "not_eligible", item.eligibility), ("applicability", "not_applicable", item.applicability),
        ("suitability", "not_suitable", item.suitability),
    )
    return Candidate(
        item, variants, tuple((stage, outcome, rule) for stage, outcome, rule in levels if rule is not None),
        any(limit is not None for limit in (item.valid_from_ms, item.valid_until_ms, item.inventory)),
        caps.uses(policy.caps, item, placement.id, channel),
        tuple((rest, key) for rest in policy.rests if caps.reaches(rest.reach, item, placement.id, channel)
              for key in caps.keys(rest, item, placement.id, channel)),
        tuple(one for one in policy.experiments if caps.reaches(one.reach, item, placement.id, channel)),
        tuple(one for one in policy.holdouts if caps.reaches(one.reach, item, placement.id, channel)),
    )

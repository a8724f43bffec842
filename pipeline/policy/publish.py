"""A checked folder as the records that make it live. Encodes; sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pipeline.codecs import avro
from pipeline.core.model.records import CatalogItem, PolicyRelease
from pipeline.core.release.versions import ACTIVE
from pipeline.policy.load import Checked
from pipeline.ports import Outbound
from topics.catalog import CATALOG_ITEMS, POLICY_RELEASES

#: More items removed at once than this share, and no fewer than so many, is doubted.
SWEEPING_SHARE: Final = 0.2
SWEEPING_MIN: Final = 10


@dataclass(frozen=True, slots=True)
class Publication:
    """The records, in the order in which they must be acknowledged, and what they change."""

    records: tuple[Outbound, ...]
    release: str
    changed_items: int
    removed_items: int
    #: Whether it removes so much of the catalog that somebody should say so again.
    sweeping: bool = False


def prepare(
    checked: Checked, tenant: str, present: Mapping[str, str], at_ms: int, by: str,
    counted: Mapping[str, tuple[int, int]] = MappingProxyType({}),
) -> Publication:
    """The release, what changed in the catalog, and the activation, last.

    :param present: the catalog's bodies as published before.
    :param counted: each behaviour key of the live release: when it began to be counted, and up to how many are kept;
        one of which more are to be kept begins now, as any other does.
    """
    release = PolicyRelease(tenant, checked.release, checked.body, at_ms, by)
    records = [_release(f"{tenant}/{checked.release}", release)]
    changed = {name: body for name, body in checked.items.items() if present.get(name) != body}
    for name, body in changed.items():
        value = avro.encode(CATALOG_ITEMS, CatalogItem(tenant, name, body))
        records.append(Outbound(CATALOG_ITEMS.name, f"{tenant}/{name}".encode(), value))
    removed = sorted(set(present) - set(checked.items))
    records += [Outbound(CATALOG_ITEMS.name, f"{tenant}/{name}".encode(), None) for name in removed]
    since = {}
    for signal in checked.policy.signals:
        for key in signal.keys:
            since_ms, up_to = counted.get(key, (at_ms, 0))
            since[key] = since_ms if up_to >= signal.up_to else at_ms
    for feature in checked.policy.features:
        since[feature.key] = counted.get(feature.key, (at_ms, 0))[0]
    records.append(_release(f"{tenant}/{ACTIVE}", PolicyRelease(tenant, checked.release, "", at_ms, by, since)))
    sweeping = len(removed) >= SWEEPING_MIN and len(removed) > SWEEPING_SHARE * len(present)
    sweeping = sweeping or bool(present and not checked.items)
    return Publication(tuple(records), checked.release, len(changed), len(removed), sweeping)


def _release(key: str, value: PolicyRelease) -> Outbound:
    return Outbound(POLICY_RELEASES.name, key.encode(), avro.encode(POLICY_RELEASES, value))

"""Policy and catalog as an audit saw them, from the records of their topics up to the offset that it names. Pure.

What is found is compared by content with what the audit names: it is that, or it is refused with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeVar

from pipeline.core.decide.live import Live, arrange, with_models
from pipeline.core.hashing import policy_digest
from pipeline.core.keys import tenant_of
from pipeline.core.model.definitions import Item, Policy
from pipeline.core.model.problems import DefinitionError
from pipeline.core.model.records import AuditRecord, CatalogItem, Decision, ModelSnapshot, PolicyRelease
from pipeline.core.models.trained import OpenSession
from pipeline.core.release import compile_release
from pipeline.core.release.catalog import ItemCompiler
from pipeline.core.release.versions import ACTIVE, fitting, with_newest

_T = TypeVar("_T")

#: Compiled releases of a tenant that are kept for the next audits.
_RELEASES_KEPT: Final = 4

#: Snapshots of a tenant that are kept for the next audits.
_SNAPSHOTS_KEPT: Final = 16

_BACKUP: Final = "look in another cluster, with copies of policy.releases and catalog.items of that time"


class NotKept(ValueError):
    """What an audit saw cannot be had any more; the text says why, and what to do."""


@dataclass(slots=True)
class _Release:
    """One activated release, compiled, and the items that were compiled against it, by their versions."""

    policy: Policy
    compiler: ItemCompiler
    items: dict[str, tuple[tuple[str, ...], Item | None]] = field(default_factory=dict)
    live: Live | None = None


@dataclass(slots=True)
class _Tenant:
    bodies: dict[str, list[str]] = field(default_factory=dict)
    activations: dict[str, list[dict[str, int]]] = field(default_factory=dict)
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: By model and number, those that were asked for last.
    snapshots: dict[tuple[str, int], ModelSnapshot] = field(default_factory=dict)
    releases: dict[str, _Release] = field(default_factory=dict)


class History:
    """Takes every release, and items in the order of their topic; then has the catalog as of the last of these.

    `open_session`: what runs models that were trained elsewhere; see `compile_release`.
    """

    def __init__(self, open_session: OpenSession | None = None) -> None:
        self._open_session = open_session
        self._tenants: dict[str, _Tenant] = {}

    def take_release(self, key: str, value: PolicyRelease | None) -> None:
        """One record of `policy.releases`. What was taken back stays known: audits name it all the same."""
        tenant, _, name = key.partition("/")
        known = self._tenants.setdefault(tenant, _Tenant())
        if value is None:
            return
        if name == ACTIVE:
            _append(known.activations.setdefault(value.release, []), value.signals_since)
        else:
            _append(known.bodies.setdefault(name, []), value.body)

    def take_item(self, key: str, value: CatalogItem | None) -> None:
        """One record of `catalog.items`; None is a tombstone."""
        tenant, _, item_id = key.partition("/")
        known = self._tenants.setdefault(tenant, _Tenant())
        if value is None:
            known.versions.pop(item_id, None)
        else:
            known.versions[item_id] = with_newest(known.versions.get(item_id, ()), value.body)

    def take_snapshot(self, value: ModelSnapshot) -> None:
        """One numbered record of `model.snapshots`."""
        kept = self._tenants.setdefault(value.tenant, _Tenant()).snapshots
        if len(kept) >= _SNAPSHOTS_KEPT:
            kept.pop(next(iter(kept)))
        kept[value.model, value.number] = value

    def lacks_snapshots(self, seen: AuditRecord | Decision) -> list[tuple[str, int]]:
        """The snapshots, by model and number, that an audit names and that were not taken, or not lately."""
        known = self._tenants.setdefault(tenant_of(seen.profile_id), _Tenant()).snapshots
        return [name for name in _named(seen) if name not in known]

    def start_over(self) -> None:
        """Forget every item: the catalog is taken from its beginning again."""
        for tenant in self._tenants.values():
            tenant.versions.clear()

    def has_release(self, seen: AuditRecord | Decision) -> bool:
        """Whether the release that was decided by is there, by its content."""
        return self._body(seen) is not None

    def live(self, seen: AuditRecord | Decision) -> Live:
        """The release and the catalog that were decided by, once items are taken up to the version that is named.

        Raises NotKept.
        """
        tenant = tenant_of(seen.profile_id)
        known = self._tenants.setdefault(tenant, _Tenant())
        release = self._release(known, seen)
        if release.live is not None and release.live.catalog_digest == seen.catalog_digest:
            return _with_snapshots(release.live, known, seen)
        live = arrange(tenant, release.policy, _items(release, known.versions), seen.catalog_version)
        if live.catalog_digest != seen.catalog_digest:
            raise NotKept(
                f"the catalog of {tenant} at offset {seen.catalog_version} of catalog.items has the content "
                f"{live.catalog_digest}, {seen.decision_id} saw {seen.catalog_digest}: versions were compacted too "
                "early (is min.compaction.lag.ms as declared? see `nextbest topics plan`), or the topic was deleted "
                f"and made anew; {_BACKUP}")
        release.live = live
        return _with_snapshots(live, known, seen)

    def _release(self, known: _Tenant, seen: AuditRecord | Decision) -> _Release:
        digest, tenant = seen.policy_digest, tenant_of(seen.profile_id)
        if digest in known.releases:
            return known.releases[digest]
        found = self._body(seen)
        if found is None:
            there = "is there with another content" if known.bodies.get(seen.release) else "is not in policy.releases"
            raise NotKept(f"release {seen.release} of {tenant} {there}, {seen.decision_id} was decided by "
                          f"{digest}: its record was removed or replaced; {_BACKUP}")
        try:
            policy = compile_release(found[0], seen.release, found[1], self._open_session)
        except DefinitionError as error:
            raise NotKept(f"release {seen.release} of {tenant} is not understood by this version of the "
                          f"engine, replay with the one that made the audit: {error}") from error
        if len(known.releases) >= _RELEASES_KEPT:
            known.releases.pop(next(iter(known.releases)))
        known.releases[digest] = _Release(policy, ItemCompiler(policy))
        return known.releases[digest]

    def _body(self, seen: AuditRecord | Decision) -> tuple[str, dict[str, int]] | None:
        """The body, and since when its behaviour keys were counted, that have the digest."""
        known = self._tenants.get(tenant_of(seen.profile_id))
        if known is None:
            return None
        return next(((body, since) for body in known.bodies.get(seen.release, ())
                     for since in known.activations.get(seen.release, ())
                     if policy_digest(body, since) == seen.policy_digest), None)


def _named(seen: AuditRecord | Decision) -> list[tuple[str, int]]:
    """The snapshots that an audit names; number 0 is the prior, which the release alone makes."""
    uses = seen.models.values() if isinstance(seen, AuditRecord) else ()
    return list(dict.fromkeys((use.model, use.snapshot) for use in uses if use.snapshot))


def _with_snapshots(live: Live, known: _Tenant, seen: AuditRecord | Decision) -> Live:
    """The arrangement with the snapshots that were decided by. Raises NotKept."""
    named = _named(seen)
    for model, number in named:
        if (model, number) not in known.snapshots:
            raise NotKept(f"snapshot {number} of model {model} of {live.tenant} is not in model.snapshots, "
                          f"{seen.decision_id} was decided by it: its record was removed; {_BACKUP}")
    found = with_models(live, [known.snapshots[name] for name in named])
    for model, number in named:
        if model not in found.models or found.models[model].number != number:
            raise NotKept(f"snapshot {number} of model {model} of {live.tenant} is there with another content; "
                          f"{_BACKUP}")
    return found


def _append(values: list[_T], value: _T) -> None:
    if value not in values:
        values.append(value)


def _items(release: _Release, versions: dict[str, tuple[str, ...]]) -> list[Item]:
    """The items that are live under the release, compiled anew only where their versions changed."""
    before, release.items = release.items, {}
    for item_id, bodies in versions.items():
        held = before.get(item_id)
        item = held[1] if held is not None and held[0] == bodies else fitting(release.compiler, item_id, bodies)[0]
        release.items[item_id] = bodies, item
    return [item for _, item in release.items.values() if item is not None]

"""Every tenant's live release and catalog in memory, kept up by whoever follows the two compacted topics.

One thread applies records; others read. A bad record keeps the previous version live and is told by `problems`.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Final

from pipeline.core.decide.live import Live, arrange, with_models
from pipeline.core.keys import model_of
from pipeline.core.model.definitions import Item, Policy
from pipeline.core.model.problems import DefinitionError
from pipeline.core.model.records import Account, CatalogItem, Chosen, ModelSnapshot, PolicyRelease
from pipeline.core.release import chains, compile_release
from pipeline.core.release.catalog import ItemCompiler
from pipeline.core.release.versions import ACTIVE, fitting, with_newest
from pipeline.onnx_models.sessions import opened
from pipeline.policy import trial
from topics.catalog import ACCOUNTS, CATALOG_ITEMS, MODEL_SNAPSHOTS, POLICY_RELEASES

_log = logging.getLogger(__name__)

#: Of items that are left out, so many are named in the log.
_NAMED_MAX: Final = 10

#: How the name of a release begins in what is told of problems.
_RELEASE: Final = "release "

#: Releases whose activation is remembered: the one before stays live while a newer one is not there, or cannot be.
ACTIVATIONS_KEPT: Final = 64

#: Snapshots of each model that are kept, the newest: so far back a release may pin one.
SNAPSHOTS_KEPT: Final = 16

#: Decisions tried before a release goes live.
_TRIALS: Final = 40


@dataclass(slots=True)
class _Tenant:
    """What is known of one tenant; guarded by the directory's lock."""

    bodies: dict[str, str] = field(default_factory=dict)
    #: The last activation of each release, the newest first: and when each of its behaviour keys began to be counted.
    activations: tuple[tuple[str, dict[str, int]], ...] = ()
    #: The same of the release that is live.
    live_since: dict[str, int] = field(default_factory=dict)
    policy: Policy | None = None
    compiler: ItemCompiler | None = None
    #: The last versions of each item, the newest first.
    raw: dict[str, tuple[str, ...]] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    version: int = -1
    live: Live | None = None
    accounts: dict[str, Account] = field(default_factory=dict)
    #: By model, then number: the newest, and the one that the live release pins.
    snapshots: dict[str, dict[int, ModelSnapshot]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


class Directory:
    """Follows `catalog.items`, `policy.releases` and, where asked to, `accounts` and `model.snapshots`; repeating a
    record is harmless.

    The topics hold months of superseded versions: while `loading`, nothing is compiled or made live, so that reading
    them from the beginning compiles what is newest, once. `loaded` ends that.
    """

    def __init__(self, loading: bool = False) -> None:
        self._loading = loading
        self._tenants: dict[str, _Tenant] = {}
        self._lock = threading.Lock()

    def apply(
        self, topic: str, key: bytes, value: CatalogItem | PolicyRelease | Account | ModelSnapshot | None, offset: int
    ) -> None:
        """Take one record, in the order of its topic; None is a tombstone. Never raises on bad content."""
        name, _, rest = key.decode("utf-8", "replace").partition("/")
        with self._lock:
            tenant = self._tenants.setdefault(name, _Tenant())
            if topic == ACCOUNTS.name:
                _take_account(tenant, key.decode("utf-8", "replace"), value if isinstance(value, Account) else None)
                return
            if topic == MODEL_SNAPSHOTS.name:
                if _take_snapshot(tenant, key.decode("utf-8", "replace"), value) and tenant.live is not None:
                    tenant.live = with_models(tenant.live, _deciding(tenant, tenant.live.policy))
                return
            if topic == CATALOG_ITEMS.name:
                _take_item(tenant, rest, value.body if isinstance(value, CatalogItem) else None)
                tenant.version = offset
            elif topic == POLICY_RELEASES.name:
                _take_release(tenant, rest, value if isinstance(value, PolicyRelease) else None)
                if not self._loading:
                    _activate_newest(tenant)
            tenant.live = None

    def loaded(self) -> None:
        """Make live what was taken while loading. Repeatable."""
        with self._lock:
            if self._loading:
                self._loading = False
                for tenant in self._tenants.values():
                    _activate_newest(tenant)
                    tenant.live = None

    def live(self, tenant: str) -> Live | None:
        """The tenant's live release and catalog; None before anything was published or activated."""
        known = self._tenants.get(tenant)
        if known is None:
            return None
        live = known.live
        if live is None:
            with self._lock:
                if known.policy is not None and known.live is None:
                    arranged = arrange(tenant, known.policy, known.items.values(), known.version, known.accounts)
                    known.live = with_models(arranged, _deciding(known, known.policy))
                    _say_left_out(known.live)
                live = known.live
        return live

    def fallback(self, tenant: str, placement: str) -> list[Chosen]:
        """What to show on a placement when the pipeline does not answer; empty where nothing is declared."""
        live = self.live(tenant)
        slot = None if live is None else live.policy.placements.get(placement)
        if slot is None:
            return []
        default = slot.fallback
        return [Chosen(default.item_id, default.kind, slot.id, default.variant, 0, default.ttl_s,
                       content=dict(default.content), fallback=True)]

    def items(self, tenant: str) -> dict[str, str]:
        """The bodies of the tenant's catalog as last published, by item id."""
        with self._lock:
            known = self._tenants.get(tenant)
            return {name: versions[0] for name, versions in known.raw.items()} if known else {}

    def releases(self, tenant: str) -> tuple[str, tuple[str, ...]]:
        """The live release ("" for none) and all that were published."""
        with self._lock:
            known = self._tenants.get(tenant)
            if known is None:
                return "", ()
            return known.policy.release if known.policy else "", tuple(known.bodies)

    def activated(self, tenant: str) -> bool:
        """Whether somebody made a release live, also one that is not there yet or cannot be used."""
        with self._lock:
            known = self._tenants.get(tenant)
            return known is not None and bool(known.activations)

    def newest(self, tenant: str) -> Policy | None:
        """The live release, compiled; None where none is live. While loading, the newest activated one that this
        engine takes."""
        with self._lock:
            known = self._tenants.get(tenant)
            if known is None:
                return None
            return _newest_that_compiles(known)[0] if self._loading else known.policy

    def counted(self, tenant: str) -> dict[str, tuple[int, int]]:
        """Each behaviour key and feature of the live release: when it began to be counted (epoch ms), and up to how
        many are kept; empty where none is live. While loading, of the newest activated release that this engine takes:
        what is wrong with another never matters here."""
        with self._lock:
            known = self._tenants.get(tenant)
            if known is None:
                return {}
            policy, since = (_newest_that_compiles(known) if self._loading else (known.policy, known.live_since))
            if policy is None:
                return {}
            signals = policy.signals
            return {key: (since.get(key, 0), signal.up_to) for signal in signals for key in signal.keys} | {
                one.key: (since.get(one.key, 0), one.keep) for one in policy.features}

    def accounts(self, tenant: str) -> dict[str, Account]:
        """The tenant's accounts by key, where their topic is followed."""
        with self._lock:
            known = self._tenants.get(tenant)
            return dict(known.accounts) if known else {}

    def tenants(self) -> tuple[str, ...]:
        """Every tenant of which anything was published."""
        with self._lock:
            return tuple(sorted(self._tenants))

    def problems(self, tenant: str) -> dict[str, str]:
        """What could not be used, by release or item, and why; the previous version is live instead. Of a chain of
        `instead` past its bound: its first item; deciding follows the chain as far as the bound. Of a placement past
        the bound of a decision: what costs so much, and the items that are left out for it."""
        with self._lock:
            known = self._tenants.get(tenant)
            if known is None:
                return {}
            cut = {f"item {one.path[1]}": str(one) for one in chains.too_long(known.items)}
            problems = cut | known.problems
        live = self.live(tenant)
        if live is not None and live.left_out:
            problems |= {f"placement {one.path[1]}": str(one) for one in live.problems}
            problems |= {f"item {name}": "not live: decisions would take too long with it, see the problems of "
                         "placements" for name in live.left_out}
        return problems


def _say_left_out(live: Live) -> None:
    """What nobody who published by `nextbest policy publish` meets: its check refuses it."""
    if live.left_out:
        named = sorted(live.left_out)[:_NAMED_MAX]
        _log.error("release %s of %s: %d items are not live, as decisions would take too long with them (%s%s): %s",
                   live.release, live.tenant, len(live.left_out), ", ".join(named),
                   ", …" if len(named) < len(live.left_out) else "", "; ".join(map(str, live.problems)))


def _take_account(tenant: _Tenant, key: str, value: Account | None) -> None:
    """Read by a running decision in another thread: one assignment, and the newest is what counts."""
    if value is None:
        tenant.accounts.pop(key, None)
    else:
        tenant.accounts[key] = value


def _take_snapshot(tenant: _Tenant, key: str, value: object) -> bool:
    """Keep a numbered snapshot; whether it is one. The newest comes under its number as well."""
    model, _, number = model_of(key).rpartition("/")
    if not number.isdecimal():
        return False
    kept = tenant.snapshots.setdefault(model, {})
    if not isinstance(value, ModelSnapshot):
        return kept.pop(int(number), None) is not None
    if value.model != model or value.number != int(number):
        raise ValueError(f"the snapshot under {key} says that it is {value.model}/{value.number}")
    kept[value.number] = value
    pinned = None if tenant.policy is None or model not in tenant.policy.models else tenant.policy.models[model].pin
    if len(kept) > SNAPSHOTS_KEPT:
        oldest = min((one for one in kept if one != pinned), default=None)
        if oldest is not None:
            del kept[oldest]
    return True


def _deciding(tenant: _Tenant, policy: Policy) -> list[ModelSnapshot]:
    """The snapshot that decides of each model of the release: the pinned one, else the newest of its form."""
    found = []
    for name, learner in policy.models.items():
        kept = tenant.snapshots.get(name, {})
        fitting_ones = [one for one in kept.values() if one.form == learner.form]
        one = max(fitting_ones, key=lambda each: each.number, default=None) if learner.pin is None else (
            kept.get(learner.pin))
        if one is not None:
            found.append(one)
    return found


def _take_release(tenant: _Tenant, name: str, value: PolicyRelease | None) -> None:
    if name != ACTIVE:
        if value is None:
            tenant.bodies.pop(name, None)
        else:
            tenant.bodies[name] = value.body
    elif value is not None and value.release:
        others = [one for one in tenant.activations if one[0] != value.release]
        tenant.activations = ((value.release, value.signals_since), *others[: ACTIVATIONS_KEPT - 1])
    else:
        tenant.activations = ()
        tenant.policy = tenant.compiler = None
        tenant.items.clear()


def _newest_that_compiles(tenant: _Tenant) -> tuple[Policy | None, dict[str, int]]:
    """Without items and trial decisions. Never raises, whatever was published."""
    for release, since in tenant.activations:
        try:
            return compile_release(tenant.bodies[release], release, since, opened), since
        except Exception:  # noqa: S112  # as in `_activate`: it is not live
            continue
    return None, {}


def _activate_newest(tenant: _Tenant) -> None:
    """Make the newest activated release live that is there and can be; where that is the one already, stay with it."""
    there = None if tenant.policy is None else (tenant.policy.release, tenant.live_since)
    failed: dict[str, str] = {}
    for release, since in tenant.activations:
        if (release, since) == there:
            break
        if release in tenant.bodies:
            wrong = _activate(tenant, release, since)
            if not wrong:
                break
            failed[_RELEASE + release] = wrong
    items = {name: wrong for name, wrong in tenant.problems.items() if not name.startswith(_RELEASE)}
    tenant.problems = items | failed


def _activate(tenant: _Tenant, release: str, since: dict[str, int]) -> str:
    """Make a release live with every item that fits it; a bad one leaves everything as it was. Returns what is bad."""
    before = tenant.policy, tenant.compiler, tenant.items, tenant.problems
    try:
        policy = compile_release(tenant.bodies[release], release, since, opened)
        tenant.policy, tenant.compiler, tenant.items, tenant.problems = policy, ItemCompiler(policy), {}, {}
        for item_id in tenant.raw:
            _compile_item(tenant, item_id)
        failed = trial.check(arrange("trial", policy, tenant.items.values(), 0), _TRIALS)
        if failed:
            raise DefinitionError(failed)
    except Exception as error:  # whoever published it: what a worker cannot decide by does not go live
        tenant.policy, tenant.compiler, tenant.items, tenant.problems = before
        return str(error) if isinstance(error, DefinitionError) else f"{type(error).__name__}: {error}"
    tenant.live_since = since
    return ""


def _take_item(tenant: _Tenant, item_id: str, body: str | None) -> None:
    if body is None:
        tenant.raw.pop(item_id, None)
        tenant.items.pop(item_id, None)
        tenant.problems.pop(f"item {item_id}", None)
        return
    tenant.raw[item_id] = with_newest(tenant.raw.get(item_id, ()), body)
    _compile_item(tenant, item_id)


def _compile_item(tenant: _Tenant, item_id: str) -> None:
    """An item whose newest version is bad is live as it was before."""
    if tenant.compiler is None:
        return
    item, wrong = fitting(tenant.compiler, item_id, tenant.raw[item_id])
    tenant.problems.pop(f"item {item_id}", None)
    tenant.items.pop(item_id, None)
    if item is not None:
        tenant.items[item_id] = item
    if wrong:
        tenant.problems[f"item {item_id}"] = wrong

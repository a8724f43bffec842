"""What a subject's features say at a moment, for whoever asks for them: by name, and why a value is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.core.consent import permission
from pipeline.core.features.reading import Reader
from pipeline.core.model.definitions import Policy
from pipeline.core.model.features import Feature
from pipeline.core.rules import facts
from pipeline.core.subject import Person


def allowed(profile: Person, policy: Policy, channel: str, now_ms: int) -> bool:
    """Whether features may be served on the channel: every purpose it declares is lawful, and being tracked is."""
    names = dict.fromkeys((*policy.channels[channel].purposes, policy.tracking_purpose))
    purposes = [policy.purposes[name] for name in names if name]
    return permission.check(profile.consent, purposes, channel, now_ms, True).passed


def shown(profile: Person, policy: Policy, now_ms: int) -> dict[str, dict[str, Any]]:
    """Every declared feature by name: its kind, type, and `value`; per item or tag `values`, by those that are kept.

    Where a value is missing, `unknown` says why: `no_value` (nothing that counts was heard of), or `incomplete` (what
    counts may reach back to before it was counted, or past a bound), or of what is loaded `stale`. A sensitive
    value is `hidden`, with its class.
    """
    reading = facts.reader(profile, policy, now_ms)
    counted = {one.id: _told(one, reading, policy) for one in policy.features}
    return counted | {one.id: _loaded(one, profile, policy, now_ms) for one in policy.loaded_features}


def _loaded(feature: Feature, profile: Person, policy: Policy, now_ms: int) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": feature.kind, "type": feature.type, "per": feature.per}
    trait = profile.traits.get(feature.path)
    if feature.sensitivity:
        return said | {"hidden": feature.sensitivity}
    value = None if trait is None else policy.traits[feature.path].convert(trait.value)
    if trait is None or value is None:
        return said | {"unknown": "no_value"}
    if now_ms - trait.at_ms >= feature.fresh_for_ms:
        return said | {"unknown": "stale", "as_of_ms": trait.at_ms}
    return said | {"value": value, "as_of_ms": trait.at_ms}


def _told(feature: Feature, reading: Reader, policy: Policy) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": feature.kind, "type": feature.type, "per": feature.per}
    if feature.sensitivity:
        return said | {"hidden": feature.sensitivity}
    if feature.per != "subject":
        keys = sorted(_keys(feature, reading, policy.features_by_id))
        found = {key: reading.value(feature, key) for key in keys}
        return said | {"values": {key: value for key, value in found.items() if value is not None}}
    value = reading.value(feature)
    if value is not None:
        return said | {"value": value}
    return said | {"unknown": "incomplete" if reading.is_incomplete(feature) else "no_value"}


def _keys(feature: Feature, reading: Reader, by_id: Mapping[str, Feature]) -> Iterable[str]:
    """The items or tags of which something is kept; of a ratio, of which both are."""
    if feature.parts:
        above, below = (reading.kept(by_id[part]).entries.keys() for part in feature.parts)
        return above & below
    return reading.kept(feature).entries

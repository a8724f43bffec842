"""What an event of behaviour adds to the features that are about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import tzinfo
from math import isfinite
from typing import Any, Final

from pipeline.core.features import kept as keeping
from pipeline.core.features import windows
from pipeline.core.features.kept import Kept
from pipeline.core.features.sketch import hashed
from pipeline.core.model.definitions import Policy
from pipeline.core.model.features import FEATURES_BYTES_MAX, MILLIONTHS, NUMBER_MAX, TEXT_BYTES_MAX, Feature, Layout
from pipeline.core.model.moments import moment
from pipeline.core.model.records import FeedbackEvent
from pipeline.core.rules.cel.functions import UNKNOWN
from pipeline.core.rules.signals import matches
from pipeline.core.sections.features import APART, joined
from pipeline.core.sections.merges import Ledger

#: Facts of an event that every policy has, besides its declared properties (`event.properties.<name>`).
EVENT_FACTS: Final[dict[str, str]] = {
    "event.kind": "string", "event.name": "string", "event.item": "string", "event.placement": "string",
    "event.channel": "string", "event.value": "double", "event.at": "timestamp", "event.tags": "list(string)",
}
_UNKNOWN: Final = object()
Section = dict[str, bytes]


def taken(
    policy: Policy, section: Section, event: FeedbackEvent, tags: Iterable[str], at_ms: int, now_ms: int, zone: tzinfo
) -> tuple[Section, set[str]]:
    """The features with an event added, and the paths of those that it touched.

    `tags`: those of the event's item. `at_ms`: when it happened, never ahead of `now_ms`. The same section where no
    feature is about it.
    """
    result: dict[str, bytes] | None = None
    touched: set[str] = set()
    ids: set[str] = set()
    facts: dict[str, Any] | None = None
    for feature in policy.features:
        if feature.layout is Layout.NONE or not matches(feature.matcher, event, tags):
            continue
        if not windows.holds(feature, at_ms):
            continue
        facts = event_facts(policy, event, tags, at_ms) if facts is None else facts
        result = dict(section) if result is None else result
        data = result.get(feature.key)
        one = keeping.new(feature) if data is None else keeping.decoded(data)
        _add(feature, one, facts, at_ms, now_ms, zone)
        result[feature.key] = keeping.encoded(one)
        touched.add(feature.path)
        ids.add(feature.id)
    touched |= {one.path for one in policy.features if one.parts and not ids.isdisjoint(one.parts)}
    return section if result is None else result, touched


def event_facts(policy: Policy, event: FeedbackEvent, tags: Iterable[str], at_ms: int) -> dict[str, Any]:
    """What conditions and arguments may read of an event, by path; only what is known."""
    given = {
        "event.kind": str(event.kind), "event.name": event.name or None, "event.item": event.item_id,
        "event.placement": event.placement, "event.channel": event.channel, "event.value": event.value,
    }
    facts: dict[str, Any] = {path: value for path, value in given.items() if value is not None}
    facts["event.at"], facts["event.tags"] = moment(at_ms), tuple(tags)
    for name, attribute in policy.event.items():
        value = attribute.convert(event.properties[name]) if name in event.properties else attribute.default
        if value is not None:
            facts[attribute.path] = value
    return facts


def _add(feature: Feature, one: Kept, facts: Mapping[str, Any], at_ms: int, now_ms: int, zone: tzinfo) -> None:
    start = windows.start_ms(feature, now_ms, zone)
    keeping.forget(one, start)
    if at_ms < start:
        return
    tile = windows.tile_ms(feature, at_ms, zone)
    found, unknown = added(feature, facts)
    one.unknown += unknown
    for key, value in found:
        keeping.add(one, key, at_ms, tile, value)


def added(feature: Feature, facts: Mapping[str, Any]) -> tuple[list[tuple[str, Any]], int]:
    """What an event adds, by item or tag ("": to the subject's), and how many values could not be worked out.

    A condition that is unknown is not true, and is noted.
    """
    meant = holds(feature, facts)
    if not meant:
        return [], int(meant is None)
    given = values(feature, facts)
    keys = _keys(feature, facts)
    known = [value for value in given if value is not _UNKNOWN]
    return [(key, value) for value in known for key in keys], len(given) - len(known)


def holds(feature: Feature, facts: Mapping[str, Any]) -> bool | None:
    """What the feature's condition says of an event; None: unknown."""
    unknown = False
    for clause in feature.where.clauses if feature.where is not None else ():
        try:
            if not clause.fn(facts, {}):
                return False
        except UNKNOWN:
            unknown = True
    return None if unknown else True


def _keys(feature: Feature, facts: Mapping[str, Any]) -> Iterable[str]:
    if feature.per == "subject":
        return ("",)
    if feature.per == "tag":
        return tuple(tag for tag in dict.fromkeys(facts["event.tags"]) if len(tag.encode()) <= TEXT_BYTES_MAX)
    item: str = facts.get("event.item", "")
    return (item,) if 0 < len(item.encode()) <= TEXT_BYTES_MAX else ()


def values(feature: Feature, facts: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the event adds, as it is kept: one value, for `top` over tags one each."""
    if feature.kind in ("count", "rate", "recency"):
        return (0,)
    if feature.kind == "top" and feature.argument == "event.tags":
        return tuple(tag for tag in dict.fromkeys(facts["event.tags"]) if len(tag.encode()) <= TEXT_BYTES_MAX)
    given = facts.get(feature.argument) if feature.argument else feature.constant
    if given is None:
        return (_UNKNOWN,)
    return (_as_kept(feature, given, facts),)


def _as_kept(feature: Feature, given: Any, facts: Mapping[str, Any]) -> Any:
    kind = feature.kind
    if kind in ("sum", "mean", "min", "max", "decayed"):
        number = float(given)
        if not isfinite(number) or abs(number) > NUMBER_MAX:
            return _UNKNOWN
        return round(number * MILLIONTHS) if kind in ("sum", "mean") else number
    if kind == "distinct":
        return hashed(given)
    if feature.argument == "event.at":
        return 0
    if isinstance(given, str) and len(given.encode()) > TEXT_BYTES_MAX:
        return _UNKNOWN
    return (given, facts["event.kind"]) if kind == "recent" else given


def folded(section: Section, policy: Policy, ledger: Ledger, now_ms: int) -> Section:
    """The section once a merge that can be undone no longer need not be kept apart; where all of it takes more than
    its bytes: none is, and what no release asks about is left out."""
    parts = [name for name in section if APART in name]
    over = sum(map(len, section.values())) > FEATURES_BYTES_MAX
    if not parts and not over:
        return section
    since_ms = now_ms - policy.identity.undo_ms
    asked = {feature.key for feature in policy.features}
    result = {name: data for name, data in section.items()
              if not over or name.partition(APART)[0] in asked}
    for name in parts:
        base, _, brought_by = name.partition(APART)
        merge = ledger.get(brought_by)
        if name in result and (over or merge is None or merge.at_ms <= since_ms):
            result[base] = joined(result.get(base), result.pop(name))
    return result

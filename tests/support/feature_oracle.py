"""What a feature should say, by a naive double loop over the raw events: no tiles, no state, no order.

Knows nothing of how features are kept. A value as of a moment uses what had arrived by then, at the time it happened.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any

from pipeline.core.model.features import Between, Feature, Pause
from pipeline.core.model.windows import Calendar, Lifetime, Rolling

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Raw:
    """One event as it arrived. `received_ms`: when; `at_ms`: when it says that it happened."""

    event_id: str
    subject: str
    kind: str
    at_ms: int
    received_ms: int
    item: str | None = None
    value: float | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    @property
    def happened_ms(self) -> int:
        """Nothing happens after it arrived."""
        return min(self.at_ms, self.received_ms)


@dataclass(frozen=True, slots=True)
class Oracle:
    """All features, the raw events of one person, and what each condition says (None: unknown), by feature."""

    features: Mapping[str, Feature]
    events: tuple[Raw, ...]
    conditions: Mapping[str, Callable[[Raw], bool | None]] = field(default_factory=dict)
    zone: tzinfo = UTC

    def value(self, name: str, as_of_ms: int, key: str = "") -> Any:
        """The value as of a moment; `key`: of that item or tag."""
        feature = self.features[name]
        if feature.kind == "ratio":
            above, below = (self.value(part, as_of_ms, key) for part in feature.parts)
            return None if above is None or below is None or below < feature.least else above / below
        counted = self._counted(feature, as_of_ms, key)
        return _VALUES[feature.kind](feature, counted, as_of_ms)

    def _counted(self, feature: Feature, as_of_ms: int, key: str) -> list[Raw]:
        ids: set[str] = set()
        found = []
        for raw in sorted(self.events, key=lambda one: one.received_ms):
            if raw.received_ms > as_of_ms or raw.event_id in ids:
                continue
            ids.add(raw.event_id)
            if feature.matcher.kinds and raw.kind not in feature.matcher.kinds:
                continue
            if feature.id in self.conditions and self.conditions[feature.id](raw) is not True:
                continue
            if argument(feature, raw) is None or not _of_key(feature, raw, key):
                continue
            found.append(raw)
        found.sort(key=lambda one: one.happened_ms)
        return self._in_window(feature, found, as_of_ms)

    def _in_window(self, feature: Feature, found: list[Raw], as_of_ms: int) -> list[Raw]:
        window = feature.window
        if isinstance(window, Lifetime):
            return found
        if isinstance(window, Between):
            return [one for one in found if window.from_ms <= one.happened_ms
                    and (window.until_ms is None or one.happened_ms < window.until_ms)]
        if isinstance(window, Pause):
            return _session(found, window.gap_ms, as_of_ms)
        if isinstance(window, Calendar):
            now = _period(as_of_ms, window, self.zone)
            return [one for one in found if _period(one.happened_ms, window, self.zone) == now]
        assert isinstance(window, Rolling)
        return [one for one in found if rounded(feature, one.happened_ms) > rounded(
            feature, as_of_ms - window.length_ms + 1) - 1]


def rounded(feature: Feature, at_ms: int) -> int:
    """The declared rounding of a moment: down to the hour or day, where the feature says so."""
    return at_ms - at_ms % feature.tile_ms if feature.tile_ms else at_ms


def _period(at_ms: int, window: Calendar, zone: tzinfo) -> tuple[int, ...]:
    here = datetime.fromtimestamp(at_ms / 1_000, UTC).astimezone(zone if window.local else UTC)
    if window.unit == "month":
        return here.year, here.month
    if window.unit == "week":
        return here.isocalendar()[:2]
    return here.year, here.month, here.day


def _session(found: list[Raw], gap_ms: int, as_of_ms: int) -> list[Raw]:
    result: list[Raw] = []
    after = as_of_ms
    for one in reversed(found):
        if after - one.happened_ms >= gap_ms or one.happened_ms <= as_of_ms - DAY_MS:
            break
        result.append(one)
        after = one.happened_ms
    return result[::-1]


def _of_key(feature: Feature, raw: Raw, key: str) -> bool:
    return feature.per == "subject" or (raw.item == key if feature.per == "item" else key in raw.tags)


def argument(feature: Feature, raw: Raw) -> Any:
    """What the event adds; None: nothing that could be read."""
    name = feature.argument
    if not name:
        return feature.constant
    if name == "event.at":
        return raw.happened_ms
    if name == "event.tags":
        return raw.tags
    given = {"event.value": raw.value, "event.item": raw.item, "event.kind": raw.kind}
    return given[name] if name in given else raw.properties.get(name.removeprefix("event.properties."))


def _sum(feature: Feature, counted: Iterable[Raw]) -> Fraction:
    """Exactly: no sum of floats, which would depend on the order."""
    return sum((Fraction(round(argument(feature, one) * 1_000_000), 1_000_000) for one in counted), Fraction(0))


def _mean(feature: Feature, counted: list[Raw], _: int) -> float | None:
    return float(_sum(feature, counted) / len(counted)) if counted else None


def _edge(feature: Feature, counted: list[Raw], newest: bool) -> Any:
    if not counted:
        return None
    pick = max if newest else min
    one = pick(counted, key=lambda raw: (raw.happened_ms, repr(argument(feature, raw))))
    found = argument(feature, one)
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=found) if feature.argument == "event.at" else found


def _recent(feature: Feature, counted: list[Raw], _: int) -> tuple[str, ...]:
    last: dict[str, int] = {}
    for one in counted:
        last[argument(feature, one)] = one.happened_ms
    return tuple(sorted(last, key=lambda value: (last[value], value), reverse=True)[:feature.keep])


def _top(feature: Feature, counted: list[Raw], _: int) -> tuple[str, ...]:
    counts: Counter[str] = Counter()
    for one in counted:
        found = argument(feature, one)
        counts.update([found] if isinstance(found, str) else set(found))
    return tuple(sorted(counts, key=lambda value: (-counts[value], value))[:feature.most])


def _rate(feature: Feature, counted: list[Raw], now_ms: int) -> float:
    window = feature.window
    assert isinstance(window, Rolling)
    return len(counted) * feature.each_ms / (now_ms + 1 - rounded(feature, now_ms - window.length_ms + 1))


def _decayed(feature: Feature, counted: list[Raw], now_ms: int) -> float:
    return math.fsum(argument(feature, one) * 0.5 ** ((now_ms - one.happened_ms) / feature.half_life_ms)
                     for one in counted)


def _recency(feature: Feature, counted: list[Raw], now_ms: int) -> timedelta | None:
    return timedelta(milliseconds=now_ms - counted[-1].happened_ms) if counted else None


_VALUES: Mapping[str, Callable[[Feature, list[Raw], int], Any]] = {
    "count": lambda feature, counted, now: len(counted),
    "sum": lambda feature, counted, now: float(_sum(feature, counted)),
    "mean": _mean,
    "min": lambda feature, counted, now: min((argument(feature, one) for one in counted), default=None),
    "max": lambda feature, counted, now: max((argument(feature, one) for one in counted), default=None),
    "last": lambda feature, counted, now: _edge(feature, counted, True),
    "first": lambda feature, counted, now: _edge(feature, counted, False),
    "distinct": lambda feature, counted, now: len({argument(feature, one) for one in counted}),
    "rate": _rate, "recency": _recency, "decayed": _decayed, "top": _top, "recent": _recent,
}

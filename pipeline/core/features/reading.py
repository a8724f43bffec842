"""What a feature says at a moment: of what is kept and of that moment alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta, tzinfo
from typing import Any, Final

from pipeline.core.features import sketch, windows
from pipeline.core.features.kept import Entry, Kept, decoded, new, united
from pipeline.core.model.features import MILLIONTHS, Feature, Layout, Pause
from pipeline.core.model.moments import moment
from pipeline.core.model.windows import Calendar, Rolling
from pipeline.core.rules import readers
from pipeline.core.sections.features import APART


class Reader:
    """Reads one subject's features at one moment, each decoded once.

    :param section: the features as they are kept, by key.
    :param heard_ms: when the first event of behaviour was taken up; 0: none was.
    :param zone: the subject's.
    """

    __slots__ = ("_features", "_heard_ms", "_kept", "_now_ms", "_parts", "_zone")

    def __init__(self, features: Mapping[str, Feature], section: Mapping[str, bytes], heard_ms: int, now_ms: int,
                 zone: tzinfo) -> None:
        self._features = features
        #: By key: what the subject and what merges brought.
        self._parts: dict[str, list[bytes]] = {}
        for name, data in section.items():
            self._parts.setdefault(name.partition(APART)[0], []).append(data)
        self._heard_ms, self._now_ms, self._zone = heard_ms, now_ms, zone
        self._kept: dict[str, Kept] = {}

    def value(self, feature: Feature, key: str = "") -> Any:
        """The value for rules, of the subject or of one item or tag; None where it is unknown."""
        if feature.kind == "ratio":
            return self._ratio(feature, key)
        value, complete = self._counted(feature, key)
        return value if complete else None

    def is_incomplete(self, feature: Feature) -> bool:
        """Whether what counts for a subject's feature may reach back to before it was counted, or past a bound."""
        if feature.kind == "ratio":
            return any(self.is_incomplete(self._features[part]) for part in feature.parts)
        return not self._counted(feature, "")[1]

    def _counted(self, feature: Feature, key: str) -> tuple[Any, bool]:
        """The value of what is kept, and whether that is all that counts."""
        kept = self.kept(feature)
        entry = kept.entries.get(key) or Entry(kept.evicted_ms, 0, None)
        begins = windows.start_ms(feature, self._now_ms, self._zone)
        if entry.body is None:
            found: tuple[int | None, Any] = begins, _NOTHING.get(feature.kind)
        else:
            found = self._found(feature, entry, begins)
        start, value = found
        if start is None or (entry.missing_ms and start <= entry.missing_ms):
            return None, False
        return value, self._whole(feature, start) or feature.kind in ("last", "recency")

    def of_tags(self, feature: Feature, tags: Iterable[str]) -> Any:
        """The sum over tags; of a ratio that of what is divided. None where that of any of them is unknown."""
        if feature.kind == "ratio":
            above, below = (self.of_tags(self._features[part], tags) for part in feature.parts)
            return _divided(feature, above, below)
        values = [self.value(feature, tag) for tag in dict.fromkeys(tags)]
        return None if any(one is None for one in values) else sum(values, _NOTHING[feature.kind])

    def least(self, feature: Feature) -> int:
        """How often a count has certainly happened."""
        entry = self.kept(feature).entries.get("")
        if entry is None:
            return 0
        start, found = self._found(feature, entry, windows.start_ms(feature, self._now_ms, self._zone))
        return len(entry.body[1]) if start is None else int(found or 0)

    def kept(self, feature: Feature) -> Kept:
        """What is kept of the feature, of all profiles that became this one."""
        key = feature.key
        if key not in self._kept:
            self._kept[key] = together(feature, self._parts.get(key, ()))
        return self._kept[key]

    def _ratio(self, feature: Feature, key: str) -> float | None:
        above, below = (self.value(self._features[part], key) for part in feature.parts)
        return _divided(feature, above, below)

    def _found(self, feature: Feature, entry: Entry, start: int) -> tuple[int | None, Any]:
        """Where the window begins (None: unknown), and the value."""
        now_ms, body = self._now_ms, entry.body
        if feature.layout is not Layout.MOMENTS:
            return start, _VALUES[feature.layout](feature, body, start, now_ms)
        lost_ms, moments = body
        if isinstance(feature.window, Pause):
            begins = windows.session_start_ms(feature.window.gap_ms, moments, lost_ms, now_ms)
            if begins is None:
                return None, None
            # What came before the pause had to be heard as well, to know that it was one.
            counted = [one for one in moments if one[0] >= begins]
            return begins - feature.window.gap_ms, _of_moments(feature, counted, now_ms, begins)
        found = _of_moments(feature, [one for one in moments if one[0] >= start], now_ms, start)
        return (None if lost_ms and lost_ms >= start else start), found

    def _whole(self, feature: Feature, start: int) -> bool:
        """Whether nothing that counts can have happened before it was counted."""
        since_ms = feature.since_ms
        return not self._heard_ms or self._heard_ms >= since_ms or start >= since_ms


def together(feature: Feature, parts: Iterable[bytes]) -> Kept:
    """What is kept of one feature, with what merges brought of it."""
    result: Kept | None = None
    for data in parts:
        one = decoded(data)
        result = one if result is None else united(result, one)
    return new(feature) if result is None else result


def _divided(feature: Feature, above: Any, below: Any) -> float | None:
    if above is None or below is None or below < feature.least or not below:
        return None
    return float(above) / float(below)


def _of_cells(feature: Feature, body: Mapping[int, Any], start: int, now_ms: int) -> Any:
    if feature.kind in ("last", "recency"):
        cells = [cell for cell in body.values() if cell[0] >= start]
    elif isinstance(feature.window, Rolling | Calendar):
        cells = [cell for begins, cell in body.items() if begins >= start]
    else:
        cells = list(body.values())
    return _of_values(feature, cells, now_ms, start)


def _of_values(feature: Feature, cells: list[Any], now_ms: int, start: int) -> Any:
    """The value of the aggregates of some tiles."""
    kind = feature.kind
    if not cells:
        return _NOTHING.get(kind)
    if kind == "count":
        return sum(cells)
    if kind == "rate":
        return sum(cells) * feature.each_ms / windows.length_ms(feature, start, now_ms)
    if kind in ("sum", "mean"):
        number, total = sum(one[0] for one in cells), sum(one[1] for one in cells)
        return total / (MILLIONTHS if kind == "sum" else MILLIONTHS * number)
    if kind in ("min", "max"):
        return min(cells) if kind == "min" else max(cells)
    if kind == "recency":
        return timedelta(milliseconds=max(0, now_ms - max(one[0] for one in cells)))
    at_ms, value = cells[0]
    if feature.argument == "event.at":
        return moment(at_ms)
    return readers.fitting(readers.READERS[feature.type], value)


def _of_moments(feature: Feature, moments: list[list[Any]], now_ms: int, start: int) -> Any:
    counted = feature.kind in ("sum", "mean")
    cells = [1 if feature.kind in ("count", "rate") else [1, value] if counted else value for _, value in moments]
    return _of_values(feature, cells, now_ms, start)


def _of_distinct(feature: Feature, body: list[Any], start: int, now_ms: int) -> int:
    return sketch.estimate(body[1], start) if body[1] else sum(1 for at in body[0].values() if at >= start)


def _of_recent(feature: Feature, body: Mapping[str, list[Any]], start: int, now_ms: int) -> tuple[str, ...]:
    return tuple(sorted((value for value, said in body.items() if said[0] >= start),
                        key=lambda value: (body[value][0], value), reverse=True)[:feature.keep])


def _of_top(feature: Feature, body: Mapping[str, Mapping[int, int]], start: int, now_ms: int) -> tuple[str, ...]:
    tiled = isinstance(feature.window, Rolling | Calendar)
    counts = {value: sum(count for begins, count in cells.items() if not tiled or begins >= start)
              for value, cells in body.items()}
    found = sorted((value for value, count in counts.items() if count), key=lambda value: (-counts[value], value))
    return tuple(found[:feature.most])


def _of_decayed(feature: Feature, body: list[Any], start: int, now_ms: int) -> float:
    return float(body[1] * 2.0 ** (min(0, body[0] - now_ms) / feature.half_life_ms)) if body else 0.0


_VALUES: Final[dict[Layout, Callable[[Feature, Any, int, int], Any]]] = {
    Layout.CELLS: _of_cells, Layout.DISTINCT: _of_distinct, Layout.RECENT: _of_recent, Layout.TOP: _of_top,
    Layout.DECAYED: _of_decayed,
}
#: What each kind says where nothing happened; the others are unknown then.
_NOTHING: Final[dict[str, Any]] = {
    "count": 0, "sum": 0.0, "rate": 0.0, "distinct": 0, "decayed": 0.0, "top": (), "recent": (),
}

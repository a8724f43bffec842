"""SQL for DuckDB, generated from compiled features: windows, tiles and aggregates as the stream has them.

Reads `added`, `known` and `starts` (`feature_batch.preparing`). A statement gives `profile`, `key` and `value`: of a
subject's feature a row for every known profile, per item or tag one for each that has something in the window.
"""

# ruff: noqa: S608 - only numbers and names of this module stand in a statement: no feature's name, no text of a policy.
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pipeline.core.model.features import MILLIONTHS, Feature, Layout, Pause
from pipeline.core.model.windows import SESSION_MS_MAX, Calendar, Rolling

#: The SQL type of a value, by the type that rules see. A duration is milliseconds, a timestamp epoch milliseconds.
TYPES: Final[dict[str, str]] = {
    "int": "BIGINT", "double": "DOUBLE", "string": "VARCHAR", "bool": "BOOLEAN", "list(string)": "VARCHAR[]",
    "duration": "BIGINT", "timestamp": "BIGINT",
}
#: What each kind says where nothing happened; the others are NULL then.
_NOTHING: Final = {"count": "0", "sum": "0.0", "rate": "0.0", "distinct": "0", "decayed": "0.0", "top": "[]",
                   "recent": "[]"}


def statement(feature: Feature, numbers: Mapping[str, int], by_id: Mapping[str, Feature], as_of_ms: int) -> str:
    """The SELECT of one feature's values as of a moment (epoch ms). `numbers`: the row numbers of features by id."""
    if feature.parts:
        return _ratio(feature, numbers, by_id, as_of_ms)
    found = (f"WITH counted AS ({_counted(feature, numbers[feature.id], as_of_ms)}), "
             f"found AS ({_aggregate(feature, as_of_ms)}) ")
    type_ = TYPES[feature.type]
    if feature.per != "subject":
        return f"{found}SELECT profile, key, value::{type_} AS value FROM found"
    nothing = _NOTHING.get(feature.kind, "NULL")
    return (f"{found}SELECT known.profile, '' AS key, coalesce(found.value, {nothing})::{type_} AS value "
            "FROM known LEFT JOIN found USING (profile)")


def _ratio(feature: Feature, numbers: Mapping[str, int], by_id: Mapping[str, Feature], as_of_ms: int) -> str:
    above, below = (statement(by_id[part], numbers, by_id, as_of_ms) for part in feature.parts)
    # Per item, of which the first has none, it is nought times.
    nothing = _NOTHING.get(by_id[feature.parts[0]].kind, "NULL")
    side = "LEFT" if feature.per != "subject" else "INNER"
    return (f"SELECT below.profile, below.key, CASE WHEN below.value >= {feature.least!r} AND below.value <> 0 "
            f"THEN coalesce(above.value, {nothing})::DOUBLE / below.value::DOUBLE END AS value "
            f"FROM ({below}) AS below {side} JOIN ({above}) AS above USING (profile, key)")


def _counted(feature: Feature, number: int, as_of_ms: int) -> str:
    """The rows inside the window, each with the length of the window."""
    rows = ("SELECT added.*, starts.length_ms FROM added JOIN known USING (profile) JOIN starts USING (feature, zone) "
            f"WHERE feature = {number} AND {_bucket(feature)} >= starts.start_ms")
    if not isinstance(feature.window, Pause):
        return rows
    # The session reaches back to the last pause: also to the one that has begun since the newest row.
    gap = feature.window.gap_ms
    newer = "PARTITION BY profile, key ORDER BY at_ms DESC"
    breaks = (f"SELECT *, (lag(at_ms, 1, {as_of_ms}) OVER ({newer}) - at_ms >= {gap} "
              f"OR at_ms <= {as_of_ms - SESSION_MS_MAX})::INT AS breaks FROM ({rows})")
    return (f"SELECT * FROM (SELECT *, sum(breaks) OVER ({newer} ROWS UNBOUNDED PRECEDING) AS pauses "
            f"FROM ({breaks})) "
            "WHERE pauses = 0")


def _bucket(feature: Feature) -> str:
    """The moment by which a row is in the window or not: that of its tile or period, where there are such."""
    if feature.layout not in (Layout.CELLS, Layout.TOP) or feature.kind in ("last", "recency"):
        return "at_ms"
    if isinstance(feature.window, Calendar):
        return "period_ms"
    if isinstance(feature.window, Rolling) and feature.tile_ms:
        return f"(at_ms - at_ms % {feature.tile_ms})"
    return "at_ms"


def _aggregate(feature: Feature, as_of_ms: int) -> str:
    return _AGGREGATES[feature.kind](feature, as_of_ms)


def _plain(value: str) -> str:
    return f"SELECT profile, key, {value} AS value FROM counted GROUP BY profile, key"


def _edge(feature: Feature, order: str) -> str:
    value = "at_ms" if feature.argument == "event.at" else f"(text::JSON ->> '$')::{TYPES[feature.type]}"
    return _plain(f"first({value} ORDER BY at_ms {order}, rank {order})")


def _top(feature: Feature, _: int) -> str:
    return ("SELECT profile, key, list(text ORDER BY n DESC, text)"
            f"[1:{feature.most}] AS value FROM (SELECT profile, key, text, count(*) AS n FROM counted "
            "GROUP BY profile, key, text) GROUP BY profile, key")


def _recent(feature: Feature, _: int) -> str:
    return ("SELECT profile, key, list(text ORDER BY last_ms DESC, text DESC)"
            f"[1:{feature.keep}] AS value FROM (SELECT profile, key, text, max(at_ms) AS last_ms FROM counted "
            "GROUP BY profile, key, text) GROUP BY profile, key")


_AGGREGATES: Final[dict[str, Callable[[Feature, int], str]]] = {
    "count": lambda feature, as_of_ms: _plain("count(*)"),
    "rate": lambda feature, as_of_ms: _plain(f"(count(*) * {feature.each_ms})::DOUBLE / any_value(length_ms)"),
    "sum": lambda feature, as_of_ms: _plain(f"sum(whole)::DOUBLE / {MILLIONTHS}"),
    "mean": lambda feature, as_of_ms: _plain(f"sum(whole)::DOUBLE / (count(*) * {MILLIONTHS})::DOUBLE"),
    "min": lambda feature, as_of_ms: _plain("min(number)"),
    "max": lambda feature, as_of_ms: _plain("max(number)"),
    "last": lambda feature, as_of_ms: _edge(feature, "DESC"),
    "first": lambda feature, as_of_ms: _edge(feature, "ASC"),
    "recency": lambda feature, as_of_ms: _plain(f"greatest(0, {as_of_ms} - max(at_ms))"),
    "distinct": lambda feature, as_of_ms: _plain("count(DISTINCT text)"),
    "decayed": lambda feature, as_of_ms: _plain(
        f"sum(number * pow(2.0, (at_ms - {as_of_ms})::DOUBLE / {feature.half_life_ms}))"),
    "top": _top, "recent": _recent,
}

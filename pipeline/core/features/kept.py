"""What is kept of one feature: how it is laid out, how an event adds to it, and how that of two profiles becomes one.

Adding and uniting do not depend on the order of the events, as long as nothing passes a bound; what passes one is
remembered as lost, and makes the value unknown as far back as it reaches. All of it is plain lists and dicts, which
MessagePack writes as they are, and tells by itself how two of its kind are united: no release is needed for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pipeline.core.features import sketch
from pipeline.core.model.features import DISTINCT_EXACT_MAX, TOP_VALUES_MAX, Feature, Layout
from pipeline.core.model.values import Working, packed, unpacked

#: An aggregate of one tile: a number of events, a number and a sum in millionths, an extreme, a moment and its value.
Cell = Any
#: What a layout keeps of the subject, of one item or of one tag.
Body = Any

_SUM_MAX: Final = 2**63 - 1


class Entry(Working, array_like=True):
    """What is kept for the subject, an item or a tag: as of when some of it is missing (epoch ms; 0: never), when its
    newest event was, and the layout's own part."""

    missing_ms: int
    touched_ms: int
    body: Body


class Kept(Working, array_like=True):
    """One feature of one subject. `evicted_ms`: the newest moment of what made room for others; 0: nothing did.
    `unknown`: events whose condition or value could not be worked out, and so do not count."""

    layout: int
    fold: str
    keep: int
    keys_max: int
    half_life_ms: int
    evicted_ms: int
    unknown: int
    entries: dict[str, Entry]



def new(feature: Feature) -> Kept:
    """Nothing yet."""
    return Kept(int(feature.layout), _FOLDS.get(feature.kind, ""), feature.keep, feature.keys_max,
                feature.half_life_ms, 0, 0, {})


def decoded(data: bytes) -> Kept:
    """Raises msgspec.DecodeError: never bad input, the table holds something else."""
    return unpacked(Kept, data)


def encoded(kept: Kept) -> bytes:
    """The bytes; of the same content always the same."""
    return packed(kept)


def united(a: Kept, b: Kept) -> Kept:
    """What two profiles kept of one feature, as if one had heard all of it."""
    entries = dict(a.entries)
    for key, other in b.entries.items():
        own = entries.get(key)
        missing = a.evicted_ms if own is None else own.missing_ms
        body = other.body if own is None else _UNITE[a.layout](own.body, other.body, a)
        touched = other.touched_ms if own is None else max(own.touched_ms, other.touched_ms)
        entries[key] = Entry(max(missing, other.missing_ms), touched, body)
    for key in entries.keys() - b.entries.keys():
        own = entries[key]
        entries[key] = Entry(max(own.missing_ms, b.evicted_ms), own.touched_ms, own.body)
    result = Kept(a.layout, a.fold, max(a.keep, b.keep), max(a.keys_max, b.keys_max), a.half_life_ms,
                  max(a.evicted_ms, b.evicted_ms), a.unknown + b.unknown, entries)
    _make_room(result)
    return result


def add(kept: Kept, key: str, at_ms: int, cell_ms: int, value: Any) -> None:
    """One event, in place. `cell_ms`: the start of its tile."""
    entry = kept.entries.get(key)
    if entry is None:
        entry = kept.entries[key] = Entry(kept.evicted_ms, at_ms, _EMPTY[kept.layout]())
    entry.touched_ms = max(entry.touched_ms, at_ms)
    entry.body = _UNITE[kept.layout](entry.body, _ONE[kept.layout](kept, at_ms, cell_ms, value), kept)
    _make_room(kept)


def forget(kept: Kept, start_ms: int) -> None:
    """Leave out, in place, what came before a moment and can never count again."""
    for key in list(kept.entries):
        entry = kept.entries[key]
        if entry.touched_ms < start_ms and not entry.missing_ms:
            del kept.entries[key]
        else:
            _FORGET[kept.layout](entry.body, start_ms)


def _make_room(kept: Kept) -> None:
    while len(kept.entries) > kept.keys_max:
        key = min(kept.entries, key=lambda name: (kept.entries[name].touched_ms, name))
        kept.evicted_ms = max(kept.evicted_ms, kept.entries.pop(key).touched_ms)


#: How two aggregates of a tile become one, by the kind of feature.
_FOLDS: Final[dict[str, str]] = {
    "count": "count", "rate": "count", "sum": "sum", "mean": "sum", "min": "min", "max": "max", "last": "last",
    "recency": "last", "first": "first",
}


def _sums(a: list[int], b: list[int]) -> list[int]:
    return [a[0] + b[0], max(-_SUM_MAX, min(_SUM_MAX, a[1] + b[1]))]


def _rank(cell: Cell) -> tuple[int, str]:
    """Of two at one moment the same one wins, whichever came first."""
    return cell[0], repr(cell[1])


_FOLD: Final[dict[str, Callable[[Cell, Cell], Cell]]] = {
    "count": lambda a, b: a + b, "sum": _sums, "min": min, "max": max,
    "last": lambda a, b: max(a, b, key=_rank), "first": lambda a, b: min(a, b, key=_rank),
}


def _cell(fold: str, at_ms: int, value: Any) -> Cell:
    if fold == "count":
        return 1
    if fold == "sum":
        return [1, value]
    return value if fold in ("min", "max") else [at_ms, value]


def _united_cells(a: dict[int, Cell], b: dict[int, Cell], kept: Kept) -> dict[int, Cell]:
    fold = _FOLD[kept.fold]
    return a | {start: fold(a[start], cell) if start in a else cell for start, cell in b.items()}


def _united_moments(a: list[Any], b: list[Any], kept: Kept) -> list[Any]:
    """`[lost_ms, [[at_ms, value], …]]`, by moment: the newest, and the newest of those that had no room."""
    if len(b[1]) == 1 and (not a[1] or b[1][0] >= a[1][-1]):
        every = [*a[1], *b[1]]
    else:
        every = sorted([*a[1], *b[1]])
    lost = [every[-kept.keep - 1][0]] if len(every) > kept.keep else []
    return [max(a[0], b[0], *lost), every[-kept.keep:]]


def _united_distinct(a: list[Any], b: list[Any], kept: Kept) -> list[Any]:
    """`[hash → last moment, sketch]`: the hashes are empty once there were too many, the sketch is until then."""
    hashes = dict(a[0])
    for one, at in b[0].items():
        hashes[one] = max(at, hashes.get(one, at))
    registers = sketch.united(a[1], b[1]) if a[1] or b[1] else {}
    if registers or len(hashes) > DISTINCT_EXACT_MAX:
        for one, at in hashes.items():
            sketch.seen(registers, one, at)
        hashes = {}
    return [hashes, registers]


def _united_recent(a: dict[str, list[Any]], b: dict[str, list[Any]], kept: Kept) -> dict[str, list[Any]]:
    """`value → [last moment, kind of that event]`: the values that came last."""
    both = dict(a)
    for value, said in b.items():
        both[value] = max(said, both.get(value, said))
    if len(both) <= kept.keep:
        return both
    newest = sorted(both, key=lambda value: (both[value][0], value))[-kept.keep:]
    return {value: both[value] for value in newest}


def _united_top(a: dict[str, dict[int, int]], b: dict[str, dict[int, int]], kept: Kept) -> dict[str, dict[int, int]]:
    """`value → tile → count`. Past the bound a newcomer takes over what the rarest one had counted, by Space-Saving
    (Metwally, Agrawal, El Abbadi, 2005): what is frequent stays, and is never counted too low."""
    both = {value: dict(cells) for value, cells in a.items()}
    for value, cells in b.items():
        if value not in both and len(both) >= TOP_VALUES_MAX:
            rarest = min(both, key=lambda one: (sum(both[one].values()), one))
            both[value] = both.pop(rarest)
        own = both.setdefault(value, {})
        for start, count in cells.items():
            own[start] = own.get(start, 0) + count
    return both


def _united_decayed(a: list[Any], b: list[Any], kept: Kept) -> list[Any]:
    """`[moment, sum as of then]` (forward decay: Cormode, Shkapenyuk, Srivastava, Xu, 2009)."""
    if not a or not b:
        return a or b
    at_ms = max(a[0], b[0])
    return [at_ms, sum(one[1] * 2.0 ** ((one[0] - at_ms) / kept.half_life_ms) for one in sorted((a, b)))]


_UNITE: Final[dict[int, Callable[[Any, Any, Kept], Any]]] = {
    Layout.CELLS: _united_cells, Layout.MOMENTS: _united_moments, Layout.DISTINCT: _united_distinct,
    Layout.RECENT: _united_recent, Layout.TOP: _united_top, Layout.DECAYED: _united_decayed,
}
_EMPTY: Final[dict[int, Callable[[], Any]]] = {
    Layout.CELLS: dict, Layout.MOMENTS: lambda: [0, []], Layout.DISTINCT: lambda: [{}, {}], Layout.RECENT: dict,
    Layout.TOP: dict, Layout.DECAYED: list,
}
_ONE: Final[dict[int, Callable[[Kept, int, int, Any], Any]]] = {
    Layout.CELLS: lambda kept, at, cell, value: {cell: _cell(kept.fold, at, value)},
    Layout.MOMENTS: lambda kept, at, cell, value: [0, [[at, value]]],
    Layout.DISTINCT: lambda kept, at, cell, value: [{value: at}, {}],
    Layout.RECENT: lambda kept, at, cell, value: {value[0]: [at, value[1]]},
    Layout.TOP: lambda kept, at, cell, value: {value: {cell: 1}},
    Layout.DECAYED: lambda kept, at, cell, value: [at, value],
}


def _forget_cells(body: dict[int, Any], start_ms: int) -> None:
    # The cell of a feature without tiles starts at nought, and is never too old.
    for start in [start for start in body if 0 < start < start_ms]:
        del body[start]


def _forget_moments(body: list[Any], start_ms: int) -> None:
    moments = body[1]
    if moments and moments[0][0] < start_ms:
        body[1] = [one for one in moments if one[0] >= start_ms]


def _forget_distinct(body: list[Any], start_ms: int) -> None:
    for one in [one for one, at in body[0].items() if at < start_ms]:
        del body[0][one]


def _forget_recent(body: dict[str, list[Any]], start_ms: int) -> None:
    for value in [value for value, said in body.items() if said[0] < start_ms]:
        del body[value]


def _forget_top(body: dict[str, dict[int, int]], start_ms: int) -> None:
    for value in list(body):
        _forget_cells(body[value], start_ms)
        if not body[value]:
            del body[value]


_FORGET: Final[dict[int, Callable[[Any, int], None]]] = {
    Layout.CELLS: _forget_cells, Layout.MOMENTS: _forget_moments, Layout.DISTINCT: _forget_distinct,
    Layout.RECENT: _forget_recent, Layout.TOP: _forget_top, Layout.DECAYED: lambda body, start_ms: None,
}

"""Where a feature's window begins, which tile a moment is in, and when time alone next changes what counts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo
from typing import Any, Final

from pipeline.core.features.kept import Kept
from pipeline.core.model.features import Between, Feature, Layout, Pause
from pipeline.core.model.windows import SESSION_MS_MAX, Calendar, Rolling, bounds

#: Before everything.
ALWAYS_MS: Final = -(2**62)
#: After so many half-lives an event counts for less than a millionth of a millionth: for nothing.
HALF_LIVES: Final = 40


def tile_ms(feature: Feature, at_ms: int, zone: tzinfo) -> int:
    """The start of the tile of a moment; 0 where there is only one."""
    window = feature.window
    if feature.kind in ("last", "recency"):
        return 0
    if isinstance(window, Calendar):
        return bounds(window, at_ms, zone)[0]
    return at_ms // feature.tile_ms * feature.tile_ms if feature.tile_ms else 0


def start_ms(feature: Feature, now_ms: int, zone: tzinfo) -> int:
    """The first millisecond that counts, rounded down to a tile where there are tiles. Of a session: the first that
    may; see `session_start_ms`."""
    window = feature.window
    if isinstance(window, Calendar):
        return bounds(window, now_ms, zone)[0]
    if isinstance(window, Rolling):
        begins = now_ms - window.length_ms + 1
        tiled = feature.tile_ms and feature.layout in (Layout.CELLS, Layout.TOP) and feature.kind not in (
            "last", "recency")
        return begins // feature.tile_ms * feature.tile_ms if tiled else begins
    if isinstance(window, Pause):
        return now_ms - SESSION_MS_MAX + 1
    if feature.kind == "decayed":
        return now_ms - HALF_LIVES * feature.half_life_ms
    return window.from_ms if isinstance(window, Between) else ALWAYS_MS


def length_ms(feature: Feature, start: int, now_ms: int) -> int:
    """How much time the window has covered so far; no less than what the rate is told for."""
    window, until_ms = feature.window, now_ms + 1
    if isinstance(window, Between) and window.until_ms is not None:
        until_ms = min(until_ms, window.until_ms)
    return max(until_ms - start, feature.each_ms if not isinstance(window, Rolling) else 1)


def holds(feature: Feature, at_ms: int) -> bool:
    """Whether an event of that moment may ever count: always, but for fixed windows."""
    window = feature.window
    return not isinstance(window, Between) or (
        window.from_ms <= at_ms and (window.until_ms is None or at_ms < window.until_ms))


def session_start_ms(gap_ms: int, moments: list[list[Any]], lost_ms: int, now_ms: int) -> int | None:
    """When the session at a moment began, of moments in order; `now_ms` + 1 where there is none. None: unknown, since
    it may reach back to what had no room."""
    begins = now_ms + 1
    for at, _ in reversed(moments):
        if begins - at >= gap_ms + (begins > now_ms) or at <= now_ms - SESSION_MS_MAX:
            return begins
        begins = at
    reaches = begins - lost_ms < gap_ms + (begins > now_ms) and lost_ms > now_ms - SESSION_MS_MAX
    return None if lost_ms and reaches else begins


def due_ms(feature: Feature, kept: Kept, heard_ms: int, now_ms: int, zone: tzinfo) -> int | None:
    """When time alone next changes what counts: a tile or a moment leaves the window, or the window has passed since
    it began to be counted. Never more often than a tile."""
    dues = [due for entry in kept.entries.values() for due in _leaving(feature, entry.body, now_ms, zone)]
    if isinstance(feature.window, Rolling) and heard_ms and heard_ms < feature.since_ms:
        dues.append(feature.since_ms + feature.window.length_ms + feature.tile_ms)
    return min((due for due in dues if due > now_ms), default=None)


def _leaving(feature: Feature, body: Any, now_ms: int, zone: tzinfo) -> Iterable[int]:
    window = feature.window
    if isinstance(window, Calendar):
        return (bounds(window, now_ms, zone)[1],)
    if isinstance(window, Pause):
        return (body[1][-1][0] + window.gap_ms,) if body[1] else ()
    if not isinstance(window, Rolling):
        return ()
    length_ms = window.length_ms
    if feature.layout is Layout.MOMENTS:
        return (at + length_ms for at, _ in body[1])
    if feature.layout is Layout.DISTINCT:
        registers = (at for pairs in body[1].values() for at in pairs[1::2])
        return (at + length_ms for at in (*body[0].values(), *registers))
    if feature.layout is Layout.RECENT:
        return (said[0] + length_ms for said in body.values())
    if feature.kind in ("last", "recency"):
        return (cell[0] + length_ms for cell in body.values())
    cells = body if feature.layout is Layout.CELLS else {start for counts in body.values() for start in counts}
    return (start + feature.tile_ms + length_ms - 1 for start in cells)

"""Bounded lists of timestamps, ascending: what behaviour and caps count by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

#: How many timestamps one behaviour signal or cap counter keeps at most.
TIMESTAMPS_MAX: Final = 1_000


def newest(*timestamps: tuple[int, ...], keep: int = TIMESTAMPS_MAX) -> tuple[int, ...]:
    """All timestamps in order, only the newest `keep`."""
    merged = sorted(moment for part in timestamps for moment in part)
    return tuple(merged[-keep:]) if keep > 0 else ()


def appended(timestamps: tuple[int, ...], at_ms: int, keep: int) -> tuple[int, ...]:
    """One more moment in its place, only the newest `keep`."""
    if not timestamps or at_ms >= timestamps[-1]:
        return (*timestamps, at_ms)[-keep:] if keep > 0 else ()
    return newest(timestamps, (at_ms,), keep=keep)


def minus(timestamps: Iterable[int], less: Iterable[int]) -> tuple[int, ...]:
    """The timestamps without those of another list, each taken out once."""
    left = Counter(less)
    result = []
    for moment in timestamps:
        if left[moment] > 0:
            left[moment] -= 1
        else:
            result.append(moment)
    return tuple(result)

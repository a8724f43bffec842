"""What sections that are maps have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import TypeVar

_T = TypeVar("_T")


def combined(a: Mapping[str, _T], b: Mapping[str, _T], both: Callable[[_T, _T], _T]) -> dict[str, _T]:
    """Both maps' entries; `both` of a name that both have."""
    return {**a, **{name: both(a[name], value) if name in a else value for name, value in b.items()}}


def overruled(own: Mapping[str, _T], given: Mapping[str, _T], merged: Mapping[str, _T]) -> dict[str, _T]:
    """What a merge put out of force; also what both sides had alike, which stays when the merge is undone."""
    return {name: old for name, old in own.items() if merged[name] == given.get(name)}


def only(parts: dict[str, _T], names: Set[str]) -> dict[str, _T]:
    """Those of these names; in their own order, so that the same map always gives the same bytes."""
    return {name: part for name, part in parts.items() if name in names} if parts else parts

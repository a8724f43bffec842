"""Which events of behaviour something is about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Matcher:
    """Which feedback events a signal or feature is about; an empty part means all."""

    kinds: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    items: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    placements: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()

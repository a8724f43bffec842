"""What identifiers are called under each tenant key, and which of them belong together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.core.model.records import IdentityEvent
from pipeline.core.model.values import replaced


def newly(name: str) -> str:
    """A hash, or a key that ends with one, under the new tenant key."""
    return name[:-1] + name[-1].upper()


def early(name: str) -> str:
    """And under the old one."""
    return name[:-1] + name[-1].lower()


def as_early(event: Any) -> Any:
    """The event with every identifier as under the old tenant key."""
    event = replaced(event, subject=early(event.subject))
    if not isinstance(event, IdentityEvent):
        return event
    return replaced(event, alias_of=event.alias_of and early(event.alias_of),
                   identifiers=[replaced(one, hash=early(one.hash)) for one in event.identifiers])


def sets_of(names: Iterable[str], pairs: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Each name's set, under one member's name."""
    sets = {name: name for name in sorted(names)}
    for one, other in pairs:
        if other is not None:
            old, new = sets.setdefault(one, one), sets.setdefault(other, other)
            sets = {name: new if root == old else root for name, root in sets.items()}
    return sets


def members_of(sets: dict[str, str]) -> list[list[str]]:
    """Every set, by its members in order."""
    return [sorted(name for name, root in sets.items() if root == one) for one in sorted(set(sets.values()))]

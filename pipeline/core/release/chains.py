"""How far `instead` leads from one item to another: bounded, since every decision may have to go all the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from pipeline.core.model.definitions import Item
from pipeline.core.model.problems import Problem

#: Items that `instead` reaches from any one, one after the other; a ring counts to where it closes.
INSTEAD_MAX: Final = 5


def reached(items: Mapping[str, Item], first: Item) -> Iterator[Item]:
    """What an item leads to by `instead`, in order and without itself: as far as a decision goes, no item twice."""
    return islice(_following(items, first), INSTEAD_MAX)


def too_long(items: Mapping[str, Item]) -> list[Problem]:
    """A problem for the beginning of every chain past the bound; of a ring, for one of its items."""
    long = [item for _, item in sorted(items.items()) if _is_too_long(items, item)]
    targets = {item.instead for item in long}
    found, seen = [], set[str]()
    # Those that nothing leads to first: what is left then are rings of their own.
    for item in (*(one for one in long if one.id not in targets), *long):
        if item.id in seen:
            continue
        seen.add(item.id)
        found.append(Problem(
            ("items", item.id, "instead"), f"leads from item to item through more than {INSTEAD_MAX}",
            f"leave `instead` out after {INSTEAD_MAX} items, or name the last one sooner"))
        for one in _following(items, item):
            if one.id in seen:
                break
            seen.add(one.id)
    return found


def _is_too_long(items: Mapping[str, Item], first: Item) -> bool:
    return next(islice(_following(items, first), INSTEAD_MAX, None), None) is not None


def _following(items: Mapping[str, Item], first: Item) -> Iterator[Item]:
    seen, item = {first.id}, items.get(first.instead)
    while item is not None and item.id not in seen:
        seen.add(item.id)
        yield item
        item = items.get(item.instead)

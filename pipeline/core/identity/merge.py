"""Two profiles of one subject become one: counters add up, nothing resets, nothing counts twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.core.sections.section import changed, section_bytes
from pipeline.core.subject import Account, Person

S = TypeVar("S", Person, Account)


@dataclass(slots=True)
class Merging:
    """One merge under way: whose state is merged into whose, by which event and when (epoch ms)."""

    own: Person | Account
    given: Person | Account
    event_id: str
    now_ms: int
    #: Whether the given-up state held anything but names.
    counts: bool
    #: What the merge put out of force so far, by section.
    displaced: dict[str, bytes] = field(default_factory=dict)


def merged(own: S, given: S, event_id: str = "", now_ms: int = 0) -> S:
    """The winner's profile with everything the given-up one knew. Segments are the caller's to compute again."""
    merging = Merging(own, given, event_id, now_ms, substantial(given))
    changes = {}
    for name, section in own.SECTIONS.items():
        mine, other = getattr(own, name), getattr(given, name)
        changes[name] = both = section.merge(mine, other, merging)
        if section.displaced is not None and (out := section.displaced(mine, other, both)):
            merging.displaced[name] = section_bytes(out)
    return changed(own, **changes)


def substantial(given: Person | Account) -> bool:
    """Whether a given-up profile held anything but identifiers: what is empty leaves nothing to undo."""
    return any(getattr(given, name) for name, section in given.SECTIONS.items() if section.counts)

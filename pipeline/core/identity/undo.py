"""A merge undone: what one profile had from another is taken out of it again, exactly once. What cannot be told apart
stays (docs/identity.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.core.identity.links import settled
from pipeline.core.identity.merge import substantial
from pipeline.core.model.values import replaced
from pipeline.core.sections.links import HELD, UNMERGED
from pipeline.core.sections.merges import Merge
from pipeline.core.sections.section import changed, section_bytes
from pipeline.core.subject import Person


def contains(profile: Person, given: Person, event_id: str, name: str) -> bool:
    """Whether this very merge is in the profile; of an identifier that brought nothing: whether it is there.

    `name`: the hash by which the profile's links know it.
    """
    if not substantial(given):
        link = profile.links.get(name)
        return link is not None and link.outcome in HELD
    merge = profile.merged.get(given.profile_id)
    return merge is not None and merge.event_id == event_id


@dataclass(frozen=True, slots=True)
class Undoing:
    """One merge that is undone: whose state is taken out of whose, and by which name the whole knows its identifier."""

    own: Person
    given: Person
    name: str
    #: The merge, as the whole remembers it.
    merge: Merge

    def left(self, section: str, value: Any) -> Any:
        """A section's value without what came of the given one."""
        return Person.SECTIONS[section].subtract(value, getattr(self.given, section),
                                                 _displaced(self.merge, section), self)

    def less(self, merge: Merge) -> Merge:
        """A later merge that put out of force what the undone one had brought: that is nothing to go back to any more.
        """
        left = {name: self.left(name, _displaced(merge, name)) for name in merge.displaced}
        return replaced(merge, displaced={name: section_bytes(value) for name, value in left.items() if value})


def without(profile: Person, given: Person, at_ms: int, name: str) -> Person:
    """The profile without what it had from the given-up one. Segments are the caller's to compute again.

    `at_ms`: when it was undone; events from before then join the two no more. `name`: as the profile's links know it.
    """
    undoing = Undoing(profile, given, name, profile.merged.get(given.profile_id, Merge("", 0)))
    changes = {section: undoing.left(section, getattr(profile, section)) for section in Person.SECTIONS}
    return settled(changed(profile, **changes), name, UNMERGED, at_ms=at_ms)


def returned(given: Person, holder: Person) -> Person:
    """What the identifier gets back: its state as it was, with every refusal that was given to the whole since, and
    with what the whole knows of repeats."""
    return changed(given, **{name: section.returned(getattr(given, name), getattr(holder, name))
                             for name, section in Person.SECTIONS.items()})


def _displaced(merge: Merge, name: str) -> Any:
    """What a merge put out of force of a section."""
    data = merge.displaced.get(name)
    return Person.SECTIONS[name].empty if data is None else Person.section_of(name, data)

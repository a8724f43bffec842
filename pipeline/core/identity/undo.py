"""A merge undone: what one profile had from another is taken out of it again, exactly once. What cannot be told apart
stays (docs/identity.md).
"""

from __future__ import annotations

from typing import Any

from pipeline.core.identity.links import settled
from pipeline.core.identity.merge import substantial
from pipeline.core.keys import hash_of
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


def without(profile: Person, given: Person, at_ms: int, name: str) -> Person:
    """The profile without what it had from the given-up one. Segments are the caller's to compute again.

    `at_ms`: when it was undone; events from before then join the two no more. `name`: as the profile's links know it.
    """
    merge = profile.merged.get(given.profile_id, Merge("", 0))
    changes = {
        section_name: section.subtract(getattr(profile, section_name), getattr(given, section_name),
                                       _displaced(merge, section_name))
        for section_name, section in Person.SECTIONS.items()
    }
    changes["merged"] = {key: _less(one, given, merge) for key, one in profile.merged.items()
                         if key != given.profile_id and key not in given.merged}
    changes["links"] = links = dict(profile.links)
    for hash_, link in given.links.items():
        if link.outcome in HELD and hash_ not in (name, hash_of(given.profile_id), hash_of(profile.profile_id)):
            links.pop(hash_, None)
    return settled(changed(profile, **changes), name, UNMERGED, at_ms=at_ms)


def returned(given: Person, holder: Person) -> Person:
    """What the identifier gets back: its state as it was, with every refusal that was given to the whole since, and
    with what the whole knows of repeats."""
    return changed(given, **{name: section.returned(getattr(given, name), getattr(holder, name))
                             for name, section in Person.SECTIONS.items()})


def _less(merge: Merge, given: Person, undone: Merge) -> Merge:
    """A later merge that put out of force what the undone one had brought: that is nothing to go back to any more."""
    left = {
        name: Person.SECTIONS[name].subtract(_displaced(merge, name), getattr(given, name), _displaced(undone, name))
        for name in merge.displaced
    }
    return replaced(merge, displaced={name: section_bytes(value) for name, value in left.items() if value})


def _displaced(merge: Merge, name: str) -> Any:
    """What a merge put out of force of a section."""
    data = merge.displaced.get(name)
    return Person.SECTIONS[name].empty if data is None else Person.section_of(name, data)

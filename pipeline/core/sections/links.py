"""Links: which identifiers lead to a profile, which were kept off, and by what evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.core.identity.identity_rules import LINKS_MAX
from pipeline.core.keys import hash_of
from pipeline.core.model.values import Value
from pipeline.core.sections.section import Section

if TYPE_CHECKING:
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing

#: Held: the profile's own id; claimed, with the answer outstanding; it had nothing to bring; it brought a state.
SELF: Final = "self"
CLAIMED: Final = "claimed"
LINKED: Final = "linked"
JOINED: Final = "joined"
#: Not held: a limit kept it off; it follows another login, or was let go; a merge was undone; at an alias's own key.
LIMITED: Final = "limited"
LEFT: Final = "left"
UNMERGED: Final = "unmerged"
GIVEN_UP: Final = "given_up"
#: At an alias's own key: it was asked back, and the answer is under way.
ASKED_BACK: Final = "asked_back"

#: Cause of a link that came with another profile; of a claim on such an identifier, with the event that joined it.
BROUGHT: Final = "brought:"

HELD: Final = frozenset((SELF, CLAIMED, LINKED, JOINED))

#: Evidence of what is not held: the newest of so many.
EVIDENCE_MAX: Final = 32

#: How many profiles an identifier knows that have evidence about it without holding it.
MENTIONS_MAX: Final = 32


class Link(Value, frozen=True, omit_defaults=True):
    """What tied an identifier to a profile, or kept it off: the evidence. `outcome`: see the words above."""

    type: str
    outcome: str
    event_id: str
    #: Event time; and when the profile took it up, by which windows of limits count.
    at_ms: int
    since_ms: int
    source: str = ""
    #: What kept it off, or took it away.
    cause: str = ""


#: By the identifier's hash.
Links = dict[str, Link]


def bounded(links: Links) -> Links:
    """The links without the oldest evidence past the limit; what is held goes last."""
    other = sorted((link.since_ms, hash_) for hash_, link in links.items() if link.outcome not in HELD)
    for _, hash_ in other[: max(0, len(other) - EVIDENCE_MAX)]:
        del links[hash_]
    over = len(links) - LINKS_MAX - EVIDENCE_MAX
    if over > 0:
        for _, hash_ in sorted((link.since_ms, hash_) for hash_, link in links.items() if link.outcome != SELF)[:over]:
            del links[hash_]
    return links


def _merge(own: Links, given: Links, merging: Merging) -> Links:
    """What the other one held is held here."""
    result = dict(own)
    for hash_, link in given.items():
        mine = result.get(hash_)
        if link.outcome in HELD and (mine is None or mine.outcome not in HELD or mine.outcome == CLAIMED):
            outcome = LINKED if link.outcome == SELF else link.outcome
            cause = BROUGHT if outcome == CLAIMED else link.cause
            result[hash_] = Link(link.type, outcome, link.event_id, link.at_ms, link.since_ms, link.source, cause)
        elif mine is None:
            result[hash_] = link
    name = hash_of(merging.own.profile_id)
    result.pop(name, None)
    mine = own.get(name) or given.get(name)
    if mine is not None:
        result[name] = Link(mine.type, SELF, mine.event_id, mine.at_ms, mine.since_ms, mine.source)
    return bounded(result)


def _subtract(own: Links, given: Links, _: Links, undoing: Undoing) -> Links:
    """Without what leads to the other side; that side's own name stays, as evidence of what was undone."""
    stays = (undoing.name, hash_of(undoing.given.profile_id), hash_of(undoing.own.profile_id))
    goes = {name for name, link in given.items() if link.outcome in HELD and name not in stays}
    return {name: link for name, link in own.items() if name not in goes}


LINKS: Final[Section[Links]] = Section({}, _merge, subtract=_subtract)
#: By key: profiles whose evidence names this identifier without holding it; an erasure reaches them.
MENTIONS: Final[Section[dict[str, int]]] = Section({})

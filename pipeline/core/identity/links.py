"""Which identifiers a profile has: what may be added, what is left out and why. The evidence is bounded.

A link is *held* (it counts towards the limits and leads here) or it says why an identifier is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, TypeVar

from pipeline.core.identity.identity_rules import USER_ID, IdentityRules
from pipeline.core.keys import hash_of
from pipeline.core.model.records import Identifier, IdentityEvent
from pipeline.core.model.values import replaced
from pipeline.core.sections.links import CLAIMED, HELD, LIMITED, SELF, UNMERGED, Link, bounded
from pipeline.core.sections.section import changed
from pipeline.core.subject import Person, Redirect, Subject

_S = TypeVar("_S", bound=Person | Redirect)

#: What `why_not` says of the whole profile.
MAX_LINKS: Final = "max_links"
MAX_MERGES: Final = "max_merges"


def identifier(key: str, type_: str, state: Subject | None) -> Identifier:
    """The identifier whose key this is, with the hashes under which others may know it."""
    rotation = None if state is None else state.rotation
    return Identifier(type_, hash_of(key), [] if rotation is None else [*rotation.taken])


def is_of(one: Identifier, key: str) -> bool:
    """Whether this is the key of the identifier, perhaps by an earlier hash that has not been taken over yet."""
    name = hash_of(key)
    return name == one.hash or name in one.earlier


def held(profile: Person) -> list[Identifier]:
    """The identifiers that lead to the profile, as far as it knows."""
    return [Identifier(link.type, hash_) for hash_, link in profile.links.items() if link.outcome in HELD]


def why_not(
    profile: Person, rules: IdentityRules, more: Iterable[Identifier], now_ms: int, merges: int = 1,
    explicit: bool = False,
) -> str:
    """What keeps the profile from having these identifiers too; "" for nothing. `explicit`: only maxima count."""
    types = Counter(one.type for one in more)
    own = [link for link in profile.links.values() if link.outcome in HELD]
    if len(own) + types.total() > rules.links_max:
        return MAX_LINKS
    if len(profile.merged) + merges > rules.merges_max:
        return MAX_MERGES
    for type_ in () if explicit else sorted(types, key=lambda name: (rules.of(name).priority, name)):
        rule = rules.of(type_)
        if rule.limit is None:
            continue
        since_ms = 0 if rule.window_ms is None else now_ms - rule.window_ms
        if sum(link.type == type_ and link.since_ms >= since_ms for link in own) + types[type_] > rule.limit:
            return f"limit:{type_}"
    return ""


def identified(
    profile: Person, event: IdentityEvent, rules: IdentityRules, now_ms: int
) -> tuple[Person, tuple[Identifier, ...], tuple[tuple[Identifier, str], ...]]:
    """The profile after an event that names its identifiers, those to claim, and those left out, with the cause.

    Strongest first: where not all of them fit, the weakest are those left out.
    """
    links = dict(profile.links)
    own, at_ms = hash_of(profile.profile_id), min(event.at_ms, now_ms)
    named = links.get(own)
    if event.subject == profile.profile_id and event.subject_type and (
            named is None or named.type != event.subject_type):
        links[own] = _link(event, event.subject_type, SELF, now_ms)
    claims: list[Identifier] = []
    limited: list[tuple[Identifier, str]] = []
    for one in sorted(event.identifiers, key=lambda one: (rules.of(one.type).priority, one.hash)):
        fresh = one.hash not in links
        anew = renamed(links, one) and fresh
        known = links.get(one.hash)
        if one.hash == own or (known is not None and known.outcome == UNMERGED and event.at_ms <= known.at_ms):
            continue
        if anew and known is not None and known.outcome in HELD:
            # Ours under its earlier hash: under the new one it has yet to come to know that.
            links[one.hash] = _link(event, one.type, CLAIMED, now_ms, since_ms=known.since_ms)
            claims.append(one)
            continue
        if known is not None and known.outcome in HELD:
            if at_ms > known.at_ms:
                # A shared identifier follows the latest login, by event time.
                links[one.hash] = Link(known.type, known.outcome, known.event_id, at_ms, known.since_ms,
                                       known.source, known.cause)
            continue
        cause = why_not(changed(profile, links=links), rules, (one,), now_ms)
        links[one.hash] = _link(event, one.type, LIMITED if cause else CLAIMED, now_ms, cause)
        if cause:
            limited.append((one, cause))
        else:
            claims.append(one)
    return changed(profile, links=bounded(links)), tuple(claims), tuple(limited)


def aliased(
    profile: Person, event: IdentityEvent, rules: IdentityRules, now_ms: int
) -> tuple[Person, Identifier, str]:
    """The profile after somebody's word that an identifier is its own, that identifier, and what keeps it off."""
    one = Identifier(event.subject_type, hash_of(event.subject), event.earlier)
    own = hash_of(profile.profile_id)
    if own not in profile.links:
        # It counts as somebody's account from now on: two of them are not joined by what they share.
        self_ = _link(event, USER_ID, SELF, now_ms)
        profile = changed(profile, links={**profile.links, own: self_})
    profile = known_as(profile, one)
    known = profile.links.get(one.hash)
    if known is not None and known.outcome in HELD:
        return profile, one, ""
    cause = why_not(profile, rules, (one,), now_ms, explicit=True)
    link = _link(event, one.type, LIMITED if cause else CLAIMED, now_ms, cause)
    return changed(profile, links=bounded({**profile.links, one.hash: link})), one, cause


def _link(
    event: IdentityEvent, type_: str, outcome: str, now_ms: int, cause: str = "", since_ms: int | None = None
) -> Link:
    return Link(type_, outcome, event.event_id, min(event.at_ms, now_ms), now_ms if since_ms is None else since_ms,
                event.source, cause)


def renamed(links: dict[str, Link], one: Identifier) -> bool:
    """Whether the links had the identifier under an earlier hash: from now on it is in them under the present one."""
    found = [links.pop(name) for name in one.earlier if name in links and name != one.hash]
    if not found:
        return False
    links.setdefault(one.hash, next((link for link in found if link.outcome in HELD), found[0]))
    return True


def known_as(profile: _S, one: Identifier) -> _S:
    """The profile that knows an identifier by its present hash."""
    if not any(name in profile.links for name in one.earlier):
        return profile
    links = dict(profile.links)
    renamed(links, one)
    return changed(profile, links=links)


def settled(profile: _S, hash_: str, outcome: str, cause: str = "", at_ms: int | None = None) -> _S:
    """The profile with what became of one link; one that it does not know is none of its business."""
    link = profile.links.get(hash_)
    if link is None:
        return profile
    link = Link(link.type, outcome, link.event_id, link.at_ms if at_ms is None else at_ms, link.since_ms, link.source,
                cause)
    return changed(profile, links=bounded({**profile.links, hash_: link}))


def reserved(
    profile: Person, more: Iterable[Identifier], claimed: str, event_id: str, at_ms: int, now_ms: int, source: str
) -> Person:
    """The profile with places taken for what will come with a claimed identifier."""
    new = {one.hash: Link(one.type, CLAIMED, event_id, at_ms, now_ms, source, f"with:{claimed}") for one in more}
    return changed(profile, links=bounded({**profile.links, **new}))


def forgotten(state: _S, one: Identifier, key: str) -> _S:
    """The state without any trace of an identifier that was erased; itself where there is none. `key`: its key."""
    names = {one.hash, *one.earlier, hash_of(key)}

    def of_it(other: str | None) -> bool:
        return other is not None and hash_of(other) in names

    after = changed(
        state,
        links={name: link for name, link in state.links.items()
               if name not in names and not any(link.cause == f"with:{gone}" for gone in names)},
        mentions={other: at for other, at in state.mentions.items() if not of_it(other)},
        forwarded={event: to for event, to in state.forwarded.items() if not of_it(to)},
        given=None if state.given is None or of_it(state.given.to) else replaced(
            state.given, state=forgotten(state.given.state, one, key)),
    )
    if isinstance(after, Person):
        after = changed(after, merged={other: merge for other, merge in after.merged.items() if not of_it(other)})
    return state if after == state else after


def released(profile: Person, *claimed: str) -> Person:
    """The profile without the places that are still held for what claimed identifiers were to bring: it has come, or
    will not."""
    causes = {f"with:{name}" for name in claimed}
    left = {hash_: link for hash_, link in profile.links.items()
            if link.outcome != CLAIMED or link.cause not in causes}
    return profile if len(left) == len(profile.links) else changed(profile, links=left)

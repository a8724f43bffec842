"""Memberships: which accounts somebody belongs to or has left, and in which roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pipeline.core import keys
from pipeline.core.model.values import Value, replaced
from pipeline.core.model.words import Membership
from pipeline.core.sections.section import Section

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing

#: Accounts that one person is remembered to belong to, or to have left.
MEMBERSHIPS_MAX: Final = 32
ROLES_MAX: Final = 16
ROLE_CHARS_MAX: Final = 64


class Member(Value, frozen=True, omit_defaults=True):
    """What is known of belonging to one account: the newest event about it wins."""

    roles: tuple[str, ...] = ()
    at_ms: int = 0
    left: bool = False
    #: When it was last declared the primary one; 0: never.
    primary_ms: int = 0
    #: What stands after the tenant in the account's keys under earlier tenant keys, the newest first.
    earlier: tuple[str, ...] = ()


Members = dict[str, Member]


def joined(known: Mapping[str, Member], event: Membership, at_ms: int) -> Members:
    """The memberships after one event; past the limit those left longest ago are forgotten, then the oldest."""
    said = Member(tuple(event.roles[:ROLES_MAX]), at_ms, event.left, at_ms if event.primary else 0,
                  tuple(event.earlier))
    return _bounded(_renamed({**known, event.account: _newer(known.get(event.account), said)}))


def primary(members: Mapping[str, Member]) -> str:
    """The key of the account that counts: of those not left, the one last declared primary, else last heard of; "" for
    none."""
    present = [key for key, member in members.items() if not member.left] if members else []
    return max(present, key=lambda key: (members[key].primary_ms, members[key].at_ms, key)) if present else ""


def roles(members: Mapping[str, Member]) -> tuple[str, ...] | None:
    """The roles in the account that counts; None without one."""
    key = primary(members)
    return members[key].roles if key else None


def _newer(old: Member | None, new: Member) -> Member:
    if old is None:
        return new
    last, before = sorted((old, new), key=lambda one: (one.at_ms, one.left, one.roles), reverse=True)
    # To be named as a member without roles takes none away.
    roles = last.roles if last.roles or last.left or before.left else before.roles
    return Member(roles, last.at_ms, last.left, max(old.primary_ms, new.primary_ms), new.earlier or old.earlier)


def _renamed(members: Members) -> Members:
    """Memberships by the accounts' present keys: one that is there under an earlier one too is the same."""
    for key, member in list(members.items()):
        for name in member.earlier:
            before = members.pop(keys.beside(key, name), None)
            if before is not None:
                members[key] = replaced(_newer(before, members[key]), earlier=member.earlier)
    return members


def _bounded(members: Members) -> Members:
    while len(members) > MEMBERSHIPS_MAX:
        del members[min(members, key=lambda key: (not members[key].left, members[key].at_ms, key))]
    return members


def _merge(own: Members, given: Members, _: Merging) -> Members:
    """Both sides' memberships: of each account the newest."""
    if not given:
        return own
    return _bounded(_renamed({**own, **{key: _newer(own.get(key), member) for key, member in given.items()}}))


def _displaced(own: Members, given: Members, merged: Members) -> Members:
    """What is different now; also what both sides had alike, which stays when the merge is undone."""
    return {key: member for key, member in own.items() if merged.get(key) != member or given.get(key) == member}


def _subtract(own: Members, given: Members, displaced: Members, _: Undoing) -> Members:
    """Without what came from the other side alone, or came about by both."""
    result = {}
    for key, member in own.items():
        before, theirs = displaced.get(key), given.get(key)
        if theirs is None or member != _newer(before, theirs):
            result[key] = member
        elif before is not None:
            result[key] = before
    return result


def _read(own: Members, _: View) -> Members:
    key = primary(own)
    return {key: own[key]} if key else {}


MEMBERSHIPS: Final[Section[Members]] = Section({}, _merge, _displaced, _subtract, read=_read, counts=True)

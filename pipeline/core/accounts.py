"""Accounts (B2B): who belongs to which, in which roles, and what a member's decision may know of the one that counts.

An account is itself a profile, under a key that no person can have (`tenant/@hash`): its traits are its firmographics,
plan and contract, its counters those of the caps over all its members. Pure.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from pipeline.core import answers, consent, identity
from pipeline.core.consent import Verdict
from pipeline.core.definitions import Channel, Purpose
from pipeline.core.identity import TenantKeys
from pipeline.core.model import Account, Identifier, Membership
from pipeline.core.profile import Member, Profile
from pipeline.core.rules import encode_json
from pipeline.core.values import replaced

#: Accounts that one person is remembered to belong to, or to have left.
MEMBERSHIPS_MAX: Final = 32
ROLES_MAX: Final = 16
ROLE_CHARS_MAX: Final = 64

#: Sets an account's key apart from every person's: no hash begins with it.
MARK: Final = "@"


def is_account(key: str) -> bool:
    """Whether a key is an account's."""
    return key.partition("/")[2].startswith(MARK)


def joined(known: Mapping[str, Member], event: Membership, at_ms: int) -> dict[str, Member]:
    """The memberships after one event; past the limit those left longest ago are forgotten, then the oldest."""
    said = Member(tuple(event.roles[:ROLES_MAX]), at_ms, event.left, at_ms if event.primary else 0,
                  tuple(event.earlier))
    return _bounded(_renamed({**known, event.account: _newer(known.get(event.account), said)}))


def merged(own: Mapping[str, Member], given: Mapping[str, Member]) -> dict[str, Member]:
    """Both sides' memberships: of each account the newest."""
    if not given:
        return dict(own)
    return _bounded(_renamed({**own, **{key: _newer(own.get(key), member) for key, member in given.items()}}))


def _newer(old: Member | None, new: Member) -> Member:
    if old is None:
        return new
    last, before = sorted((old, new), key=lambda one: (one.at_ms, one.left, one.roles), reverse=True)
    # To be named as a member without roles takes none away.
    roles = last.roles if last.roles or last.left or before.left else before.roles
    return Member(roles, last.at_ms, last.left, max(old.primary_ms, new.primary_ms), new.earlier or old.earlier)


def _renamed(members: dict[str, Member]) -> dict[str, Member]:
    """Memberships by the accounts' present keys: one that is there under an earlier one too is the same."""
    for key, member in list(members.items()):
        for name in member.earlier:
            before = members.pop(identity.beside(key, name), None)
            if before is not None:
                members[key] = replaced(_newer(before, members[key]), earlier=member.earlier)
    return members


def _bounded(members: dict[str, Member]) -> dict[str, Member]:
    while len(members) > MEMBERSHIPS_MAX:
        del members[min(members, key=lambda key: (not members[key].left, members[key].at_ms, key))]
    return members


def primary(profile: Profile) -> str:
    """The key of the account that counts: of those not left, the one last declared primary, else last heard of."""
    present = [key for key, member in profile.accounts.items() if not member.left]
    return max(present, key=lambda key: _standing(key, profile.accounts[key])) if present else ""


def _standing(key: str, member: Member) -> tuple[int, int, str]:
    return member.primary_ms, member.at_ms, key


def roles(profile: Profile) -> tuple[str, ...] | None:
    """The roles in the account that counts; None without one."""
    key = primary(profile)
    return profile.accounts[key].roles if key else None


def of(profile: Profile, known: Mapping[str, Account]) -> Account | None:
    """The account that counts, as last published; None without one, or before anything is known of it."""
    if not profile.accounts:
        return None
    key = primary(profile)
    account = known.get(key)
    if account is None and key:
        # Until it has come over to its present key, it is known by its earlier one.
        names = (identity.beside(key, name) for name in profile.accounts[key].earlier)
        account = next((known[name] for name in names if name in known), None)
    return account


def agreed(
    account: Account | None, channel: Channel, purposes: Mapping[str, Purpose], now_ms: int, required: bool
) -> Verdict:
    """Whether an account may be contacted on a channel: one of which nothing is known has not agreed."""
    said = answers.recorded({}, account.consent if account else [], purposes, now_ms)
    verdict = consent.check(said, [purposes[name] for name in channel.account_purposes], channel.id, now_ms, required)
    name = encode_json(account.account_id if account else None)
    return Verdict(verdict.passed, f'{{"account":{name},"verdict":{verdict.proof}}}')


def identifier(tenant_keys: TenantKeys, tenant: str, account_id: str) -> Identifier:
    """The account with this id in the tenant's own words; its hashes begin with the mark. Raises IdentifierError."""
    known = identity.identifier(tenant_keys, tenant, "external_id", account_id)
    hashes = [_marked(key, hashed) for key, hashed in zip(tenant_keys, (known.hash, *known.earlier), strict=True)]
    return Identifier("account", hashes[0], hashes[1:])


def account_key(tenant_keys: TenantKeys, tenant: str, account_id: str) -> str:
    """Its key. Raises IdentifierError."""
    return identity.key_of(tenant, identifier(tenant_keys, tenant, account_id))


def _marked(tenant_key: bytes, hashed: str) -> str:
    digest = hmac.digest(tenant_key, f"account\x1f{hashed}".encode(), "sha256").hex()
    return MARK + digest[:identity.HASH_HEX_DIGITS]

"""Accounts (B2B): who belongs to which, in which roles, and what a member's decision may know of the one that counts.

An account is itself a profile, under a key that no person can have (`tenant/@hash`): its traits are its firmographics,
plan and contract, its counters those of the caps over all its members. Pure.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from pipeline.core.consent import answers, permission
from pipeline.core.consent.permission import Verdict
from pipeline.core.identity import identifiers
from pipeline.core.identity.identifiers import TenantKeys
from pipeline.core.keys import MARK, beside
from pipeline.core.model.definitions import Channel, Purpose
from pipeline.core.model.records import Account, Identifier
from pipeline.core.rules.rule import encode_json
from pipeline.core.sections import memberships
from pipeline.core.subject import Person


def of(profile: Person, known: Mapping[str, Account]) -> Account | None:
    """The account that counts, as last published; None without one, or before anything is known of it."""
    if not profile.accounts:
        return None
    key = memberships.primary(profile.accounts)
    account = known.get(key)
    if account is None and key:
        # Until it has come over to its present key, it is known by its earlier one.
        names = (beside(key, name) for name in profile.accounts[key].earlier)
        account = next((known[name] for name in names if name in known), None)
    return account


def agreed(
    account: Account | None, channel: Channel, purposes: Mapping[str, Purpose], now_ms: int, required: bool
) -> Verdict:
    """Whether an account may be contacted on a channel: one of which nothing is known has not agreed."""
    said = answers.recorded({}, account.consent if account else [], purposes, now_ms)
    asked = [purposes[name] for name in channel.account_purposes]
    verdict = permission.check(said, asked, channel.id, now_ms, required)
    name = encode_json(account.account_id if account else None)
    return Verdict(verdict.passed, f'{{"account":{name},"verdict":{verdict.proof}}}')


def identifier(tenant_keys: TenantKeys, tenant: str, account_id: str) -> Identifier:
    """The account with this id in the tenant's own words; its hashes begin with the mark. Raises IdentifierError."""
    known = identifiers.identifier(tenant_keys, tenant, "external_id", account_id)
    hashes = [_marked(key, hashed) for key, hashed in zip(tenant_keys, (known.hash, *known.earlier), strict=True)]
    return Identifier("account", hashes[0], hashes[1:])


def account_key(tenant_keys: TenantKeys, tenant: str, account_id: str) -> str:
    """Its key. Raises IdentifierError."""
    return identifiers.key_of(tenant, identifier(tenant_keys, tenant, account_id))


def _marked(tenant_key: bytes, hashed: str) -> str:
    digest = hmac.digest(tenant_key, f"account\x1f{hashed}".encode(), "sha256").hex()
    return MARK + digest[:identifiers.HASH_HEX_DIGITS]

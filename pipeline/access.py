"""What the settings say of tenants and callers: API keys and their scopes, each tenant's quotas, and how long
its logs are kept. Reads them, applies nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.core.identity.identifiers import IdentifierError, tenant_name

DECIDE: Final = "decide"
EVENTS_WRITE: Final = "events:write"
PRIVACY: Final = "privacy"
FEATURES_READ: Final = "features:read"
SCOPES: Final = (DECIDE, EVENTS_WRITE, PRIVACY, FEATURES_READ)
#: Of a key that speaks for every tenant.
ANY_TENANT: Final = "*"
#: The quota of every tenant that is not named.
OTHERS: Final = "*"

_TENANT: Final = "tenant:"
_KEY: Final = f"write it as key=scope scope tenant:name, a comma between two; scopes are {', '.join(SCOPES)}"
_QUOTA: Final = "write it as tenant=decisions:200 in_flight:64 events:1000, with * for every tenant that is not named"
_KEPT: Final = "write it as tenant=400,other=90 in days, with * for every tenant that is not named"
_DAYS: Final = re.compile(r"[1-9][0-9]{0,4}")
_PART: Final = re.compile(r"(decisions|events|in_flight):([1-9][0-9]{0,8})")


class ApiKeysError(ValueError):
    """The setting cannot be read; the text says where, without the key."""


class QuotasError(ValueError):
    """The setting cannot be read; the text says where and how to write it."""


class RetentionError(ValueError):
    """The setting cannot be read; the text says where and how to write it."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key as it is written. `tenant`: `ANY_TENANT` for every one."""

    key: str
    scopes: frozenset[str]
    tenant: str


@dataclass(frozen=True, slots=True)
class Quota:
    """One tenant's; None: without limit. Rates are per second."""

    decisions: int | None = None
    events: int | None = None
    in_flight: int | None = None


def api_keys(setting: str, default_tenant: str) -> list[ApiKey]:
    """`key=scope scope tenant:name,…`; a key that names no tenant is the default one's. Raises ApiKeysError."""
    return [_api_key(number, entry, default_tenant)
            for number, entry in _entries(setting, "API key", ApiKeysError, _KEY)]


def _api_key(number: int, entry: str, default_tenant: str) -> ApiKey:
    key, equals, said = entry.rpartition("=")
    if not equals or not key.strip():
        raise ApiKeysError(f"API key {number}: {_KEY}")
    words = said.split()
    tenants = [word.removeprefix(_TENANT) for word in words if word.startswith(_TENANT)]
    scopes = frozenset(word for word in words if not word.startswith(_TENANT))
    if not scopes or not scopes <= set(SCOPES):
        unknown = ", ".join(sorted(scopes - set(SCOPES))) or "none at all"
        raise ApiKeysError(f"API key {number} has {unknown} for scopes; there are {', '.join(SCOPES)}")
    if len(tenants) > 1:
        raise ApiKeysError(f"API key {number} belongs to one tenant, or with tenant:* to every one")
    tenant = tenants[0] if tenants else default_tenant
    try:
        return ApiKey(key.strip(), scopes, tenant if tenant == ANY_TENANT else tenant_name(tenant))
    except IdentifierError as error:
        raise ApiKeysError(f"API key {number}: {error}") from error


def quotas(setting: str) -> dict[str, Quota]:
    """The quotas by tenant. Raises QuotasError."""
    found: dict[str, Quota] = {}
    for number, entry in _entries(setting, "quota", QuotasError, _QUOTA):
        name, equals, limits = (part.strip() for part in entry.partition("="))
        parts = [_PART.fullmatch(part) for part in limits.split()]
        if not equals or not parts or not all(parts):
            raise QuotasError(f"quota {number}: {_QUOTA}")
        try:
            tenant = name if name == OTHERS else tenant_name(name)
        except IdentifierError as error:
            raise QuotasError(f"quota {number}: {error}") from error
        if tenant in found:
            raise QuotasError(f"quota {number}: {tenant} has one already")
        found[tenant] = Quota(**{match[1]: int(match[2]) for match in parts if match is not None})
    return found


def kept_days(setting: str) -> dict[str, int]:
    """How many days each tenant's logs are kept. Raises RetentionError."""
    found: dict[str, int] = {}
    for number, entry in _entries(setting, "retention", RetentionError, _KEPT):
        name, equals, days = (part.strip() for part in entry.partition("="))
        if not equals or not _DAYS.fullmatch(days):
            raise RetentionError(f"retention {number}: {_KEPT}")
        try:
            tenant = name if name == OTHERS else tenant_name(name)
        except IdentifierError as error:
            raise RetentionError(f"retention {number}: {error}") from error
        if tenant in found:
            raise RetentionError(f"retention {number}: {tenant} has one already")
        found[tenant] = int(days)
    return found


def _entries(setting: str, what: str, error: type[ValueError], how: str) -> Iterator[tuple[int, str]]:
    """The parts between commas, from 1; none of nothing. Raises `error` for an empty one."""
    if not setting:
        return
    for number, entry in enumerate((part.strip() for part in setting.split(",")), 1):
        if not entry:
            raise error(f"{what} {number} is empty: leave the comma out, or {how}")
        yield number, entry

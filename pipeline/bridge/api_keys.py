"""Development API keys: which key may do what, for which tenant. Compared in constant time; never logged."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from pipeline import access
from pipeline.access import ANY_TENANT, SCOPES
from pipeline.bridge.problems import FORBIDDEN, UNAUTHORIZED, Problem


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key may do, for one tenant or (`ANY_TENANT`) for every one."""

    scopes: frozenset[str]
    tenant: str

    def tenant_for(self, named: str | None, default: str) -> str:
        """The tenant a request is about. Raises Problem where it names another than the key's."""
        if self.tenant == ANY_TENANT:
            return named or default
        if named and named != self.tenant:
            raise Problem(FORBIDDEN, f"The API key belongs to the tenant {self.tenant}; the request names another one.")
        return self.tenant


#: Without keys everybody may do everything.
EVERYTHING: Final = Grant(frozenset(SCOPES), ANY_TENANT)


class ApiKeys:
    """The keys of one bridge. Without any the endpoints are open."""

    def __init__(self, setting: str, default_tenant: str) -> None:
        """The setting as `pipeline.access` reads it. Raises ApiKeysError."""
        self._grants = {_digest(one.key): Grant(one.scopes, one.tenant)
                        for one in access.api_keys(setting, default_tenant)}

    @property
    def open(self) -> bool:
        """Whether everybody may do everything."""
        return not self._grants

    def check(self, headers: Mapping[str, str], scope: str, in_body: str = "") -> Grant:
        """What the request's key grants. Raises Problem where it is missing, unknown, or lacks the scope.

        :param in_body: the key that the body names, for clients that can set no headers.
        """
        if not self._grants:
            return EVERYTHING
        presented = _presented(headers) or in_body or None
        if presented is None:
            raise _unauthorized("This bridge asks for an API key and the request has none.")
        granted = None
        digest = _digest(presented)
        # Every key is looked at, so that the time says nothing about which one nearly fitted.
        for known, grant in self._grants.items():
            if hmac.compare_digest(known, digest):
                granted = grant
        if granted is None:
            raise _unauthorized("This bridge does not know the API key.")
        if scope not in granted.scopes:
            raise Problem(FORBIDDEN, f"The API key lacks the scope `{scope}`.")
        return granted


def _presented(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if scheme.lower() == "basic":
        return _user(token.strip())
    return headers.get("x-api-key", "").strip() or None


def _user(token: str) -> str | None:
    """The user of HTTP's basic authentication, as clients of Segment send the key; its password is nothing."""
    try:
        return base64.b64decode(token, validate=True).decode().partition(":")[0] or None
    except ValueError:
        return None


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _unauthorized(detail: str) -> Problem:
    return Problem(UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="nextbest"'})

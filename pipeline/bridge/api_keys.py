"""Development API keys: which key may do what. Compared in constant time; never logged."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from pipeline.bridge.problems import FORBIDDEN, UNAUTHORIZED, Problem

DECIDE: Final = "decide"
EVENTS_WRITE: Final = "events:write"
SCOPES: Final = (DECIDE, EVENTS_WRITE)


class ApiKeysError(ValueError):
    """The setting cannot be read; the text says where, without the key."""


class ApiKeys:
    """The keys of one bridge. Without any the doors are open."""

    def __init__(self, setting: str) -> None:
        """`key=scope scope,key2=scope`. Raises ApiKeysError."""
        self._scopes: dict[bytes, frozenset[str]] = {}
        for number, entry in enumerate(filter(None, (part.strip() for part in setting.split(","))), 1):
            key, equals, scopes = entry.rpartition("=")
            if not equals or not key.strip():
                raise ApiKeysError(f"API key {number}: write it as key=scope scope; scopes are {', '.join(SCOPES)}")
            named = frozenset(scopes.split())
            if not named or not named <= set(SCOPES):
                unknown = ", ".join(sorted(named - set(SCOPES))) or "none at all"
                raise ApiKeysError(f"API key {number} has {unknown} for scopes; there are {', '.join(SCOPES)}")
            self._scopes[_digest(key.strip())] = named

    @property
    def open(self) -> bool:
        """Whether everybody may do everything."""
        return not self._scopes

    def check(self, headers: Mapping[str, str], scope: str) -> None:
        """Raises Problem where the request's key is missing, unknown, or lacks the scope."""
        if not self._scopes:
            return
        presented = _presented(headers)
        if presented is None:
            raise _unauthorized("This bridge asks for an API key and the request has none.")
        granted = None
        digest = _digest(presented)
        # Every key is looked at, so that the time says nothing about which one nearly fitted.
        for known, scopes in self._scopes.items():
            if hmac.compare_digest(known, digest):
                granted = scopes
        if granted is None:
            raise _unauthorized("This bridge does not know the API key.")
        if scope not in granted:
            raise Problem(FORBIDDEN, f"The API key lacks the scope `{scope}`.")


def _presented(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip() or None


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _unauthorized(detail: str) -> Problem:
    return Problem(UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="nextbest"'})

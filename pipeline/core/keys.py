"""The form of a subject's key, `tenant/hash`, and of an account's, `tenant/@hash`."""

from __future__ import annotations

from typing import Final

#: Sets an account's key apart from every person's: no hash begins with it.
MARK: Final = "@"


def tenant_of(key: str) -> str:
    """The tenant in a subject key or profile id."""
    return key.partition("/")[0]


def hash_of(key: str) -> str:
    """The identifier's hash in a subject key or profile id."""
    return key.partition("/")[2]


def beside(key: str, name: str) -> str:
    """The key of another hash of the same tenant."""
    return f"{tenant_of(key)}/{name}"


def is_account(key: str) -> bool:
    """Whether a key is an account's."""
    return hash_of(key).startswith(MARK)

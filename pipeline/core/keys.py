"""The form of a subject's key, `tenant/hash`, of an account's, `tenant/@hash`, and of a model's, `tenant/%name`."""

from __future__ import annotations

from typing import Final

#: Sets an account's key apart from every person's: no hash begins with it.
MARK: Final = "@"
#: The same of a model's.
MODEL_MARK: Final = "%"


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


def is_model(key: str) -> bool:
    """Whether a key is a model's."""
    return hash_of(key).startswith(MODEL_MARK)


def model_key(tenant: str, model: str) -> str:
    """The key of a model's statistics."""
    return f"{tenant}/{MODEL_MARK}{model}"


def model_of(key: str) -> str:
    """The model's name in its key."""
    return hash_of(key).removeprefix(MODEL_MARK)

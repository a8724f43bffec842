"""The one hash behind every bucket, seed and id: SHA-256 over the parts in UTF-8, joined by U+001F, read big-endian."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipeline.core.identity import oldest_key


def digest(*parts: str) -> str:
    """The hash as 32 hexadecimal digits (the first 16 bytes)."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def decision_id_of(subject: str, request_id: str, earlier: Sequence[str] = ()) -> str:
    """The id of a request's decision, whenever, by whomever and under whichever tenant key it is made."""
    return digest("decision", oldest_key(subject, earlier), request_id)


def applied_id_of(subject: str) -> str:
    """What stands for a decision's id where an event is confirmed; no decision has such a one."""
    return f"applied:{subject}"


def fraction(*parts: str) -> float:
    """A number in [0, 1), evenly spread and the same everywhere for the same parts."""
    return (int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest()[:8]) >> 11) / 2**53

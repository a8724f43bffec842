"""The one hash behind every bucket, seed and id: SHA-256 over the parts in UTF-8, joined by U+001F, read big-endian."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from pipeline.core.identity.identifiers import oldest_key


def digest(*parts: str) -> str:
    """The hash as 32 hexadecimal digits (the first 16 bytes)."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def decision_id_of(subject: str, request_id: str, earlier: Sequence[str] = ()) -> str:
    """The id of a request's decision, whenever, by whomever and under whichever tenant key it is made."""
    return digest("decision", oldest_key(subject, earlier), request_id)


def applied_id_of(subject: str) -> str:
    """What stands for a decision's id where an event is confirmed; no decision has such a one."""
    return f"applied:{subject}"


def item_digest(item_id: str, body: str) -> str:
    """The content of one version of a catalog item. A body is JSON, so U+001F cannot occur in it."""
    return digest("item", item_id, body)


def catalog_digest(items: Iterable[str]) -> str:
    """The content of a catalog, from the digests of its items in any order."""
    return digest("catalog", *sorted(items))


def policy_digest(body: str, since: Mapping[str, int]) -> str:
    """The content of an activated release: its body, and since when each behaviour key has been counted."""
    return digest("policy", json.dumps(sorted(since.items())), body)


def fraction(*parts: str) -> float:
    """A number in [0, 1), evenly spread and the same everywhere for the same parts."""
    return (int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest()[:8]) >> 11) / 2**53

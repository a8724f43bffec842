"""Decisions as both sides leave them on their topics, encrypted: opened with each side's own keys, and compared."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from bench.parts import BenchError
from pipeline.codecs import avro
from pipeline.codecs.encryption import BY_SUBJECT, DecryptionError
from pipeline.codecs.keyring import Keyring
from pipeline.core.model.records import Decision
from topics.catalog import DECISIONS


def decisions(ring: Keyring, records: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
    """What was decided for each request and under whose pseudonym, without the times at which it was.

    Raises BenchError where a decision is not encrypted with the key of the subject whose pseudonym it has.
    """
    found = {}
    for key, data in records:
        decision = _opened(ring, key, data)
        found[decision.request_id] = (
            ring.subject_of(key), decision.decision_id, decision.profile_id, decision.fallback, decision.reason,
            decision.release,
            [(one.item_id, one.variant, one.priority, one.score, one.content) for one in decision.decisions],
        )
    return found


def require_same(one: str, decided: dict[str, Any], other: str, also: dict[str, Any]) -> None:
    """Raises BenchError where two sides, by their names, decided anything differently."""
    different = [name for name, what in decided.items() if also.get(name) != what]
    if different or len(decided) != len(also):
        name = different[0] if different else next(name for name in also if name not in decided)
        raise BenchError(
            f"{one} and {other} decided {len(different)} of {len(decided)} requests differently, "
            f"as {name}:\n{decided.get(name)}\n{also.get(name)}"
        )


def _opened(ring: Keyring, key: bytes, data: bytes) -> Decision:
    encrypted = avro.decode(DECISIONS, data).encrypted
    if encrypted is None or encrypted[0] != BY_SUBJECT:
        raise BenchError(f"the decision under {key!r} is not encrypted with a subject's key")
    try:
        decision: Decision = avro.decode(DECISIONS, data, partial(ring.opened, key))
    except DecryptionError as error:
        raise BenchError(f"the decision under {key!r} cannot be opened: {error}") from error
    return decision

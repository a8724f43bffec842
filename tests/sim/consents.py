"""Which answer a profile may keep of all that were said about one purpose, in whatever order they came."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.core.consent.answers import SKEW_MS
from pipeline.core.model.records import ConsentGrant
from pipeline.core.model.values import replaced


def in_force(kept: ConsentGrant | None, newest: ConsentGrant, said: Iterable[ConsentGrant]) -> bool:
    """Whether a kept answer is the newest one, or a no that was received after a yes and is dated little before it."""
    return kept == newest or (
        kept is not None and not kept.granted and kept.at_ms >= newest.at_ms
        and any(0 < kept.at_ms - no.at_ms <= SKEW_MS and kept == replaced(no, at_ms=kept.at_ms) for no in said)
    )

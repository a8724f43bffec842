"""How the credit of one event is divided among the decisions that may have brought it about. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipeline.core.model.outcome_rules import Attribution

#: Of more decisions than this the first and the newest are credited.
TOUCHES_MAX: Final = 32


def weights(attribution: Attribution, decided_ms: Sequence[int]) -> tuple[float, ...]:
    """The share of each decision, of 1 in all.

    :param decided_ms: when each was made (epoch ms), ascending; at least one, at most `TOUCHES_MAX`.

    The models are those of multi-touch attribution as vendors document them: last touch, first touch, linear, time
    decay with a half-life, and position-based ("U-shaped"). `view_through` credits the last, of those that were viewed.

    >>> weights(Attribution("linear"), [1, 2, 3, 4])
    (0.25, 0.25, 0.25, 0.25)
    >>> weights(Attribution("position"), [1, 2, 3, 4])
    (0.4, 0.1, 0.1, 0.4)
    """
    count = len(decided_ms)
    if attribution.model == "linear":
        return (1.0 / count,) * count
    if attribution.model == "time_decay":
        # Beside the newest, which has 1: so no power is too small to be a number, whatever the half-life.
        return _shared([2.0 ** max((at_ms - decided_ms[-1]) / attribution.half_life_ms, -1_000.0)
                        for at_ms in decided_ms])
    if attribution.model == "position" and count > 1:
        between = attribution.between / (count - 2) if count > 2 else 0.0
        return _shared([attribution.first, *(between,) * (count - 2), attribution.last])
    credited = 0 if attribution.model == "first" else count - 1
    return tuple(1.0 if place == credited else 0.0 for place in range(count))


def _shared(parts: Sequence[float]) -> tuple[float, ...]:
    """The parts as shares of their sum; alike where that is nothing."""
    total = sum(parts)
    if total <= 0.0:
        return (1.0 / len(parts),) * len(parts)
    return tuple(part / total for part in parts)

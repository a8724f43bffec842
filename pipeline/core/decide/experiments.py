"""Who is in which experiment, in which arm, and who is held out. Deterministic in ids; hash: `hashing`.

A layer deals every subject one bucket; its experiments own disjoint slices of the buckets, so widening a slice moves
only those it takes in. The arm is drawn by weighted rendezvous: changing one weight moves subjects to or from that
arm only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.core.hashing import fraction
from pipeline.core.model.definitions import Experiment, Holdout, Variation
from pipeline.core.rules.cel.build import Facts
from pipeline.core.rules.rule import passes


def held_out(holdout: Holdout, subject: str, now_ms: int) -> bool:
    """Whether the subject is kept from what the holdout is about."""
    if holdout.until_ms is not None and now_ms >= holdout.until_ms:
        return False
    return fraction("holdout", holdout.salt or holdout.id, subject) < holdout.share


def assigned(
    experiment: Experiment, subject: str, facts: Facts, assignments: Mapping[str, str], now_ms: int
) -> Variation | None:
    """The subject's arm now; None where the experiment does not concern it.

    Sticky: who was once decided for in an arm stays there while the experiment runs and the arm exists.
    """
    if experiment.from_ms is not None and now_ms < experiment.from_ms:
        return None
    if experiment.until_ms is not None and now_ms >= experiment.until_ms:
        return None
    if experiment.sticky:
        kept = assignments.get(experiment.id)
        if kept is not None:
            for variation in experiment.variations:
                if variation.id == kept:
                    return variation
    low, high = experiment.slice
    if high - low < 1.0 and not low <= fraction("layer", experiment.layer, subject) < high:
        return None
    if experiment.target is not None and not passes(experiment.target, facts, {}):
        return None
    return drawn(experiment, subject)


def drawn(experiment: Experiment, subject: str) -> Variation | None:
    """The arm by weight: the highest of ln(hash) / weight. None where every weight is zero."""
    best: Variation | None = None
    best_score = -math.inf
    for variation in experiment.variations:
        if variation.weight > 0.0:
            part = fraction("experiment", experiment.salt or experiment.id, variation.id, subject)
            score = math.log(part or 2.0**-54) / variation.weight
            if best is None or score > best_score:
                best, best_score = variation, score
    return best


def excluded(variation: Variation, item_id: str) -> bool:
    """Whether the arm keeps an item out."""
    return item_id in variation.without or (bool(variation.only) and item_id not in variation.only)

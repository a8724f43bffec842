"""What credit comes to for the model that chose an item: each showing is counted once, and every reward of it added.

The first word about a showing counts it: its first credit, or the close of its window where none came, a reward of 0.
So what a model learnt of closed windows is as many showings as there are final records, and the sum of their rewards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from pipeline.core.keys import tenant_of
from pipeline.core.model.learning import ModelUpdate
from pipeline.core.model.outcome_record import Outcome
from pipeline.core.model.values import replaced
from pipeline.core.model.words import ModelUse
from pipeline.core.models.learner import outcome_of
from pipeline.core.models.updates import deltas
from pipeline.core.sections.exposures import Exposure, credit_key

#: What is told of an event or a close: records of the topic `outcomes`, and what models learn of them.
Told: TypeAlias = Outcome | ModelUpdate

#: Bytes that a number of a vector takes in the profile.
_NUMBER_BYTES: Final = 9


def rewarded(profile_id: str, exposure: Exposure, place: int, outcome: str, reward: float) -> list[Told]:
    """What the model that chose the item at a place learns of one credit of the outcome; at most one update, none where
    no model chose it or its model learns from another outcome.

    :param exposure: as it was before the credit.
    :param reward: this part alone, in the outcome's unit.
    """
    shown = exposure.shown[place]
    use = exposure.models.get(shown.placement)
    if use is None or outcome_of(use.form) != outcome:
        return []
    before = exposure.credits.get(credit_key(place, outcome))
    update = deltas(tenant_of(profile_id), use, shown.item_id, reward, before is None, before or 0.0)
    return [] if update is None else [update]


def closed(profile_id: str, exposure: Exposure, outcome: str) -> list[Told]:
    """What models learn where an outcome's window closes: a reward of 0 of each item that was credited nothing."""
    return [update for place in range(len(exposure.shown)) if credit_key(place, outcome) not in exposure.credits
            for update in rewarded(profile_id, exposure, place, outcome, 0.0)]


def without_vectors(models: Mapping[str, ModelUse], outcome: str) -> dict[str, ModelUse]:
    """The models without what is not needed any more once the outcome is closed: final records of others name them."""
    return {placement: replaced(use, vectors={}, form="") if outcome_of(use.form) == outcome else use
            for placement, use in models.items()}


def bytes_of(exposure: Exposure) -> int:
    """About how many bytes the exposure's models take in the profile, before compression."""
    return sum(len(use.form) + sum(len(name) + _NUMBER_BYTES * len(vector) for name, vector in use.vectors.items())
               for use in exposure.models.values())

"""What a subject's writer tells a model of a reward, and how one record's observations become one update."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.core.keys import model_key
from pipeline.core.model.learning import ModelUpdate, Observation
from pipeline.core.model.values import replaced
from pipeline.core.model.words import ModelUse


def deltas(
    tenant: str, use: ModelUse, item_id: str, reward: float, first: bool, before: float = 0.0
) -> ModelUpdate | None:
    """What the model learns of one reward of an item that it chose; emit it on `model.updates` under its `model_key`.

    Call it once when the outcome's window closes without a reward (reward 0, `first`), or for each reward: `first` for
    the first word about this showing, then with what it was rewarded with `before`. None: nothing is learnt of the
    item, which was not chosen by its own vector (a fallback, or shown in another one's stead).

    :param reward: in the outcome's unit; may be negative. The model's range bounds the sum of a showing.
    """
    vector = use.vectors.get(item_id)
    if vector is None:
        return None
    return ModelUpdate(model_key(tenant, use.model), use.form, [Observation(item_id, vector, reward, first, before)])


def joined(updates: Iterable[ModelUpdate], source: str, offset: int) -> list[ModelUpdate]:
    """The updates that follow from one record, one for each model, with that record as their identity."""
    found: dict[str, ModelUpdate] = {}
    for one in updates:
        known = found.get(one.model_key)
        # Of one model there is one identity: of two forms the later is the one that counts now.
        before = known.observations if known is not None and known.form == one.form else []
        found[one.model_key] = replaced(one, observations=[*before, *one.observations], source=source, offset=offset)
    return list(found.values())

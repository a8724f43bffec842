"""Records of models that learn: observations on their way to a model's writer, and its snapshots."""

from __future__ import annotations

from pipeline.core.model.values import Value


class Observation(Value, frozen=True):
    """What one shown item brought: a delta of its model's statistics, as a rank-one update.

    `reward`: what it is rewarded with now, in the outcome's unit; may be negative. `first`: whether this is the first
    word about this showing, which counts it; a later, partial reward only adds. `before`: its rewards so far.
    """

    item_id: str
    vector: tuple[float, ...]
    reward: float
    first: bool = True
    before: float = 0.0


class ModelUpdate(Value, frozen=True):
    """Observations of one model that follow from one record. Holds no subject, and no decision.

    `form`: what the vectors are made of (`Learner.form`). `source` and `offset`: the record they follow from, by its
    topic, partition and offset: the identity by which the model's writer counts them once.
    """

    model_key: str
    form: str
    observations: list[Observation]
    source: str = ""
    offset: int = -1


class ModelSnapshot(Value, frozen=True):
    """A model's statistics at one moment, numbered from 1; immutable. `body`: see `core/models/snapshots.py`."""

    tenant: str
    model: str
    number: int
    at_ms: int
    form: str
    #: Showings that were counted so far.
    learnt: int
    body: bytes = b""
    #: Content of the body: SHA-256, 32 hexadecimal digits.
    digest: str = ""

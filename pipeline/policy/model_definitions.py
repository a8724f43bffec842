"""The shape of a model, as a policy writes it: one that learns, and one that was trained elsewhere."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from pipeline.core.models.trained import INPUT_COLUMNS_MAX
from pipeline.core.models.writer import GAP_MS_MIN
from pipeline.policy.values import Definition, Doc, Named, Span, Value

_VALUES_MAX = 63
_GAP_MS_MAX = 7 * 86_400_000


class FeatureDefinition(Definition):
    """A fact that the model reads. `values`: of a string, the values that become a column each."""

    fact: Named
    values: list[str] = Field([], max_length=_VALUES_MAX)
    default: Value = None
    divide_by: float = Field(1.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """`profile.orders` is short for `{fact: profile.orders}`."""
        return {"fact": value} if isinstance(value, str) else value


class RewardsDefinition(Definition):
    low: Annotated[float, Field(alias="from")] = 0.0
    high: Annotated[float, Field(alias="to")] = 1.0


class ExplorationDefinition(Definition):
    epsilon: float = Field(0.0, ge=0, le=1)
    min_share: float = Field(0.0, ge=0, le=1)
    width: float = Field(1.0, ge=0, le=100)


class PriorDefinition(Definition):
    mean: float | None = None
    strength: float = Field(2.0, gt=0, le=1e6)
    variance: float = Field(1.0, gt=0, le=1e12)
    ridge: float = Field(1.0, ge=1e-6, le=1e6)


class SnapshotDefinition(Definition):
    every_ms: Annotated[Span, Field(alias="every")] = 900_000
    after: int = Field(10_000, ge=1, le=10_000_000)

    @model_validator(mode="after")
    def _not_too_often(self) -> SnapshotDefinition:
        if not GAP_MS_MIN <= self.every_ms <= _GAP_MS_MAX:
            raise ValueError("the time between snapshots is from 5m to 7d")
        return self


class ChallengerDefinition(Definition):
    model: Named
    share: float = Field(gt=0, le=50)


class LearnerDefinition(Definition):
    """One model: what it is, what it reads and learns from, how it explores and forgets, which snapshot decides."""

    kind: Literal["beta", "gaussian", "linucb", "linear_thompson", "logistic", "hybrid"]
    outcome: Named
    features: list[FeatureDefinition] = []
    cold_start: list[FeatureDefinition] = []
    rewards: RewardsDefinition = RewardsDefinition()
    exploration: ExplorationDefinition = ExplorationDefinition()
    prior: PriorDefinition = PriorDefinition()
    half_life_ms: Annotated[Span | None, Field(alias="half_life")] = None
    snapshot: SnapshotDefinition = SnapshotDefinition()
    challenger: ChallengerDefinition | None = None
    frozen: bool = False
    pin: int | None = Field(None, ge=1)
    items_max: int = Field(200, ge=1, le=10_000)
    fallback_score: float = Field(0.0, ge=-1e6, le=1e6)
    doc: Doc = ""


class InputDefinition(Definition):
    """A fact that fills a column. `values`: of a string, a column for each, 1 where the fact has it."""

    fact: Named
    values: list[str] = Field([], max_length=INPUT_COLUMNS_MAX)
    default: Value = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """`profile.orders` is short for `{fact: profile.orders}`."""
        return {"fact": value} if isinstance(value, str) else value


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, (str, dict)) else value


def _within(value: str) -> str:
    if value.startswith("/") or "\\" in value or ".." in value.split("/"):
        raise ValueError("name a file within the policy's folder, as models/buys.onnx")
    return value


class TrainedDefinition(Definition):
    """A model that was trained elsewhere: its file within the folder, the facts that fill its inputs, by their names in
    the file, and its output."""

    onnx: Annotated[Named, AfterValidator(_within)]
    inputs: dict[Named, Annotated[
        list[InputDefinition], Field(min_length=1, max_length=INPUT_COLUMNS_MAX), BeforeValidator(_one_or_many)]
    ] = Field(min_length=1, max_length=INPUT_COLUMNS_MAX)
    output: Named
    #: Of an output with several for each row; left out: the last, of two classes the probability of the second.
    column: int | None = Field(None, ge=0, le=10_000)
    doc: Doc = ""


def _which(value: Any) -> str:
    return "TrainedDefinition" if isinstance(value, TrainedDefinition) or (
        isinstance(value, dict) and "onnx" in value) else "LearnerDefinition"


AnyModel = Annotated[
    Annotated[LearnerDefinition, Tag("LearnerDefinition")] | Annotated[TrainedDefinition, Tag("TrainedDefinition")],
    Discriminator(_which),
]

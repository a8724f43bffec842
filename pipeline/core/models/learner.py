"""What a policy says of one model, compiled, and how facts become its vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pipeline.core.model.words import Scalar
from pipeline.core.rules.cel.build import Facts

Kind = Literal["beta", "gaussian", "linucb", "linear_thompson", "logistic", "hybrid"]

KINDS: Final = ("beta", "gaussian", "linucb", "linear_thompson", "logistic", "hybrid")
#: Those that read features, and those whose draws have a distribution.
WITH_FEATURES: Final = frozenset(("linucb", "linear_thompson", "logistic", "hybrid"))

CANDIDATE: Final = "candidate."
#: A feature's number goes no further than this: what is beyond it is taken for it.
NUMBER_MAX: Final = 1e6
#: Columns of a vector, the intercept included; of a hybrid's shared part: item columns times context columns.
COLUMNS_MAX: Final = 64
SHARED_COLUMNS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Feature:
    """One fact as numbers. `values`: one column for each, 1 where the fact has it; none: the number itself, divided by
    `divide_by`. `default`: stands in for an unknown fact; None: what is unknown makes the vector unknown."""

    path: str
    values: tuple[str, ...] = ()
    default: Scalar = None
    divide_by: float = 1.0

    @property
    def columns(self) -> int:
        """How many numbers it makes."""
        return len(self.values) or 1

    def read(self, facts: Facts) -> tuple[float, ...] | None:
        """The numbers; None where the fact is unknown and has no default, or is no finite number."""
        value: Any = facts.get(self.path)
        if value is None:
            value = self.default
        if value is None:
            return None
        if self.values:
            return tuple(1.0 if value == one else 0.0 for one in self.values)
        try:
            number = float(value) / self.divide_by
        except OverflowError:
            number = math.copysign(NUMBER_MAX, value)
        if math.isnan(number):
            return None
        return (max(-NUMBER_MAX, min(NUMBER_MAX, number)),)


@dataclass(frozen=True, slots=True)
class Learner:
    """One model of a release.

    A vector is the intercept 1, the columns of the features of subject and context, then those of the item
    (`candidate.…`). Beta and Gaussian models have the intercept alone, and keep no vector.
    """

    id: str
    kind: Kind
    outcome: str
    features: tuple[Feature, ...] = ()
    #: The item's attributes that the prior of a Beta or Gaussian model is predicted from.
    cold_start: tuple[Feature, ...] = ()
    #: The range of rewards: what is outside counts as its nearest end. Beta and logistic take a place within it.
    reward_range: tuple[float, float] = (0.0, 1.0)
    epsilon: float = 0.0
    min_share: float = 0.0
    #: Width of exploration: of LinUCB's bound (alpha) and of the draws of linear and logistic Thompson sampling.
    width: float = 1.0
    #: Prior: mean, how many showings it weighs, variance of a reward; ridge penalty of linear and logistic weights.
    prior_mean: float = 0.5
    prior_strength: float = 2.0
    prior_variance: float = 1.0
    ridge: float = 1.0
    #: Half-life of what was learnt (ms); None: it counts for ever.
    half_life_ms: int | None = None
    #: A snapshot is cut after this time, or after so many observations; never sooner than `GAP_MS_MIN` after the last.
    every_ms: int = 900_000
    after: int = 10_000
    #: Another model that decides for a share of the subjects, in [0, 1]; "": none.
    challenger: str = ""
    challenger_share: float = 0.0
    #: Learns nothing any more.
    frozen: bool = False
    #: The snapshot that decides; None: the newest.
    pin: int | None = None
    items_max: int = 200
    fallback_score: float = 0.0
    #: Features of subject and context, and of the item; their columns, the intercept among the first.
    of_context: tuple[Feature, ...] = field(init=False, default=())
    of_item: tuple[Feature, ...] = field(init=False, default=())
    context_columns: int = field(init=False, default=1)
    item_columns: int = field(init=False, default=0)
    #: What the statistics are made of: those of another form cannot be used.
    form: str = field(init=False, default="")

    def __post_init__(self) -> None:
        context = tuple(one for one in self.features if not one.path.startswith(CANDIDATE))
        item = tuple(one for one in self.features if one.path.startswith(CANDIDATE))
        put = object.__setattr__
        put(self, "of_context", context)
        put(self, "of_item", item)
        put(self, "context_columns", 1 + sum(one.columns for one in context))
        put(self, "item_columns", sum(one.columns for one in item))
        described = ";".join(f"{one.path}|{','.join(one.values)}|{one.divide_by!r}" for one in (*context, *item))
        low, high = self.reward_range
        put(self, "form", f"{self.kind};{self.outcome};{low!r}..{high!r};{described}")

    @property
    def columns(self) -> int:
        """Length of a vector; 0: none is kept."""
        return self.context_columns + self.item_columns if self.kind in WITH_FEATURES else 0

    @property
    def own_columns(self) -> int:
        """Columns that each item has weights of its own for: of a hybrid the context's."""
        return self.context_columns if self.kind == "hybrid" else self.columns

    @property
    def shared_columns(self) -> int:
        """Columns whose weights all items of a hybrid share: each of the item's times each of the context's."""
        return self.context_columns * self.item_columns if self.kind == "hybrid" else 0

    @property
    def item_floats(self) -> int:
        """Numbers that the statistics of one item take."""
        own, shared = self.own_columns, self.shared_columns
        return 3 + own * (own + 1) // 2 + own + own * shared

    @property
    def bytes_max(self) -> int:
        """Bytes of its statistics at most: of the writer's state, and of a snapshot."""
        shared = self.shared_columns
        return 8 * (self.items_max * self.item_floats + shared * (shared + 1) // 2 + shared) + 64 * self.items_max

    @property
    def operations(self) -> float:
        """What scoring one item costs, in the operations of `core/rules/cel/cost.py`."""
        return 10.0 + self.columns + (self.own_columns + self.shared_columns) ** 2 / 20.0

    @property
    def reads(self) -> frozenset[str]:
        """The facts that a decision reads for it."""
        return frozenset(one.path for one in (*self.features, *self.cold_start))

    def context(self, facts: Facts) -> tuple[float, ...] | str:
        """Intercept and columns of subject and context; the path of the first fact that is unknown."""
        return _columns(self.of_context, facts, (1.0,)) if self.kind in WITH_FEATURES else ()

    def item(self, facts: Facts) -> tuple[float, ...] | str:
        """The item's columns; of a Beta or Gaussian model those of its cold start. The path of the first fact that is
        unknown."""
        return _columns(self.of_item if self.kind in WITH_FEATURES else self.cold_start, facts, ())


def outcome_of(form: str) -> str:
    """The outcome that a model of this form learns from; "": the form is none."""
    return form.split(";", 2)[1] if form.count(";") >= 2 else ""


def _columns(features: tuple[Feature, ...], facts: Facts, begin: tuple[float, ...]) -> tuple[float, ...] | str:
    found = [*begin]
    for one in features:
        numbers = one.read(facts)
        if numbers is None:
            return one.path
        found += numbers
    return tuple(found)

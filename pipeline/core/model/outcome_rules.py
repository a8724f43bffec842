"""What a release says about outcomes: which events are one, what each is worth, and which decisions are credited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pipeline.core.model.matcher import Matcher

Model = Literal["last", "first", "linear", "time_decay", "position", "view_through"]
Step = Literal["item", "campaign", "tag", "placement"]

#: Outcomes of one release; each makes one final record of every item shown.
OUTCOMES_MAX: Final = 8
WINDOW_MS_MIN: Final = 1_000
WINDOW_MS_MAX: Final = 90 * 86_400_000
#: How late an outcome may be known, and how long one waits for its decision.
WAIT_MS: Final = 600_000
WAIT_MS_MAX: Final = 86_400_000
#: A reward is no larger, in either direction: so that sums of rewards stay numbers.
REWARD_MAX: Final = 1e12


@dataclass(frozen=True, slots=True)
class Attribution:
    """How one event's credit is divided among several decisions; shares are parts of 1."""

    model: Model = "last"
    #: time_decay: a decision that is older by this has half of the credit.
    half_life_ms: int = 0
    #: position: of the first, of the last, and of all between them together.
    first: float = 0.4
    last: float = 0.4
    between: float = 0.2


@dataclass(frozen=True, slots=True)
class Reward:
    """A number, or what an event says, times a factor."""

    factor: float = 1.0
    #: `value`, or the name of a property; None: the factor alone.
    field: str | None = None
    is_property: bool = False


@dataclass(frozen=True, slots=True)
class OutcomeRule:
    """One outcome."""

    name: str
    matcher: Matcher
    #: How long after its decision an event counts.
    window_ms: int
    #: How much later than that it may be known.
    wait_ms: int = WAIT_MS
    attribution: Attribution = Attribution()
    reward: Reward = Reward()
    #: What an event without a decision may belong to, tried in order.
    credit: tuple[Step, ...] = ("item",)

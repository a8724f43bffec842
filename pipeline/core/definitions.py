"""What a release says, compiled: the engine's own types, made once by `pipeline.policy` and only read afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.core.cel.build import Facts
from pipeline.core.rules import Number, Rule
from pipeline.core.words import Scalar

Unit = Literal["minute", "hour", "day", "week", "month"]
Scope = Literal["item", "tag", "campaign", "placement", "channel", "all"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """A declared fact: its path in rules, its type, and how a stored value becomes one (None: it does not fit)."""

    path: str
    type: str
    convert: Callable[[Scalar], Any]
    default: Any = None


@dataclass(frozen=True, slots=True)
class Window:
    """How far back a cap looks. Rolling: `length_ms`. Calendar: `count` units, in UTC or the subject's zone."""

    kind: Literal["rolling", "calendar", "lifetime"]
    length_ms: int = 0
    unit: Unit = "day"
    count: int = 1
    local: bool = False
    #: ISO weekday on which a calendar week starts (1 Monday … 7 Sunday).
    week_start: int = 1


@dataclass(frozen=True, slots=True)
class Reach:
    """What a cap, rest or experiment is about; an empty part means all."""

    items: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    campaigns: frozenset[str] = frozenset()
    placements: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `limit` of `counted` per `scope` and window. `counted` is decision, impression, … or `event:<name>`."""

    id: str
    counted: str
    scope: Scope
    window: Window
    limit: int
    reach: Reach = Reach()
    text: str = ""

    @property
    def reserves(self) -> bool:
        """Whether a decision takes a place at once, given back when the event it stands for does not come."""
        return self.counted == "impression"


@dataclass(frozen=True, slots=True)
class CapUse:
    """A cap on one candidate: the key of the counter that it reads. `bypass`: counted, never stopped."""

    cap: Cap
    key: str
    bypass: bool = False


@dataclass(frozen=True, slots=True)
class Matcher:
    """Which feedback events a signal is about; an empty part means all."""

    kinds: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    items: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    placements: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Signal:
    """A behaviour counted per subject: how many within a window, whether a sequence happened, or when it last did."""

    id: str
    kind: Literal["count", "sequence", "last"]
    #: count and last: one matcher; sequence: its steps in order.
    steps: tuple[Matcher, ...]
    within_ms: int | None = None
    #: A count never passes this; a sequence remembers this many moments of each step.
    up_to: int = 100
    #: sequence only: an event that undoes it when it comes at or after the first step.
    without: Matcher | None = None
    path: str = ""
    #: The behaviour keys of the steps, and of `without` last.
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A named group, by rule; `windows`: the signals with a window that it reads."""

    id: str
    path: str
    rule: Rule
    windows: frozenset[str] = frozenset()
    version: int = 1


@dataclass(frozen=True, slots=True)
class Fallback:
    """What a placement shows when nothing else may be: part of the release, so that a bridge alone can show it."""

    item_id: str
    kind: str = "content"
    variant: str = "fallback"
    content: dict[str, Scalar] = field(default_factory=dict)
    ttl_s: int = 60


@dataclass(frozen=True, slots=True)
class Channel:
    id: str
    purposes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """How candidates are ordered: by priority alone, or by a formula over facts and the candidate."""

    id: str
    number: Number | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """A slot on one or more channels."""

    id: str
    channels: frozenset[str]
    purposes: tuple[str, ...]
    max_variants: int
    ttl_s: int
    ranking: Ranking
    fallback: Fallback
    applicability: Rule | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """One representation of an item; empty sets mean every channel, every placement."""

    id: str
    channels: frozenset[str] = frozenset()
    placements: frozenset[str] = frozenset()
    content: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """An action, offer or piece of content, compiled against a release. `facts` are its attributes for rules."""

    id: str
    kind: str
    priority: int
    facts: Facts
    variants: tuple[Variant, ...]
    tags: tuple[str, ...] = ()
    campaign: str = ""
    placements: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    eligibility: Rule | None = None
    applicability: Rule | None = None
    suitability: Rule | None = None
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None
    bypass: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """One release, compiled."""

    release: str
    types: dict[str, str]
    #: Stored trait name → attribute; request attribute name → attribute.
    traits: dict[str, Attribute]
    context: dict[str, Attribute]
    candidate: dict[str, Attribute]
    #: Facts before anything is known: declared defaults, and every segment false.
    base_facts: dict[str, Any]
    zone_trait: str
    tracking_purpose: str
    purposes: frozenset[str]
    channels: dict[str, Channel]
    placements: dict[str, Placement]
    signals: tuple[Signal, ...]
    segments: tuple[Segment, ...]
    segment_paths: dict[str, str]
    caps: tuple[Cap, ...]
    #: The facts that some rule reads: what nobody reads is not worked out.
    reads: frozenset[str]
    #: Whether some segment's rule changes its mind by the clock alone.
    timed: bool = False

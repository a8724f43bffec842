"""The shape of the YAML files: what may be written where. Names and rules are checked by the core's compiler."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_UNITS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _span(value: object) -> object:
    """`36h`, `1d12h`, `5m` → milliseconds."""
    if not isinstance(value, str):
        raise ValueError("write a length of time as 30s, 5m, 36h, 7d or 2w")
    if not re.fullmatch(r"(\d+(w|d|h|ms|m|s))+", value):
        raise ValueError(f"{value!r} is not a length of time: write it as 30s, 5m, 36h, 7d or 2w")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(w|d|h|ms|m|s)", value))


def _moment(value: object) -> object:
    """A moment with its offset → epoch milliseconds."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a moment: write it as 2026-01-31T08:00:00Z") from None
    if not isinstance(value, datetime):
        raise ValueError("write a moment as 2026-01-31T08:00:00Z")
    if value.tzinfo is None:
        raise ValueError("say which zone: end it with Z for UTC, or an offset as +01:00")
    return round(value.timestamp() * 1_000)


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


Span = Annotated[int, BeforeValidator(_span), Field(gt=0)]
Moment = Annotated[int, BeforeValidator(_moment)]
Names = Annotated[list[str], BeforeValidator(_one_or_many)]
Value = bool | int | float | str | None
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$", max_length=200)]


class Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AttributeDefinition(Definition):
    type: str
    default: Value = None
    doc: str = ""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """`plan: string` is short for `plan: {type: string}`."""
        return {"type": value} if isinstance(value, str) else value


Attributes = dict[Name, AttributeDefinition]


class AttributesDefinition(Definition):
    profile: Attributes = {}
    account: Attributes = {}
    features: Attributes = {}
    journey: Attributes = {}
    context: Attributes = {}
    candidate: Attributes = {}


class ConsentDefinition(Definition):
    purposes: dict[Name, str]
    tracking: str | None = None


class ChannelDefinition(Definition):
    purposes: Names = []
    doc: str = ""


class MatcherDefinition(Definition):
    kinds: Annotated[Names, Field(alias="event")] = []
    names: Annotated[Names, Field(alias="name")] = []
    items: Annotated[Names, Field(alias="item")] = []
    tags: Annotated[Names, Field(alias="tag")] = []
    placements: Annotated[Names, Field(alias="placement")] = []
    channels: Annotated[Names, Field(alias="channel")] = []

    @model_validator(mode="after")
    def _known_kinds(self) -> MatcherDefinition:
        known = ("view", "click", "conversion", "dismissal", "track", "page")
        for kind in self.kinds:
            if kind not in known:
                raise ValueError(f"{kind!r} is no kind of event: one of {', '.join(known)}")
        return self


class SignalDefinition(Definition):
    count: MatcherDefinition | None = None
    last: MatcherDefinition | None = None
    sequence: list[MatcherDefinition] | None = None
    without: MatcherDefinition | None = None
    within_ms: Annotated[Span | None, Field(alias="within")] = None
    up_to: int = Field(100, ge=1, le=1_000)
    doc: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> SignalDefinition:
        if sum(part is not None for part in (self.count, self.last, self.sequence)) != 1:
            raise ValueError("a signal is exactly one of count, last and sequence")
        if self.sequence is not None and len(self.sequence) < 2:
            raise ValueError("a sequence has at least two steps")
        if self.without is not None and self.sequence is None:
            raise ValueError("only a sequence has `without`")
        return self


class SegmentDefinition(Definition):
    rule: str
    version: int = Field(1, ge=1)
    doc: str = ""


class CalendarDefinition(Definition):
    calendar: Literal["minute", "hour", "day", "week", "month"]
    every: int = Field(1, ge=1, le=366)
    zone: Literal["utc", "subject"] = "utc"
    week_start: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = "monday"


class ReachDefinition(Definition):
    items: Annotated[Names, Field(alias="item")] = []
    kinds: Annotated[Names, Field(alias="kind")] = []
    tags: Annotated[Names, Field(alias="tag")] = []
    campaigns: Annotated[Names, Field(alias="campaign")] = []
    placements: Annotated[Names, Field(alias="placement")] = []
    channels: Annotated[Names, Field(alias="channel")] = []


def _window(value: object) -> object:
    if isinstance(value, str) and value != "lifetime":
        return {"rolling_ms": _span(value)}
    return value


class RollingDefinition(Definition):
    rolling_ms: int = Field(gt=0)


Window = Annotated[Literal["lifetime"] | RollingDefinition | CalendarDefinition, BeforeValidator(_window)]


class CapDefinition(Definition):
    counted: Annotated[
        str, Field(alias="count", pattern=r"^(decision|impression|click|conversion|dismissal|event:.+)$")
    ]
    scope: Annotated[Literal["item", "tag", "campaign", "placement", "channel", "all"], Field(alias="per")]
    limit: int = Field(ge=0)
    window: Window
    reach: Annotated[ReachDefinition, Field(alias="for")] = ReachDefinition()
    doc: str = ""


class RankingDefinition(Definition):
    formula: str | None = None
    doc: str = ""


class FallbackDefinition(Definition):
    item: str
    kind: Literal["action", "offer", "content"] = "content"
    variant: str = "fallback"
    content: dict[Name, Value] = {}
    ttl_ms: Annotated[Span, Field(alias="ttl")] = 60_000


class PlacementDefinition(Definition):
    channels: Names
    fallback: FallbackDefinition
    purposes: Names = []
    max_variants: int = Field(1, ge=1, le=100)
    ttl_ms: Annotated[Span, Field(alias="ttl")] = 300_000
    ranking: str | None = None
    applicability: str | None = None
    doc: str = ""


class VariantDefinition(Definition):
    content: dict[Name, Value] = {}
    channels: Names = []
    placements: Names = []


class ItemDefinition(Definition):
    kind: Literal["action", "offer", "content"]
    priority: int = 0
    tags: Names = []
    campaign: str = ""
    placements: Names = []
    channels: Names = []
    attributes: dict[Name, Value] = {}
    eligibility: str | None = None
    applicability: str | None = None
    suitability: str | None = None
    valid_from_ms: Annotated[Moment | None, Field(alias="valid_from")] = None
    valid_until_ms: Annotated[Moment | None, Field(alias="valid_until")] = None
    bypass: Names = []
    variants: dict[Name, VariantDefinition] = Field(min_length=1)
    doc: str = ""


class GoldenDefinition(Definition):
    """One decision that must come out as written, or the release is not published."""

    at_ms: Annotated[Moment, Field(alias="at")]
    channel: str
    placement: str
    scenario: str = ""
    traits: dict[str, Value] = {}
    consent: Names = []
    segments: Names = []
    context: dict[str, Value] = {}
    require_consent: bool = True
    max_variants: int = 1
    expect: Names
    reason: str | None = None


class PolicyDefinition(Definition):
    """Everything in a policy folder, its files put together."""

    attributes: AttributesDefinition = AttributesDefinition()
    zone_attribute: str = ""
    consent: ConsentDefinition
    channels: dict[Id, ChannelDefinition]
    placements: dict[Id, PlacementDefinition]
    signals: dict[Name, SignalDefinition] = {}
    segments: dict[Name, SegmentDefinition] = {}
    caps: dict[Id, CapDefinition] = {}
    rankings: dict[Id, RankingDefinition] = {}
    items: dict[Id, ItemDefinition] = {}
    golden: dict[str, GoldenDefinition] = {}

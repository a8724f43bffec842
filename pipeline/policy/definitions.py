"""The shape of the YAML files: what may be written where. Names and rules are checked by the core's compiler."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.core.rules.formats import locale_of
from pipeline.core.sections.sessions import GAP_MS, GAP_MS_MAX
from pipeline.policy.consent_definitions import ConsentDefinition
from pipeline.policy.event_definitions import MatcherDefinition
from pipeline.policy.feature_definitions import FeatureDefinition
from pipeline.policy.identity_definitions import IdentityDefinition
from pipeline.policy.journey_definitions import JourneyDefinition
from pipeline.policy.limit_definitions import CapDefinition, ReachDefinition, SuppressionDefinition
from pipeline.policy.model_definitions import AnyModel
from pipeline.policy.outcome_definitions import OutcomeDefinition
from pipeline.policy.values import (
    Definition,
    Doc,
    Id,
    Lifetime,
    Moment,
    Name,
    Named,
    Names,
    Some,
    Span,
    Tags,
    Texts,
    TimeOfDay,
    Value,
    Weekday,
)

_GAP_MS_MIN: Final = 60_000


class AttributeDefinition(Definition):
    type: str
    default: Value = None
    #: A class, as risk or compliance: conditions may read it, and nobody is shown its value.
    sensitivity: Name | None = None
    #: Of what is stored: a value is unknown so long after the moment it is of.
    fresh_for_ms: Annotated[Span | None, Field(alias="fresh_for", gt=0)] = None
    doc: Doc = ""

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
    #: Properties of events, that features may read as `event.properties.<name>`.
    event: Attributes = {}


class QuietHoursDefinition(Definition):
    begin: Annotated[TimeOfDay, Field(alias="from")]
    end: Annotated[TimeOfDay, Field(alias="to")]
    days: Annotated[list[Weekday], Field(min_length=1)] = [1, 2, 3, 4, 5, 6, 7]
    then: Literal["suppress", "defer"] = "suppress"

    @model_validator(mode="after")
    def _a_time(self) -> QuietHoursDefinition:
        if self.begin == self.end:
            raise ValueError("from and to are the same time: say when the quiet hours begin and when they end")
        return self


def _pause(value: int) -> int:
    if not _GAP_MS_MIN <= value <= GAP_MS_MAX:
        raise ValueError("the pause that ends a session is from 1m to 4h")
    return value


class ChannelDefinition(Definition):
    purposes: Names = []
    account_purposes: Names = []
    escape: Literal["html", "url", "json", "none"] = "html"
    quiet_hours: QuietHoursDefinition | None = None
    do_not_contact: str | None = None
    session_ms: Annotated[Span, AfterValidator(_pause), Field(alias="session")] = GAP_MS
    doc: Doc = ""


class SignalDefinition(Definition):
    count: MatcherDefinition | None = None
    last: MatcherDefinition | None = None
    sequence: list[MatcherDefinition] | None = None
    without: MatcherDefinition | None = None
    within_ms: Annotated[Span | None, Field(alias="within")] = None
    up_to: int = Field(100, ge=1, le=1_000)
    #: From when on every event is known, although the signal is newer: history was filled in.
    since_ms: Annotated[Moment | None, Field(alias="since")] = None
    doc: Doc = ""

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
    doc: Doc = ""


class ArbitrationDefinition(Definition):
    """The preset: the product of these, each 1 where it is not given."""

    propensity: str | None = None
    context_weight: str | None = None
    value: str | None = None
    lever: str | None = None


class ModelDefinition(Definition):
    """A logistic model: its coefficients by attribute, and what each item adds."""

    intercept: float = 0.0
    coefficients: dict[str, float] = {}
    items: dict[str, float] = {}


class RankingDefinition(Definition):
    formula: str | None = None
    arbitration: ArbitrationDefinition | None = None
    model: ModelDefinition | None = None
    #: Written as `model: <name>`: one of `models`.
    learner: Named | None = None
    lottery: bool = False
    ties: Literal["id", "draw"] = "id"
    doc: Doc = ""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """`model: hero` names one of `models`."""
        if isinstance(value, dict):
            if "learner" in value:
                raise ValueError("there is no `learner`: write model: <name of one of the models>")
            if isinstance(value.get("model"), str):
                rest = {name: one for name, one in value.items() if name != "model"}
                return {**rest, "learner": value["model"]}
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> RankingDefinition:
        if self.formula is not None and self.arbitration is not None:
            raise ValueError("a ranking has a formula or arbitration, not both")
        return self


def _fixed(value: object) -> object:
    if isinstance(value, str) and "{{" in value:
        raise ValueError("a fallback is shown without knowing anybody: write it without {{ }}")
    return value


def _locale(value: str) -> str:
    if locale_of(value) is None:
        raise ValueError(f"there is no locale {value!r}: write it as de or de_CH")
    return value


FixedValue = Annotated[Value, AfterValidator(_fixed)]


class FallbackDefinition(Definition):
    item: Named
    kind: Literal["action", "offer", "content"] = "content"
    variant: Named = "fallback"
    content: dict[Name, FixedValue] = {}
    ttl_ms: Annotated[Lifetime, Field(alias="ttl")] = 60_000
    chain: Names = []


class DiversityDefinition(Definition):
    per: Named
    at_most: int = Field(ge=1)
    values: Texts = []


class PlacementDefinition(Definition):
    channels: Some
    fallback: FallbackDefinition
    purposes: Names = []
    max_variants: int = Field(1, ge=1, le=100)
    ttl_ms: Annotated[Lifetime, Field(alias="ttl")] = 300_000
    ranking: Named | None = None
    applicability: str | None = None
    diversity: list[DiversityDefinition] = []
    repeats: bool = False
    doc: Doc = ""


class SliceDefinition(Definition):
    """Percent of the layer's subjects, from and to."""

    begin: Annotated[float, Field(alias="from", ge=0, le=100)] = 0.0
    end: Annotated[float, Field(alias="to", ge=0, le=100)] = 100.0


class VariationDefinition(Definition):
    weight: float = Field(1.0, ge=0)
    ranking: Named | None = None
    only: Some = []
    without: Names = []
    variants: dict[str, Named] = {}


def _check_order(begin: str, begin_ms: int | None, end: str, end_ms: int | None) -> None:
    if begin_ms is not None and end_ms is not None and end_ms <= begin_ms:
        raise ValueError(f"`{end}` is not after `{begin}`: it would never be shown")


class ExperimentDefinition(Definition):
    variations: dict[Id, VariationDefinition] = Field(min_length=1)
    reach: Annotated[ReachDefinition, Field(alias="for")] = ReachDefinition()
    target: str | None = None
    layer: Named | None = None
    slice: SliceDefinition = SliceDefinition()
    from_ms: Annotated[Moment | None, Field(alias="from")] = None
    until_ms: Annotated[Moment | None, Field(alias="until")] = None
    sticky: bool = True
    salt: str = ""
    doc: Doc = ""

    @model_validator(mode="after")
    def _in_order(self) -> ExperimentDefinition:
        _check_order("from", self.from_ms, "until", self.until_ms)
        return self


class HoldoutDefinition(Definition):
    share: float = Field(gt=0, le=100)
    reach: Annotated[ReachDefinition, Field(alias="for")] = ReachDefinition()
    until_ms: Annotated[Moment | None, Field(alias="until")] = None
    salt: str = ""
    doc: Doc = ""


class StageDefinition(Definition):
    name: Name
    rule: str
    doc: Doc = ""


class LifecycleDefinition(Definition):
    stages: list[StageDefinition] = []
    forward_only: bool = False


class VariantDefinition(Definition):
    content: dict[Name, Value] = {}
    #: By field, where it is not as the channel says: a subject line is no HTML.
    escape: dict[Name, Literal["html", "url", "json", "none"]] = {}
    channels: Some = []
    placements: Some = []
    rule: str | None = None

    @model_validator(mode="after")
    def _of_its_content(self) -> VariantDefinition:
        for name in self.escape:
            if name not in self.content:
                raise ValueError(f"`escape` names {name!r}, which `content` does not have")
        return self


class ItemDefinition(Definition):
    kind: Literal["action", "offer", "content"]
    priority: int = 0
    tags: Tags = []
    campaign: Named = ""
    placements: Some = []
    channels: Some = []
    attributes: dict[Name, Value] = {}
    eligibility: str | None = None
    applicability: str | None = None
    suitability: str | None = None
    valid_from_ms: Annotated[Moment | None, Field(alias="valid_from")] = None
    valid_until_ms: Annotated[Moment | None, Field(alias="valid_until")] = None
    bypass: Names = []
    inventory: int | None = Field(None, ge=0)
    instead: Named = ""
    variants: dict[Name, VariantDefinition] = Field(min_length=1)
    doc: Doc = ""

    @model_validator(mode="after")
    def _in_order(self) -> ItemDefinition:
        _check_order("valid_from", self.valid_from_ms, "valid_until", self.valid_until_ms)
        return self


class GoldenDefinition(Definition):
    """One decision that must come out as written, or the release is not published."""

    at_ms: Annotated[Moment, Field(alias="at")]
    channel: Named
    placement: Named
    scenario: str = ""
    traits: dict[str, Value] = {}
    consent: Names = []
    segments: Names = []
    #: What is known of the subject's account, and the subject's roles there; None: it belongs to none.
    account: dict[str, Value] | None = None
    account_consent: Names = []
    roles: Names = []
    #: Journey → the stage the subject is in, since that moment.
    journeys: dict[str, Named] = {}
    context: dict[str, Value] = {}
    require_consent: bool = True
    max_variants: int = 1
    expect: Some
    reason: Named | None = None


class PolicyDefinition(Definition):
    """Everything in a policy folder, its files put together."""

    attributes: AttributesDefinition = AttributesDefinition()
    zone_attribute: Named = ""
    locale: Annotated[str, AfterValidator(_locale)] = "en"
    consent: ConsentDefinition
    channels: dict[Id, ChannelDefinition]
    placements: dict[Id, PlacementDefinition]
    signals: dict[Name, SignalDefinition] = {}
    features: dict[Name, FeatureDefinition] = {}
    segments: dict[Name, SegmentDefinition] = {}
    outcomes: dict[Name, OutcomeDefinition] = {}
    caps: dict[Id, CapDefinition] = {}
    suppressions: dict[Id, SuppressionDefinition] = {}
    rankings: dict[Id, RankingDefinition] = {}
    models: dict[Id, AnyModel] = {}
    identity: IdentityDefinition = IdentityDefinition()
    lifecycle: LifecycleDefinition = LifecycleDefinition()
    journeys: dict[Name, JourneyDefinition] = {}
    experiments: dict[Id, ExperimentDefinition] = {}
    holdouts: dict[Id, HoldoutDefinition] = {}
    items: dict[Id, ItemDefinition] = {}
    golden: dict[str, GoldenDefinition] = {}

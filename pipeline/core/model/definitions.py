"""What a release says, compiled: the engine's own types, made once by `pipeline.policy` and only read afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.core.identity.identity_rules import DEFAULT, IdentityRules
from pipeline.core.model.features import Feature
from pipeline.core.model.journeys import Journey as Journey
from pipeline.core.model.matcher import Matcher as Matcher
from pipeline.core.model.outcome_rules import OutcomeRule
from pipeline.core.model.terms import Purpose as Purpose
from pipeline.core.model.terms import Tcf as Tcf
from pipeline.core.model.windows import Window
from pipeline.core.model.words import Scalar
from pipeline.core.models.learner import Learner
from pipeline.core.models.trained import Trained
from pipeline.core.rules.cel.build import Facts, Fn
from pipeline.core.rules.rule import Number, Rule

Escape = Literal["html", "url", "json", "none"]
Scope = Literal["item", "tag", "campaign", "placement", "channel", "session", "all"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """A declared fact: its path in rules, its type, and how a stored value becomes one (None: it does not fit)."""

    path: str
    type: str
    convert: Callable[[Scalar], Any]
    default: Any = None
    #: How long a value may be used after the moment it is of (ms); 0: for ever.
    fresh_for_ms: int = 0


@dataclass(frozen=True, slots=True)
class Reach:
    """What a cap, suppression or experiment is about; an empty part means all."""

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
    #: Contact pressure: what one decision weighs by channel; a channel that is not named weighs nothing.
    weights: dict[str, int] | None = None
    #: Counted over all members of an account together, and leased by it.
    of_account: bool = False

    @property
    def weight_max(self) -> int:
        """The most that one decision may take of it."""
        return 1 if self.weights is None else max(self.weights.values(), default=0)

    @property
    def reserves(self) -> bool:
        """Whether a decision takes a place at once, given back when the event it stands for does not come."""
        return self.counted == "impression"


@dataclass(frozen=True, slots=True)
class CapUse:
    """A cap on one candidate: the key of the counter that it reads. `bypass`: counted, never stopped.

    `kept`: how many timestamps the counter keeps. `roomy`: a counter that holds no more than this has room whatever its
    window says.
    """

    cap: Cap
    key: str
    bypass: bool
    weight: int
    kept: int
    roomy: int


@dataclass(frozen=True, slots=True)
class Suppression:
    """Outcome-triggered suppression: `at_least` of `counted` within a time suppress the thing for `lasts_ms`."""

    id: str
    counted: str
    scope: Scope
    at_least: int
    within_ms: int
    lasts_ms: int
    reach: Reach = Reach()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """A behaviour counted per subject: how many within a window, whether a sequence happened, or when it last did."""

    id: str
    kind: Literal["count", "sequence", "last"]
    #: count and last: one matcher; sequence: its steps in order.
    steps: tuple[Matcher, ...]
    within_ms: int | None = None
    #: A count never passes this; a sequence remembers this many timestamps of each step.
    up_to: int = 100
    #: sequence only: an event that undoes it when it comes at or after the first step.
    without: Matcher | None = None
    path: str = ""
    #: The behaviour keys of the steps, and of `without` last.
    keys: tuple[str, ...] = ()
    #: Since when all of it is counted (epoch ms); what happened before was not.
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """A named group, by rule."""

    id: str
    path: str
    rule: Rule
    version: int = 1


@dataclass(frozen=True, slots=True)
class LifecycleStage:
    """One of an ordered, exclusive set: the last one whose rule passes is the subject's."""

    name: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """`forward_only`: nobody goes back to an earlier stage."""

    stages: tuple[LifecycleStage, ...] = ()
    forward_only: bool = False


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
    """`defers`: quiet hours put off what they keep back; otherwise it is suppressed."""

    id: str
    purposes: tuple[str, ...] = ()
    escape: Escape = "html"
    #: Minutes of the subject's local day, from and to; from after to goes over midnight.
    quiet: tuple[int, int] | None = None
    quiet_days: frozenset[int] = frozenset((1, 2, 3, 4, 5, 6, 7))
    defers: bool = False
    do_not_contact: Rule | None = None
    #: What the member's account must have agreed to, beside the member.
    account_purposes: tuple[str, ...] = ()
    #: A pause as long ends a session.
    session_ms: int = 1_800_000


@dataclass(frozen=True, slots=True)
class Ranking:
    """How candidates are ordered: by priority, or by the product of its terms (a formula is one term, `score`).

    `lottery`: the score is a weight in a draw seeded by the decision; `ties`: equal scores are drawn too.
    """

    id: str
    terms: tuple[tuple[str, Number], ...] = ()
    model: Model | None = None
    lottery: bool = False
    draw_ties: bool = False
    #: The terms that read both the item and something else.
    mixed: tuple[tuple[str, Number], ...] = ()
    #: The learning model whose score multiplies the terms ("": none), the facts that it and its challenger read, and
    #: the operations of scoring one item.
    learner: str = ""
    learner_reads: frozenset[str] = frozenset()
    learner_cost: float = 0.0
    #: A model trained elsewhere, whose score multiplies the terms; reads and cost are as of one that learns.
    trained: Trained | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A logistic model whose coefficients are part of the release; `items` adds to the intercept."""

    intercept: float
    coefficients: tuple[tuple[str, float], ...]
    items: dict[str, float]


@dataclass(frozen=True, slots=True)
class Diversity:
    """At most so many of the same tag, campaign, kind or candidate attribute on one placement."""

    per: str
    at_most: int
    #: Where not empty: only these values are limited.
    values: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Variation:
    """One arm: what it changes. Nothing changed: a control."""

    id: str
    weight: float
    ranking: Ranking | None = None
    only: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    variants: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Experiment:
    """Subjects in `slice` of their layer's buckets, by target and time, get one variation and keep it."""

    id: str
    layer: str
    variations: tuple[Variation, ...]
    reach: Reach = Reach()
    target: Rule | None = None
    #: Part of the layer's buckets in [0, 1): experiments of one layer have no bucket in common.
    slice: tuple[float, float] = (0.0, 1.0)
    from_ms: int | None = None
    until_ms: int | None = None
    sticky: bool = True
    salt: str = ""


@dataclass(frozen=True, slots=True)
class Holdout:
    """A share of subjects who get nothing of what is in reach, to measure what it is worth."""

    id: str
    share: float
    reach: Reach = Reach()
    until_ms: int | None = None
    salt: str = ""


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
    diversity: tuple[Diversity, ...] = ()
    #: Catalog items tried in order before the fallback; every gate holds for them too.
    chain: tuple[str, ...] = ()
    #: Whether it may show what an earlier placement of the same request shows.
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """One representation of an item; empty sets mean every channel, every placement."""

    id: str
    channels: frozenset[str] = frozenset()
    placements: frozenset[str] = frozenset()
    content: dict[str, Scalar] = field(default_factory=dict)
    #: The fields of `content` that are templates.
    templates: tuple[tuple[str, Template], ...] = ()
    #: Shown only where it passes; the first variant that does is taken.
    rule: Rule | None = None
    #: How what is filled into a field is escaped, where that is not as the channel says.
    escapes: dict[str, Escape] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Form:
    """A format of `pipeline.core.rules.formats`, its argument, and its locale: named, or read from a fact; "": the
    release's."""

    name: str
    argument: str = ""
    locale: str = ""
    read_locale: Fn | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One gap in a template: an expression, and what stands there when it cannot be worked out."""

    fn: Fn
    default: Fn | None = None
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """Text and gaps in turn."""

    text: str
    parts: tuple[str | Slot, ...]
    reads: tuple[str, ...] = ()
    #: Operations of filling it at worst; and whether it is filled whatever is known: each gap has a fixed default.
    cost: float = 0.0
    certain: bool = False


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
    #: None: without end. 0: none left.
    inventory: int | None = None
    #: Shown instead where no variant can be bound.
    instead: str = ""
    #: Content of the version: `hashing.item_digest`.
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """One release, compiled."""

    release: str
    types: dict[str, str]
    #: Stored trait name → attribute; the same of an account; request attribute name → attribute.
    traits: dict[str, Attribute]
    account: dict[str, Attribute]
    context: dict[str, Attribute]
    candidate: dict[str, Attribute]
    #: Facts before anything is known: declared defaults, and every segment false.
    base_facts: dict[str, Any]
    zone_trait: str
    tracking_purpose: str
    purposes: dict[str, Purpose]
    channels: dict[str, Channel]
    placements: dict[str, Placement]
    signals: tuple[Signal, ...]
    segments: tuple[Segment, ...]
    segment_paths: dict[str, str]
    caps: tuple[Cap, ...]
    suppressions: tuple[Suppression, ...]
    experiments: tuple[Experiment, ...]
    holdouts: tuple[Holdout, ...]
    lifecycle: Lifecycle
    #: The facts that some rule reads: what nobody reads is not worked out.
    reads: frozenset[str]
    #: Every rule and formula, and where it stands first in the definition.
    texts: dict[str, tuple[str | int, ...]] = field(default_factory=dict)
    #: Whether some segment, stage or journey changes by the clock alone, what they read, and the signals with windows
    #: among that.
    timed: bool = False
    segment_reads: frozenset[str] = frozenset()
    windowed: tuple[Signal, ...] = ()
    #: Whether some segment or stage reads the account or the membership.
    account_segments: bool = False
    journeys: tuple[Journey, ...] = ()
    #: What the conditions of journeys read, the paths of their segments included.
    journey_reads: frozenset[str] = frozenset()
    #: What other systems call our purposes (`purpose`, or `purpose/channel`), and how TC strings speak of them.
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tcf: Tcf | None = None
    #: The purposes that a browser's global privacy control refuses.
    gpc: tuple[str, ...] = ()
    #: Of formats that name none.
    locale: str = "en"
    identity: IdentityRules = DEFAULT
    outcomes: tuple[OutcomeRule, ...] = ()
    features: tuple[Feature, ...] = ()
    #: Of an event's properties, by name: those that features may read.
    event: dict[str, Attribute] = field(default_factory=dict)
    #: Features that are computed in batch and loaded: not counted here. Their values are traits.
    loaded_features: tuple[Feature, ...] = ()
    features_by_id: dict[str, Feature] = field(default_factory=dict)
    #: Those of items and tags that some rule reads.
    item_features: tuple[Feature, ...] = ()
    #: The features that some segment or stage reads and that time alone changes.
    windowed_features: tuple[Feature, ...] = ()
    #: Path → class of what rules may read and nobody may be shown.
    sensitive: dict[str, str] = field(default_factory=dict)
    #: Models that learn, by name.
    models: dict[str, Learner] = field(default_factory=dict)
    #: Models that were trained elsewhere, by name.
    trained: dict[str, Trained] = field(default_factory=dict)
    #: Content of the release as activated: `hashing.policy_digest`.
    digest: str = ""

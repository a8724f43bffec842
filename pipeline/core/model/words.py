"""The words that both a profile and the records around it use. Import them from `pipeline.core.model.records`."""

from __future__ import annotations

from enum import StrEnum

from pipeline.core.model.values import Value, value_field

Scalar = None | bool | int | float | str


class Basis(StrEnum):
    """Why processing is lawful: GDPR article 6(1) a to f."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    VITAL_INTERESTS = "vital_interests"
    PUBLIC_TASK = "public_task"
    LEGITIMATE_INTEREST = "legitimate_interest"


class OptIn(StrEnum):
    """How a yes was given: said once; asked to be confirmed; confirmed (double opt-in)."""

    SINGLE = "single"
    PENDING = "pending"
    CONFIRMED = "confirmed"


class ConsentGrant(Value, frozen=True):
    """One statement about one purpose: a yes, a no, or that another legal basis holds. `channel` None: every channel.

    Not granted: the consent is withdrawn, or (legitimate interest, public task) the person objects.
    """

    purpose: str
    granted: bool
    at_ms: int
    channel: str | None = None
    source: str = ""
    expires_at_ms: int | None = None
    basis: Basis = Basis.CONSENT
    opt_in: OptIn = OptIn.SINGLE
    #: Where the evidence is: a form's version, a record's id, the hash of an address. Never personal data.
    proof: str = ""


class Membership(Value, frozen=True):
    """Somebody belongs to an account (by its key, `tenant/@hash`), or has left it."""

    account: str
    roles: list[str] = value_field(default_factory=list)
    left: bool = False
    #: Declared the one account that counts for this person, from now on.
    primary: bool = False
    #: What stands after the tenant in the account's keys under earlier tenant keys that are still listed.
    earlier: list[str] = value_field(default_factory=list)


class Chosen(Value, frozen=True):
    """One decision for one slot. `ttl_s`: seconds the caller may show it without asking again."""

    item_id: str
    kind: str
    placement: str
    variant: str
    priority: int
    ttl_s: int
    experiment: str | None = None
    #: The variant's content after late binding, by field name.
    content: dict[str, Scalar] = value_field(default_factory=dict)
    score: float = 0.0
    #: Probability with which this item was chosen (1.0 where nothing was random): for off-policy evaluation.
    propensity: float = 1.0
    fallback: bool = False


class ModelUse(Value, frozen=True):
    """The model that filled a placement, its snapshot (0: the prior), and the vectors of the items that were shown.

    `form`: what the vectors are made of; an observation of another form than the model's present one is not learnt.
    """

    model: str
    snapshot: int
    vectors: dict[str, tuple[float, ...]] = value_field(default_factory=dict)
    form: str = ""


class DecisionReply(Value, frozen=True):
    """The answer to the caller. `error` is set, and everything else empty, where the request itself was wrong."""

    request_id: str
    decision_id: str
    decisions: list[Chosen]
    fallback: bool
    #: Why: `decided`, or the reason of the fallback (`no_consent`, `capped`, `no_candidate`, `no_policy`, …).
    reason: str
    release: str = ""
    error: str | None = None
    #: The subject's features as a JSON object, where they were asked for.
    features: str | None = None

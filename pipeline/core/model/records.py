"""The words of the domain: events in, decisions out. Frozen values, no behaviour beyond what their names promise.

All times are epoch milliseconds (`_ms`). A subject key is `tenant/hash`: the tenant, and the keyed hash of the
identifier the producer knows. A profile id has the same shape: the subject key of the identifier that won.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pipeline.core.model.learning import ModelSnapshot as ModelSnapshot
from pipeline.core.model.learning import ModelUpdate as ModelUpdate
from pipeline.core.model.learning import Observation as Observation
from pipeline.core.model.outcome_record import Outcome as Outcome
from pipeline.core.model.values import Value, value_field
from pipeline.core.model.words import Basis as Basis
from pipeline.core.model.words import Chosen as Chosen
from pipeline.core.model.words import ConsentGrant as ConsentGrant
from pipeline.core.model.words import DecisionReply as DecisionReply
from pipeline.core.model.words import Membership as Membership
from pipeline.core.model.words import ModelUse as ModelUse
from pipeline.core.model.words import OptIn as OptIn
from pipeline.core.model.words import Scalar as Scalar
from pipeline.core.sections.section import State
from pipeline.core.subject import Person


class IdentityKind(StrEnum):
    IDENTIFY = "identify"
    TRAITS = "traits"
    CONSENT = "consent"
    ALIAS = "alias"
    GROUP = "group"
    #: A shared identifier is let go: what comes under it next belongs to nobody known.
    LOGOUT = "logout"
    #: What an identifier gave up comes back to it.
    UNMERGE = "unmerge"
    #: Values of features that were computed in batch: of nobody who is erased or does not allow to be tracked.
    LOAD = "load"


class FeedbackKind(StrEnum):
    VIEW = "view"
    CLICK = "click"
    CONVERSION = "conversion"
    DISMISSAL = "dismissal"
    TRACK = "track"
    PAGE = "page"


#: What caps call each kind that is feedback on an item; others are `event:<name>`.
COUNTED: Final = {
    FeedbackKind.VIEW: "impression", FeedbackKind.CLICK: "click", FeedbackKind.CONVERSION: "conversion",
    FeedbackKind.DISMISSAL: "dismissal",
}


class ErasureAction(StrEnum):
    ERASE = "erase"
    EXPORT = "export"


class Identifier(Value, frozen=True):
    """One hashed identifier: its type (`email`, `device`, `user_id`, …) and the keyed hash, never the raw value."""

    type: str
    hash: str
    #: The hashes of the same identifier under earlier tenant keys that are still listed, the newest first.
    earlier: list[str] = value_field(default_factory=list)


class IdentityEvent(Value, frozen=True):
    event_id: str
    subject: str
    kind: IdentityKind
    at_ms: int
    traits: dict[str, Scalar] = value_field(default_factory=dict)
    consent: list[ConsentGrant] = value_field(default_factory=list)
    identifiers: list[Identifier] = value_field(default_factory=list)
    #: The account that the person joined, changed the role in, or left; None: unchanged.
    membership: Membership | None = None
    #: alias only: `subject` is the identifier given up, `alias_of` the profile id it belongs to from now on.
    alias_of: str | None = None
    source: str = ""
    #: The partition of `decision.replies` on which to say that it is applied; None: nobody waits for that.
    reply_partition: int | None = None
    #: The type of the identifier that `subject` is; "": the producer does not say.
    subject_type: str = ""
    #: The subject's hashes, and those of `alias_of`, under earlier tenant keys that are still listed, the newest first.
    earlier: list[str] = value_field(default_factory=list)
    alias_earlier: list[str] = value_field(default_factory=list)


class FeedbackEvent(Value, frozen=True):
    event_id: str
    subject: str
    kind: FeedbackKind
    at_ms: int
    #: The behaviour's own name for track and page ("Order Completed", "/pricing"); equals `kind` otherwise.
    name: str = ""
    item_id: str | None = None
    decision_id: str | None = None
    placement: str | None = None
    channel: str | None = None
    value: float | None = None
    properties: dict[str, Scalar] = value_field(default_factory=dict)
    source: str = ""
    #: The subject's hashes under earlier tenant keys that are still listed, the newest first.
    earlier: list[str] = value_field(default_factory=list)


class DecisionRequest(Value, frozen=True):
    request_id: str
    subject: str
    channel: str
    placements: list[str]
    scenario: str = ""
    max_variants: int = 1
    require_consent: bool = True
    #: Facts of this moment only (page, device, weather): rules read them as `context.<name>`; never stored.
    attributes: dict[str, Scalar] = value_field(default_factory=dict)
    #: Past this nobody waits for the answer any more; None: no one is waiting.
    deadline_ms: int | None = None
    #: The partition of `decision.replies` that the asking bridge reads; None: no reply wanted.
    reply_partition: int | None = None
    #: Hash of everything the caller sent except the request id: tells a retry from a reused id.
    digest: str = ""
    #: The subject's hashes under earlier tenant keys that are still listed, the newest first.
    earlier: list[str] = value_field(default_factory=list)
    #: Nothing is decided: the reply tells the subject's features.
    features: bool = False


class Decision(Value, frozen=True):
    """What was decided, for downstream consumers."""

    decision_id: str
    request_id: str
    profile_id: str
    at_ms: int
    channel: str
    placements: list[str]
    scenario: str
    decisions: list[Chosen]
    fallback: bool
    reason: str
    release: str
    policy_digest: str
    catalog_version: int
    catalog_digest: str
    #: `experiment:variation`, for each experiment that decided for this profile for the first time.
    exposures: list[str] = value_field(default_factory=list)
    #: On the topic: the personal fields, encrypted; None where they are open.
    encrypted: bytes | None = None


class CandidateAudit(Value, frozen=True):
    """What became of one candidate: chosen, or the first clause that stopped it and the values that clause saw."""

    item_id: str
    placement: str
    #: `chosen`, `outranked`, or the reason that stopped it (`not_eligible`, `capped`, `unknown:<attribute>`, …).
    outcome: str
    #: Stage of the decision that settled it: eligibility, applicability, suitability, channel_policy, caps, experiment,
    #: ranking, diversity, binding.
    stage: str
    #: The clause's text (rule, cap, …) and the values it saw, JSON-encoded by name.
    clause: str = ""
    values: dict[str, str] = {}  # noqa: RUF012  # every struct gets one of its own
    score: float = 0.0
    terms: dict[str, float] = {}  # noqa: RUF012


class Account(Value, frozen=True):
    """An account as its owner last published it: what members' rules read. `version` counts its changes."""

    account_id: str
    version: int
    at_ms: int
    traits: dict[str, Scalar] = value_field(default_factory=dict)
    #: Whether the account, beside its members, may be contacted.
    consent: list[ConsentGrant] = value_field(default_factory=list)


class Lease(Value, frozen=True):
    """Places of an account's caps on their way to one decision of a member; counts are by counter key."""

    account: str
    #: How often the account was asked for this decision; the account's name for the lease, once it has leased.
    trips: int
    lease_id: str = ""
    #: The account's time of leasing: the decision counts as made no earlier.
    at_ms: int = 0
    wanted: dict[str, int] = value_field(default_factory=dict)
    leased: dict[str, int] = value_field(default_factory=dict)
    #: Places that were taken before, for explanations.
    used: dict[str, int] = value_field(default_factory=dict)


class Settlement(Value, frozen=True):
    """The end of a lease: what the decision spent of it, and when; the rest is given back."""

    lease_id: str
    at_ms: int
    spent: dict[str, int] = value_field(default_factory=dict)


class AuditRecord(Value, frozen=True):
    """Everything needed to explain a decision and to replay it bit for bit."""

    decision_id: str
    at_ms: int
    request: DecisionRequest
    profile_id: str
    #: The part of the profile that the decision could read (`core/decide/footprint.py`); None where there was none.
    profile_before: Person | None
    candidates: list[CandidateAudit]
    #: The consent that let the decision pass (purpose, channel, when, source) or refused it, JSON.
    consent: str
    decisions: list[Chosen]
    fallback: bool
    reason: str
    release: str
    policy_digest: str
    catalog_version: int
    catalog_digest: str
    engine: str
    #: The account of the member's primary membership as the decision saw it, and what it leased.
    account: Account | None = None
    lease: Lease | None = None
    #: By placement: the learning model that filled it, and its snapshot.
    models: dict[str, ModelUse] = value_field(default_factory=dict)
    #: On the topic: the personal fields, encrypted; None where they are open.
    encrypted: bytes | None = None


class SegmentChange(Value, frozen=True):
    profile_id: str
    segment: str
    entered: bool
    at_ms: int
    #: The event id or request id whose processing made the change.
    cause: str
    release: str
    #: On the topic: the personal fields, encrypted; None where they are open.
    encrypted: bytes | None = None


class JourneyChange(Value, frozen=True):
    """A subject moved from one stage of a journey to another; "" is outside of it."""

    tenant: str
    journey: str
    #: The stage that was left, and the one that was entered; the same where a release made it a goal.
    was: str
    to: str
    #: enter, event, after, segment, rule, exit, timeout, moved_by_release.
    how: str
    at_ms: int
    #: When the stage that was left was entered, and the journey (epoch ms); 0 where they were outside.
    since_ms: int
    started_ms: int
    #: Whether this reached the goal.
    goal: bool
    release: str
    profile_id: str
    #: The event id or request id whose processing made the move.
    cause: str
    #: On the topic: the personal fields, encrypted; None where they are open.
    encrypted: bytes | None = None


class CatalogItem(Value, frozen=True):
    """One action, offer or content as published; `body` is its checked definition as canonical JSON."""

    tenant: str
    item_id: str
    body: str


class PolicyRelease(Value, frozen=True):
    """An immutable release (`body` set) or, under the key `tenant/@active`, the one that is live (`body` empty)."""

    tenant: str
    release: str
    body: str
    at_ms: int
    by: str = ""
    #: Of the one that is live: when each behaviour key of its signals began to be counted, epoch ms.
    signals_since: dict[str, int] = value_field(default_factory=dict)


class LinkKind(StrEnum):
    """The steps by which an identifier, and what is known under it, comes to a profile and leaves it again."""

    #: From a profile: this identifier is mine.
    CLAIM = "claim"
    #: From a profile that has identifiers of its own: these would come along.
    OFFER = "offer"
    #: From the claimant: they fit, give yourself up.
    ACCEPT = "accept"
    #: To the profile an identifier left: it follows a later login, or was let go.
    LEFT = "left"
    #: To the profile that holds what an identifier gave up (in `merge`): give it back.
    SPLIT = "split"
    #: And back at the identifier (in `merge`): be a profile again.
    REVIVE = "revive"
    #: From the hash under a new tenant key to the one under an earlier: come over to me.
    TAKE_OVER = "take_over"
    #: From an alias that was asked, behind what it gave up and to whoever has that now; who asks it again (`cause`: by
    #: which event it became an alias): so nothing can come by the new hash before what came by the earlier one.
    FENCE = "fence"
    #: And back: all that was kept under the earlier one (in `merge`).
    HAND_OVER = "hand_over"


class LinkStep(Value, frozen=True):
    """One step about one identifier. `owner`: the profile that claims it, or that it left."""

    kind: LinkKind
    identifier: Identifier
    owner: str
    #: Event time of what the step came of.
    at_ms: int
    source: str = ""
    #: An alias: somebody's word that two are one. Limits of types do not hold, and an alias may be aliased anew.
    explicit: bool = False
    #: offer, accept: what comes along.
    identifiers: list[Identifier] = value_field(default_factory=list)
    #: split, revive: the event that made the merge that is undone; fence, take_over: that made the alias. left: why.
    cause: str = ""
    #: left: the profile that claimed it; "": nobody did.
    claimed_by: str = ""


class ErasureRequest(Value, frozen=True):
    """Somebody's data is to be erased or given out (`action`: erase, export)."""

    job_id: str
    subject: str
    action: ErasureAction
    at_ms: int
    #: Who asked: a ticket, a system, an officer.
    by: str = ""
    #: The profile whose erasure this is a part of; None: the whole job.
    part_of: str | None = None
    #: The subject's hashes under earlier tenant keys that are still listed, the newest first.
    earlier: list[str] = value_field(default_factory=list)


class ErasureReceipt(Value, frozen=True):
    """What was done about one identifier of a subject."""

    job_id: str
    subject: str
    action: ErasureAction
    profile_id: str
    #: Every identifier of the subject, each with a receipt of its own; in the receipt of the profile only.
    identifiers: list[str]
    at_ms: int
    known: bool
    #: Topics and tables whose records about it cannot be opened any more.
    unreadable: list[str] = value_field(default_factory=list)
    part_of: str | None = None


class InboxRecord(Value, frozen=True):
    """A record on its way to the profile it belongs to. Exactly one of the payloads is set (a split, a revival and a
    handing over are `link` with `merge`), or it is due: nothing happened, but time alone changes the profile now.
    """

    event_id: str
    profile_id: str
    from_subject: str
    identity: IdentityEvent | None = None
    feedback: FeedbackEvent | None = None
    request: DecisionRequest | None = None
    #: A whole profile given up by an alias.
    merge: State | None = None
    #: The moment (epoch ms) at which time alone changes the profile: its owner asks itself for another look.
    due_ms: int | None = None
    #: Beside `request`: on the way to the account it asks for places, on the way back it brings them.
    lease: Lease | None = None
    settled: Settlement | None = None
    link: LinkStep | None = None
    erasure: ErasureRequest | None = None
    #: The hashes of `profile_id` under earlier tenant keys, where who sends it knows them.
    earlier: list[str] = value_field(default_factory=list)


class DeadLetter(Value, frozen=True):
    """The original bytes of a record that could not be used, and why."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    #: Kafka lets a header's value be null.
    headers: dict[str, bytes | None]
    flow: str
    worker: str
    #: Bytes of key, value and headers left out because no dead letter could hold them; 0: all are here.
    cut_bytes: int = 0
    #: On the topic: the personal fields, encrypted; None where they are open.
    encrypted: bytes | None = None

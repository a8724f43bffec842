"""The record of the topic `outcomes`. Import it from `pipeline.core.model.records`."""

from __future__ import annotations

from enum import StrEnum

from pipeline.core.model.values import Value, value_field


class MatchedBy(StrEnum):
    """By what an outcome was matched to its decision."""

    DECISION = "decision"
    ITEM = "item"
    CAMPAIGN = "campaign"
    TAG = "tag"
    PLACEMENT = "placement"
    NONE = "none"


class Unmatched(StrEnum):
    """Why an outcome was credited to no decision."""

    #: Nothing of the kind was shown to the subject.
    NO_EXPOSURE = "no_exposure"
    #: The decision is too long ago.
    OUTSIDE_WINDOW = "outside_window"
    #: The decision's window was closed before the event was known, or did not have this outcome.
    CLOSED = "closed"
    #: The decision it names is not known of this subject: another's, forgotten, or fallback content alone.
    UNKNOWN_DECISION = "unknown_decision"
    #: The event is older than the decision that it names.
    BEFORE_DECISION = "before_decision"
    #: The decision that it names did not show this item.
    NOT_SHOWN = "not_shown"
    FALLBACK = "fallback"
    #: The decision that it names showed several items, and the event names none.
    AMBIGUOUS = "ambiguous"
    #: The event does not have the number that the reward is made of.
    NO_VALUE = "no_value"
    #: view_through: a decision whose item was clicked exists; none was viewed.
    CLICKED = "clicked"
    NOT_VIEWED = "not_viewed"
    #: More outcomes of the subject wait for their decisions than are kept.
    CROWDED = "crowded"


class Outcome(Value, frozen=True):
    """What came of one item shown by one decision: part of an event's reward (`final` false), or all of it once the
    window is closed; or an event that belongs to no decision (`matched_by` none, `reason` says why)."""

    #: The same whenever the same is said.
    outcome_id: str
    #: The outcome's name in the policy.
    outcome: str
    profile_id: str
    #: Event time; of a final record, when the window closed (epoch ms).
    at_ms: int
    #: The event's item, where nothing was matched. `action`: as the Open Bandit Pipeline calls the item shown.
    item_id: str
    action: str
    reward: float
    matched_by: MatchedBy
    final: bool
    attribution: str
    release: str
    #: "": a final record is about all events.
    event_id: str = ""
    decision_id: str = ""
    #: What the decision knew, as JSON by fact.
    context: str = "{}"
    #: Propensity, and place within the placement from 0; None where nothing was matched.
    pscore: float | None = None
    position: int | None = None
    placement: str = ""
    channel: str = ""
    scenario: str = ""
    campaign: str = ""
    variant: str = ""
    #: Share of the event's credit, 0 to 1; of a final record 1.
    weight: float = 0.0
    #: Why nothing was matched; of a final record: `crowded` where it was closed before its time.
    reason: str = ""
    decided_ms: int | None = None
    experiments: list[str] = value_field(default_factory=list)
    model: str = ""
    snapshot: int = 0
    #: On the topic: the personal fields, encrypted; None where they are open.
    encrypted: bytes | None = None

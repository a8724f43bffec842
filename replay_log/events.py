"""What one logged impression becomes on the topics: who it is, the request, the feedback on what was shown.

Ids come from the run's name and the row's number: replaying the same rows under the same name repeats no effect.
Times are the replay's own, because windows of caps and segments count from when the broker takes a record; the logged
time goes along as a property.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.core.hashing import digest
from pipeline.core.identity.identifiers import oldest_key
from pipeline.core.model.records import (
    ConsentGrant,
    DecisionRequest,
    FeedbackEvent,
    FeedbackKind,
    IdentityEvent,
    IdentityKind,
    Scalar,
)
from replay_log.rows import Impression

#: Says in every record that it was replayed, and by which run.
SOURCE = "replay-log"


@dataclass(frozen=True, slots=True)
class Run:
    """One replay: its name (part of every id), and the purpose that consent in the log is for."""

    name: str
    purpose: str | None = None
    require_consent: bool = True

    def id_of(self, impression: Impression, what: str) -> str:
        """The id of one record about one row."""
        return f"{self.name}-{impression.row}-{what}"

    @property
    def source(self) -> str:
        return f"{SOURCE}/{self.name}"


def identity_events(run: Run, impression: Impression, at_ms: int) -> list[IdentityEvent]:
    """The subject's traits and consent; nothing where the log says nothing about either."""
    events = []
    if impression.traits:
        events.append(IdentityEvent(
            run.id_of(impression, "traits"), impression.subject, IdentityKind.TRAITS, at_ms,
            traits=dict(impression.traits), source=run.source, earlier=impression.earlier,
        ))
    if run.purpose is not None and impression.consent is not None:
        grant = ConsentGrant(run.purpose, impression.consent, at_ms, source=run.source)
        events.append(IdentityEvent(
            run.id_of(impression, "consent"), impression.subject, IdentityKind.CONSENT, at_ms, consent=[grant],
            source=run.source, earlier=impression.earlier,
        ))
    return events


def decision_request(run: Run, impression: Impression, reply_partition: int) -> DecisionRequest:
    """The question the logged impression answered: what to show this subject in this place."""
    attributes = dict(impression.attributes)
    said = (impression.channel, impression.placement, impression.scenario, *(f"{k}={v}" for k, v in attributes.items()))
    return DecisionRequest(
        request_id=run.id_of(impression, "decide"),
        subject=impression.subject,
        channel=impression.channel,
        placements=[impression.placement],
        scenario=impression.scenario,
        require_consent=run.require_consent,
        attributes=attributes,
        reply_partition=reply_partition,
        digest=digest(oldest_key(impression.subject, impression.earlier), *said),
        earlier=impression.earlier,
    )


def feedback_events(run: Run, impression: Impression, at_ms: int, decision_id: str | None) -> list[FeedbackEvent]:
    """What the log says happened to the item that was shown then; `decision_id` only where we chose the same item."""
    kinds = [FeedbackKind.VIEW]
    if impression.clicked:
        kinds.append(FeedbackKind.CLICK)
    if impression.converted:
        kinds.append(FeedbackKind.CONVERSION)
    if impression.dismissed:
        kinds.append(FeedbackKind.DISMISSAL)
    earns = FeedbackKind.CONVERSION if impression.converted else FeedbackKind.CLICK
    properties: dict[str, Scalar] = {}
    if impression.logged_at_ms is not None:
        properties["logged_at"] = datetime.fromtimestamp(impression.logged_at_ms / 1_000, UTC).isoformat()
    return [
        FeedbackEvent(
            run.id_of(impression, kind.value), impression.subject, kind, at_ms,
            name=kind.value,
            item_id=impression.item_id,
            decision_id=decision_id,
            placement=impression.placement,
            channel=impression.channel,
            value=impression.value if kind is earns else None,
            properties=dict(properties),
            source=run.source,
            earlier=impression.earlier,
        )
        for kind in kinds
    ]

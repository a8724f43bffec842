"""A small policy for tests, its publication, and the events and requests of its subjects."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.model.records import (
    ConsentGrant,
    DecisionRequest,
    FeedbackEvent,
    FeedbackKind,
    IdentityEvent,
    IdentityKind,
)
from pipeline.policy.load import load
from pipeline.policy.publish import prepare
from pipeline.ports import Outbound

POLICY = """
attributes:
  profile:
    plan: {type: string, default: free}
  candidate:
    value: {type: double, default: 1.0}
consent:
  purposes: {personalization: Choose content by what we know}
  tracking: personalization
channels:
  web: {purposes: personalization}
placements:
  hero:
    channels: [web]
    max_variants: 1
    ttl: 5m
    fallback: {item: welcome, content: {title: Welcome}}
signals:
  clicks:
    count: {event: click}
    within: 1h
    up_to: 5
segments:
  keen:
    rule: signals.clicks >= 1
caps:
  twice_a_day:
    count: decision
    per: item
    limit: 2
    window: 1d
items:
  upgrade:
    kind: offer
    placements: [hero]
    priority: 50
    eligibility: profile.plan == "free"
    variants: {default: {content: {title: Upgrade now}}}
  tips:
    kind: content
    placements: [hero]
    priority: 10
    variants: {default: {content: {title: Tips}}}
"""


def publication(folder: Path, text: str = POLICY, tenant: str = "shop", at_ms: int = 1) -> tuple[Outbound, ...]:
    """The records that make the policy live."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.yaml").write_text(text, encoding="utf-8")
    return prepare(load(folder), tenant, {}, at_ms, "tests").records


def consent(subject: str, at_ms: int, granted: bool = True, event_id: str = "") -> IdentityEvent:
    """Somebody agrees, or no longer does."""
    grant = ConsentGrant("personalization", granted, at_ms)
    name = event_id or f"consent-{subject}-{at_ms}-{granted}"
    return IdentityEvent(name, subject, IdentityKind.CONSENT, at_ms, consent=[grant])


def traits(subject: str, at_ms: int, event_id: str = "", **values: str) -> IdentityEvent:
    """What is known about somebody changes."""
    return IdentityEvent(
        event_id or f"traits-{subject}-{at_ms}", subject, IdentityKind.TRAITS, at_ms, traits=dict(values)
    )


def alias(old: str, new: str, at_ms: int) -> IdentityEvent:
    """An identifier turns out to belong to another profile."""
    return IdentityEvent(f"alias-{old}-{new}", old, IdentityKind.ALIAS, at_ms, alias_of=new)


def click(subject: str, item: str, at_ms: int, event_id: str) -> FeedbackEvent:
    """A click on an item."""
    return FeedbackEvent(event_id, subject, FeedbackKind.CLICK, at_ms, name="click", item_id=item, channel="web")


def request(request_id: str, subject: str, **changes: object) -> DecisionRequest:
    """A question for the hero placement, with a reply wanted on partition 0."""
    fields: dict[str, object] = {"channel": "web", "placements": ["hero"], "reply_partition": 0, "digest": "d"}
    return DecisionRequest(request_id, subject, **(fields | changes))  # type: ignore[arg-type]

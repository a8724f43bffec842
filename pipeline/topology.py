"""Who reads, keeps and writes what: the whole pipeline on one screen. Runtimes run it; tests check it.

The order is that in which records fetched together are applied: what a caller sent before asking comes first.
"""

from __future__ import annotations

from operator import attrgetter

from pipeline.agents import catalog, erasure, feedback, identity, inbox, loads, models, policy, requests
from pipeline.core.model.records import InboxRecord
from pipeline.flow import Flow, Lane, Work
from topics.catalog import (
    CATALOG_ITEMS,
    DEAD_LETTERS,
    DECISION_REQUESTS,
    ERASURE_REQUESTS,
    FEATURE_LOADS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    MODEL_UPDATES,
    POLICY_RELEASES,
    PROFILE_INBOX,
    PROFILES_BY_ID,
    TOPICS,
    Topic,
)


def _writes(flow: str) -> tuple[Topic, ...]:
    """What the catalog says that the flow writes, and the letter of a record that it cannot use."""
    return (*(topic for topic in TOPICS if flow in topic.written_by), DEAD_LETTERS)


def _inbox_deadline_ms(record: InboxRecord) -> int | None:
    """Of a request sent on. What an account has leased is settled whoever still waits: its handler looks itself."""
    if record.request is None or (record.lease is not None and record.lease.lease_id):
        return None
    return record.request.deadline_ms


FLOWS: tuple[Flow, ...] = (
    Flow(
        "inbox",
        reads=PROFILE_INBOX,
        writes=_writes("inbox"),
        table=PROFILES_BY_ID,
        handle=inbox.handle,
        lane=Lane.BATCH,
        key=attrgetter("profile_id"),
        deadline_ms=_inbox_deadline_ms,
        doc="Merge what an alias gave up; apply what was sent to it; lease an account's places.",
    ),
    Flow(
        "erasure",
        reads=ERASURE_REQUESTS,
        writes=_writes("erasure"),
        table=PROFILES_BY_ID,
        handle=erasure.handle,
        lane=Lane.BATCH,
        key=attrgetter("subject"),
        doc="Forget a subject: destroy the key, keep that it was erased.",
    ),
    Flow(
        "identity",
        reads=IDENTITY_EVENTS,
        writes=_writes("identity"),
        table=PROFILES_BY_ID,
        handle=identity.handle,
        lane=Lane.BATCH,
        key=attrgetter("subject"),
        work=Work.EVENTS,
        doc="Traits, consent (confirmed to who waits for it), memberships and aliases into the profile; accounts into "
            "theirs.",
    ),
    Flow(
        "feedback",
        reads=FEEDBACK_EVENTS,
        writes=_writes("feedback"),
        table=PROFILES_BY_ID,
        handle=feedback.handle,
        lane=Lane.BATCH,
        key=attrgetter("subject"),
        work=Work.EVENTS,
        reports=True,
        doc="Behaviour and outcomes into history, caps and segments.",
    ),
    Flow(
        "requests",
        reads=DECISION_REQUESTS,
        writes=_writes("requests"),
        table=PROFILES_BY_ID,
        handle=requests.handle,
        lane=Lane.BATCH,
        key=attrgetter("subject"),
        deadline_ms=attrgetter("deadline_ms"),
        may_pause=False,
        comes_after=True,
        work=Work.REQUESTS,
        doc="Decide, reserve the caps, explain.",
    ),
    Flow(
        "models",
        reads=MODEL_UPDATES,
        writes=_writes("models"),
        table=PROFILES_BY_ID,
        handle=models.handle,
        lane=Lane.BATCH,
        key=attrgetter("model_key"),
        work=Work.EVENTS,
        doc="Rewards into the statistics of a model, once each; its numbered snapshots.",
    ),
    Flow(
        "loads",
        reads=FEATURE_LOADS,
        writes=_writes("loads"),
        table=PROFILES_BY_ID,
        handle=loads.handle,
        lane=Lane.BATCH,
        key=attrgetter("subject"),
        work=Work.LOADS,
        doc="Values of features that were computed in batch into the profile.",
    ),
    Flow(
        "catalog",
        reads=CATALOG_ITEMS,
        writes=_writes("catalog"),
        handle=catalog.handle,
        lane=Lane.AGENT,
        key=lambda item: f"{item.tenant}/{item.item_id}",
        doc="Check published items; every worker follows the topic into memory besides.",
    ),
    Flow(
        "policy",
        reads=POLICY_RELEASES,
        writes=_writes("policy"),
        handle=policy.handle,
        lane=Lane.AGENT,
        key=lambda release: f"{release.tenant}/{release.release}" if release.body else f"{release.tenant}/@active",
        doc="Check published releases; every worker follows the topic into memory besides.",
    ),
)

#: The classes of work, in the order in which records that are there at the same time are applied (what a caller sent
#: before asking comes first, unless it is behind a backlog): the weight of each one's share, and whether it is bulk,
#: which nobody waits for.
WORK: dict[Work, tuple[float, bool]] = {
    Work.INTERNAL: (8.0, False), Work.EVENTS: (2.0, True), Work.REQUESTS: (8.0, False),
    Work.LOADS: (0.5, True),
}

#: The flows that share the profile table, in the order of application.
BATCH_FLOWS: tuple[Flow, ...] = tuple(flow for flow in FLOWS if flow.lane is Lane.BATCH)

#: The flows of ordinary agents.
AGENT_FLOWS: tuple[Flow, ...] = tuple(flow for flow in FLOWS if flow.lane is Lane.AGENT)

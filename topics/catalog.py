"""Every topic and table: name, key, schema, partitions, retention. Pure data; imports nothing but the standard library.

The names are public contract. `nextbest topics plan|apply` compares this file with a running cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

#: Partitions of every topic keyed by subject (co-partitioned) and of every table's changelog.
#: The highest number of workers that can share the load. Never change it on a live cluster: keys would move.
SUBJECT_PARTITIONS: Final = 8

#: Partitions of `decision.replies`: one per bridge that should read only its own replies.
REPLY_PARTITIONS: Final = 16

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

#: Within this the broker removes what a newer record of a changelog has replaced, destroyed keys above all.
PURGE_MS: Final = DAY_MS

#: How long after its decision an audit is written at the latest: an installation may be down so long.
LATE_AUDIT_MS: Final = 7 * DAY_MS

#: How long it can be proved what was erased, and when: the limitation period of most claims.
EVIDENCE_MS: Final = 3 * 365 * DAY_MS

MIB: Final = 1_048_576

#: The largest input that is processed; a larger one is a dead letter.
RECORD_LIMIT_BYTES: Final = 262_144

#: What the broker takes on an input topic. Far above what is processed, so that too large a record is dead-lettered
#: with its bytes and a reason instead of dying in a producer that nobody watches.
INPUT_BYTES_MAX: Final = 4 * MIB

# What follows from one input; `tests/contract/test_sizes.py` adds it up.
#: A profile as it is kept.
PROFILE_BYTES_MAX: Final = 2 * MIB
#: What was decided, as an answer and as a fact: the chosen with their content.
DECISION_BYTES_MAX: Final = MIB
#: The request, the profile before and its account, what was chosen, and every candidate with its reason.
AUDIT_BYTES_MAX: Final = 4 * MIB
#: A key's changelog value: the profile, and the outputs that wait for their acknowledgement.
ENVELOPE_BYTES_MAX: Final = 10 * MIB

#: How the broker keeps what is not encrypted, whatever a producer sent. Snappy makes nothing smaller than a twentieth:
#: so the limit on what the broker takes limits what a reader unpacks, too. Of other codecs a megabyte makes hundreds.
COMPRESSION: Final = "snappy"

#: Room beside a value for the record's key and headers, and for the frame that the broker counts too.
FRAME_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic as declared; `schema` is the Avro subject in `schemas/`, None where values are opaque bytes."""

    name: str
    key: str
    schema: str | None
    partitions: int
    retention_ms: int = 7 * DAY_MS
    compacted: bool = False
    #: Compacted topics: how long a record that a newer one supersedes is kept at least; None: as the broker likes.
    superseded_ms: int | None = None
    #: How much time one of the broker's files spans at most: a record goes with the newest of its file.
    segment_ms: int | None = None
    #: Broker's clock stamps the record: the decision's time can then neither be forged nor run backwards.
    log_append_time: bool = False
    #: The largest value that is written to it and read from it; a larger one cannot be used.
    value_bytes_max: int = MIB
    #: Whether the worker encrypts the personal fields with the subject's key, and names the subject by pseudonym.
    encrypted: bool = False
    #: What the broker takes, where that is more than such a value needs.
    broker_bytes_max: int | None = None
    #: Whether somebody waits for a record on it, a caller or the next step of a merge; others may travel together.
    awaited: bool = True
    #: Whether the log store keeps it, for longer than the broker does; under this name in SQL.
    logged_as: str | None = None
    #: The flows that write it; dead letters: every one.
    written_by: tuple[str, ...] = ()
    doc: str = ""

    @property
    def max_record_bytes(self) -> int:
        """The broker's limit on one record."""
        return self.broker_bytes_max or self.value_bytes_max + FRAME_BYTES_MAX

    @property
    def kept_ms_max(self) -> int:
        """How old a record can be at most before the broker removes it. Declared by `segment_ms`."""
        return self.retention_ms + (self.segment_ms or 0)

    @property
    def config(self) -> dict[str, str]:
        """The topic's configuration as the broker spells it."""
        config = {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "max.message.bytes": str(self.max_record_bytes),
            "message.timestamp.type": "LogAppendTime" if self.log_append_time else "CreateTime",
        }
        if not self.encrypted:
            config["compression.type"] = COMPRESSION
        if not self.compacted:
            config["retention.ms"] = str(self.retention_ms)
        if self.superseded_ms is not None:
            config["min.compaction.lag.ms"] = str(self.superseded_ms)
        if self.segment_ms is not None:
            config["segment.ms"] = str(self.segment_ms)
        return config


@dataclass(frozen=True, slots=True)
class Table:
    """One keyed state table; its changelog is a compacted topic with the partitions of the topics that feed it."""

    name: str
    key: str
    doc: str = ""
    config: dict[str, str] = field(default_factory=dict)

    def changelog(self, app_id: str) -> str:
        """The changelog topic's name, as Faust derives it."""
        return f"{app_id}-{self.name}-changelog"


IDENTITY_EVENTS: Final = Topic(
    "identity.events",
    "subject key",
    "identity_event",
    SUBJECT_PARTITIONS,
    log_append_time=True,
    value_bytes_max=RECORD_LIMIT_BYTES,
    broker_bytes_max=INPUT_BYTES_MAX,
    logged_as="identity_events",
    doc="Who somebody is and what they allow: identify, alias, traits, consent.",
)
FEEDBACK_EVENTS: Final = Topic(
    "feedback.events",
    "subject key",
    "feedback_event",
    SUBJECT_PARTITIONS,
    log_append_time=True,
    value_bytes_max=RECORD_LIMIT_BYTES,
    broker_bytes_max=INPUT_BYTES_MAX,
    logged_as="feedback_events",
    doc="What somebody did: feedback on an item, such as a view or a click, and any other behaviour.",
)
FEATURE_LOADS: Final = Topic(
    "features.loads",
    "subject key",
    "identity_event",
    SUBJECT_PARTITIONS,
    log_append_time=True,
    value_bytes_max=RECORD_LIMIT_BYTES,
    broker_bytes_max=INPUT_BYTES_MAX,
    awaited=False,
    doc="Values of features that were computed in batch, each as a trait features.<name> (kind load); at_ms is the "
        "moment that they are of.",
)
#: What the keys of readiness probes begin with on `decision.requests`: no tenant's name begins like that.
READINESS_PROBE: Final = "@readiness/"

DECISION_REQUESTS: Final = Topic(
    "decision.requests",
    "subject key",
    "decision_request",
    SUBJECT_PARTITIONS,
    DAY_MS,
    log_append_time=True,
    value_bytes_max=RECORD_LIMIT_BYTES,
    broker_bytes_max=INPUT_BYTES_MAX,
    logged_as="requests",
    doc="Which action, offer or content, for whom, where.",
)
PROFILE_INBOX: Final = Topic(
    "profile.inbox",
    "profile id",
    "inbox_record",
    SUBJECT_PARTITIONS,
    log_append_time=True,
    value_bytes_max=PROFILE_BYTES_MAX + RECORD_LIMIT_BYTES,
    written_by=("inbox", "erasure", "identity", "feedback", "requests", "loads"),
    doc="Internal: records of an aliased id, and merged state, on their way to the profile's own partition.",
)
DECISION_REPLIES: Final = Topic(
    "decision.replies",
    "request id",
    "decision_reply",
    REPLY_PARTITIONS,
    10 * MINUTE_MS,
    value_bytes_max=DECISION_BYTES_MAX,
    written_by=("inbox", "identity", "requests"),
    doc="The answer to a waiting caller, on the partition that its bridge reads.",
)
DECISIONS: Final = Topic(
    "decisions",
    "subject's pseudonym",
    "decision",
    SUBJECT_PARTITIONS,
    value_bytes_max=DECISION_BYTES_MAX,
    awaited=False,
    encrypted=True,
    written_by=("inbox", "requests"),
    logged_as="decisions",
    doc="What was decided, for downstream consumers.",
)
DECISION_AUDIT: Final = Topic(
    "decision.audit",
    "subject's pseudonym",
    "audit_record",
    SUBJECT_PARTITIONS,
    90 * DAY_MS,
    segment_ms=DAY_MS,
    value_bytes_max=AUDIT_BYTES_MAX,
    awaited=False,
    encrypted=True,
    written_by=("inbox", "requests"),
    logged_as="audit",
    doc="Everything needed to explain a decision and to replay it.",
)
SEGMENT_CHANGES: Final = Topic(
    "segment.changes",
    "subject's pseudonym",
    "segment_change",
    SUBJECT_PARTITIONS,
    awaited=False,
    encrypted=True,
    written_by=("inbox", "identity", "feedback", "requests", "loads"),
    logged_as="segments",
    doc="A profile entered or left a segment.",
)

JOURNEY_CHANGES: Final = Topic(
    "journey.changes",
    "subject's pseudonym",
    "journey_change",
    SUBJECT_PARTITIONS,
    90 * DAY_MS,
    segment_ms=DAY_MS,
    awaited=False,
    encrypted=True,
    written_by=("inbox", "identity", "feedback", "requests", "loads"),
    logged_as="journeys",
    doc="A profile entered, went on in, or left a journey.",
)

OUTCOMES: Final = Topic(
    "outcomes",
    "subject's pseudonym",
    "outcome",
    SUBJECT_PARTITIONS,
    30 * DAY_MS,
    awaited=False,
    encrypted=True,
    written_by=("inbox", "feedback"),
    logged_as="outcomes",
    doc="What came of what was shown: credit as it comes, the total of every window, and what belongs to no decision.",
)

#: Every version of policy and catalog that a kept audit names is kept with it. An audit may be written late: a crashed
#: worker's, once another has taken over. By the broker's clock: by a producer's, a version could be gone at once.
VERSIONS_MS: Final = DECISION_AUDIT.kept_ms_max + LATE_AUDIT_MS

CATALOG_ITEMS: Final = Topic(
    "catalog.items",
    "tenant/item id",
    "catalog_item",
    1,
    compacted=True,
    superseded_ms=VERSIONS_MS,
    log_append_time=True,
    doc="Actions, offers and content; the offset is the catalog's version.",
)
POLICY_RELEASES: Final = Topic(
    "policy.releases",
    "tenant/release id, and tenant/@active",
    "policy_release",
    1,
    compacted=True,
    superseded_ms=VERSIONS_MS,
    log_append_time=True,
    doc="Immutable releases, and the record that says which one is live.",
)
ACCOUNTS: Final = Topic(
    "accounts",
    "tenant/@hash of the account",
    "account",
    1,
    compacted=True,
    value_bytes_max=RECORD_LIMIT_BYTES,
    broker_bytes_max=MIB + FRAME_BYTES_MAX,
    written_by=("identity",),
    doc="Every account as it is now: firmographics, plan, contract, consent to contact. Followed by every worker.",
)
MODEL_UPDATES: Final = Topic(
    "model.updates",
    "tenant/%model",
    "model_update",
    SUBJECT_PARTITIONS,
    log_append_time=True,
    value_bytes_max=RECORD_LIMIT_BYTES,
    broker_bytes_max=INPUT_BYTES_MAX,
    awaited=False,
    written_by=("inbox", "feedback"),
    doc="What rewards of shown items come to for the statistics of the model that chose them; names no subject.",
)
MODEL_SNAPSHOTS: Final = Topic(
    "model.snapshots",
    "tenant/%model/number, and tenant/%model/@latest",
    "model_snapshot",
    1,
    compacted=True,
    superseded_ms=HOUR_MS,
    value_bytes_max=2 * MIB,
    awaited=False,
    written_by=("inbox", "models"),
    doc="A model's statistics, immutable and numbered: what decisions name. Followed by every worker.",
)
DEAD_LETTERS: Final = Topic(
    "dead.letters",
    "subject's pseudonym; empty where no key is known",
    "dead_letter",
    SUBJECT_PARTITIONS,
    30 * DAY_MS,
    value_bytes_max=10 * MIB,
    encrypted=True,
    doc="Original bytes of every record that could not be used: fate, reason, where it came from.",
)

ERASURE_REQUESTS: Final = Topic(
    "erasure.requests",
    "subject key",
    "erasure_request",
    SUBJECT_PARTITIONS,
    EVIDENCE_MS,
    log_append_time=True,
    value_bytes_max=RECORD_LIMIT_BYTES,
    broker_bytes_max=INPUT_BYTES_MAX,
    doc="Whose data is to be erased or given out.",
)
ERASURE_RECEIPTS: Final = Topic(
    "erasure.receipts",
    "subject key",
    "erasure_receipt",
    SUBJECT_PARTITIONS,
    EVIDENCE_MS,
    written_by=("inbox", "erasure"),
    doc="What was done about it, identifier by identifier: the proof, and the word to whoever keeps copies (sinks).",
)

TOPICS: Final[tuple[Topic, ...]] = (
    IDENTITY_EVENTS,
    FEEDBACK_EVENTS,
    FEATURE_LOADS,
    DECISION_REQUESTS,
    PROFILE_INBOX,
    DECISION_REPLIES,
    DECISIONS,
    DECISION_AUDIT,
    SEGMENT_CHANGES,
    JOURNEY_CHANGES,
    OUTCOMES,
    CATALOG_ITEMS,
    POLICY_RELEASES,
    ACCOUNTS,
    MODEL_UPDATES,
    MODEL_SNAPSHOTS,
    DEAD_LETTERS,
    ERASURE_REQUESTS,
    ERASURE_RECEIPTS,
)

PROFILES_BY_ID: Final = Table(
    "profiles_by_id",
    "profile id",
    doc="One value per profile: traits, consent, segments, behaviour, cap counters, recent requests and answers.",
    # A zombie's late write must not push the owner's value out by compaction before recovery has read both.
    # A destroyed key must leave the disk too, however quiet the partition.
    config={
        "min.compaction.lag.ms": str(HOUR_MS),
        "max.compaction.lag.ms": str(PURGE_MS),
        "max.message.bytes": str(ENVELOPE_BYTES_MAX + FRAME_BYTES_MAX),
    },
)

TABLES: Final[tuple[Table, ...]] = (PROFILES_BY_ID,)

#: What a producer must be able to send.
LARGEST_RECORD_BYTES: Final = max(ENVELOPE_BYTES_MAX + FRAME_BYTES_MAX, *(topic.max_record_bytes for topic in TOPICS))

BY_NAME: Final[dict[str, Topic]] = {topic.name: topic for topic in TOPICS}

"""What a flow is: a record in, an outcome out. Types only; knows nothing of Kafka, Faust or Avro.

A handler is a pure function of one decoded record, the state of its key and a `Context`. It says what should
happen; the lane (`runtime/lane.py`) makes it happen in the order that keeps state durable before outputs are visible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Final, Protocol

from pipeline.core.decide.live import Live
from pipeline.core.model.values import Value
from topics.catalog import Table, Topic


class Fate(StrEnum):
    """What became of a record. Every record meets exactly one."""

    ACCEPT = "accept"
    DROP = "drop"
    DEAD_LETTER = "dead-letter"
    REDIRECT = "redirect"


class Reason(StrEnum):
    """Why a record met its fate; also the label of `nextbest_records_total`."""

    APPLIED = "applied"
    DECIDED = "decided"
    FORWARDED = "forwarded"
    MERGED = "merged"
    #: What was kept under an earlier key of the hashes has come over.
    TAKEN_OVER = "taken_over"
    LEASED = "leased"
    SETTLED = "settled"
    LINKED = "linked"
    OFFERED = "offered"
    UNMERGED = "unmerged"
    RELEASED = "released"
    #: Applied, but for an identifier that went past a limit of the policy: it was left out.
    IDENTIFIER_LIMITED = "identifier_limited"
    # drop
    DUPLICATE_EVENT = "duplicate_event"
    REPEATED_REQUEST = "repeated_request"
    #: A question about what is kept was answered; nothing changed.
    READ = "read"
    REDELIVERED = "redelivered"
    PAST_DEADLINE = "past_deadline"
    TOO_OLD = "too_old"
    NOTHING_DUE = "nothing_due"
    NO_CONSENT = "no_consent"
    ALREADY_ONE = "already_one"
    NOT_LINKED = "not_linked"
    LATER_LOGIN = "later_login"
    NOTHING_TO_UNDO = "nothing_to_undo"
    ERASED = "erased"
    #: Of an update of a model: no release has it; it learns no more; its vectors are not of the model's present form.
    NO_MODEL = "no_model"
    FROZEN = "frozen"
    OTHER_FORM = "other_form"
    # dead-letter
    NOT_AVRO = "not_avro"
    UNKNOWN_SCHEMA = "unknown_schema"
    WRONG_SCHEMA = "wrong_schema"
    TRUNCATED = "truncated"
    WRONG_TYPE = "wrong_type"
    TOO_LARGE = "too_large"
    EMPTY_KEY = "empty_key"
    WRONG_KEY = "wrong_key"
    WRONG_PARTITION = "wrong_partition"
    NULL_VALUE = "null_value"
    INVALID = "invalid"
    #: Records that it was to come after did not come in time.
    NOT_CAUGHT_UP = "not_caught_up"
    #: The handler raised: a defect of the engine, or a policy that should have been refused.
    FAILED = "failed"


class Record(Value, frozen=True):
    """One Kafka record as it came: bytes, where from, and the broker's time of appending it (epoch ms)."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    #: Why a part of it could not be read at all ("": it could): it is a dead letter then.
    unreadable: str = ""


class Emit(Value, frozen=True):
    """One record to publish: a core type, encoded with the topic's schema; None: a tombstone. `partition`: only if not
    the key's."""

    topic: Topic
    key: str
    value: object
    partition: int | None = None


class Accept(Value, frozen=True):
    """The record was used: `state` replaces the key's state (None: unchanged), `emits` go out once that is durable.

    `beside`: by name, what is put beside the state, durable before it: large, rarely read, never changed. Empty bytes
    take away what lies there.
    """

    reason: Reason
    state: Any = None
    emits: tuple[Emit, ...] = ()
    beside: Mapping[str, bytes] | None = None


class Drop(Value, frozen=True):
    """The record is rightly not used."""

    reason: Reason
    emits: tuple[Emit, ...] = ()


class DeadLetter(Value, frozen=True):
    """The record cannot be used; `detail` tells its producer what to do about it."""

    reason: Reason
    detail: str


class Forward(Value, frozen=True):
    """The record belongs to another key's partition and is sent on there."""

    reason: Reason
    emit: Emit


Outcome = Accept | Drop | DeadLetter | Forward


#: Nothing that was reported waits to be read.
EVERYTHING_KNOWN: Final = 2**63 - 1


class Context(Protocol):
    """What a handler may know besides record and state. Time comes with the record, never from a clock."""

    @property
    def now_ms(self) -> int:
        """The record's append time, epoch milliseconds."""

    def live(self, tenant: str) -> Live | None:
        """The tenant's active release and catalog, or None where nothing was published yet."""

    def reported_ms(self) -> int:
        """Up to when everything that was reported of what people were shown is known (epoch ms); `EVERYTHING_KNOWN`
        where nothing waits to be read."""

    def beside(self, name: str) -> bytes | None:
        """What was put beside the record's state under a name; None: nothing, or nothing that can be read any more."""


class Lane(Enum):
    """How the binder feeds a flow."""

    #: Whole batches, state and outputs by one producer in durable order; for topics keyed by subject.
    BATCH = "batch"
    #: An ordinary Faust agent, record by record.
    AGENT = "agent"


class Work(Enum):
    """What a worker's time is shared among; see `pipeline.topology.WORK`."""

    #: What others have begun and wait for: records sent on, erasures, policy and catalog.
    INTERNAL = "internal"
    EVENTS = "events"
    REQUESTS = "requests"
    #: Values that were computed in batch: what is left of the time.
    LOADS = "loads"


Handler = Callable[[Any, Any, Context], Outcome]


@dataclass(frozen=True, slots=True)
class Flow:
    """Who reads what, keeps what and writes what; `handle(event, state, context) -> Outcome`."""

    name: str
    reads: Topic
    writes: tuple[Topic, ...]
    handle: Handler
    lane: Lane
    #: The key that a record's event must carry: a record under another key would be decided beside its state.
    key: Callable[[Any], str]
    table: Table | None = None
    work: Work = Work.INTERNAL
    #: When nobody waits for the record any more (wall clock, epoch ms); None: always wanted.
    deadline_ms: Callable[[Any], int | None] | None = None
    #: Whether a record may name events of other topics that are to be applied before it (header `after`).
    comes_after: bool = False
    #: Whether its records report what people were shown: reservations wait until those that came in time are read.
    reports: bool = False
    #: Whether its topic may be paused where too many of its records are dead letters.
    may_pause: bool = True
    doc: str = ""

"""What a record must say besides being well-formed Avro. Each check returns the first problem as advice, or None.

Only what would do harm further in: an id that cannot tell repeats apart, a time no calendar has, a number no JSON has,
a text that makes what is kept of it, or a key, larger than a record may be.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from operator import attrgetter
from typing import Any, Final

from pipeline.core.identity.rotation import TAKEN_MAX
from pipeline.core.keys import MARK, is_account, is_model, tenant_of
from pipeline.core.model.bounds import (
    ATTRIBUTES_PER_REQUEST_MAX,
    CONSENTS_PER_EVENT_MAX,
    EVENT_NAME_CHARS_MAX,
    ID_CHARS_MAX,
    IDENTIFIERS_PER_EVENT_MAX,
    NAME_CHARS_MAX,
    PROPERTIES_PER_EVENT_MAX,
    TEXT_CHARS_MAX,
    TRAITS_PER_EVENT_MAX,
)
from pipeline.core.model.records import (
    ConsentGrant,
    DecisionRequest,
    ErasureRequest,
    FeedbackEvent,
    Identifier,
    IdentityEvent,
    IdentityKind,
    InboxRecord,
    LinkKind,
    ModelUpdate,
    Scalar,
)
from pipeline.core.models.learner import COLUMNS_MAX
from pipeline.core.sections.memberships import ROLE_CHARS_MAX, ROLES_MAX
from topics.catalog import DECISION_REPLIES

#: The first millisecond of the year 10000: later times have no date.
TIME_END_MS: Final = 253_402_300_800_000

MAX_VARIANTS: Final = 100
MAX_PLACEMENTS: Final = 50
#: Observations of one update: of a decision on every placement with every place filled, far more than there are.
OBSERVATIONS_MAX: Final = 256

#: What tells the parts of an answer's place in a profile.
_SIGNS: Final = frozenset("/#")

#: Every text of a record that is kept of a subject or sent on, and how long it may be.
_KEPT: Final[dict[type, dict[str, int]]] = {
    IdentityEvent: {"event_id": ID_CHARS_MAX, "subject": ID_CHARS_MAX, "alias_of": ID_CHARS_MAX,
                    "subject_type": NAME_CHARS_MAX, "source": NAME_CHARS_MAX},
    Identifier: {"type": NAME_CHARS_MAX, "hash": ID_CHARS_MAX},
    ConsentGrant: {"purpose": NAME_CHARS_MAX, "channel": NAME_CHARS_MAX, "source": NAME_CHARS_MAX,
                   "proof": ID_CHARS_MAX},
    FeedbackEvent: {"event_id": ID_CHARS_MAX, "subject": ID_CHARS_MAX, "name": EVENT_NAME_CHARS_MAX,
                    "item_id": ID_CHARS_MAX, "decision_id": ID_CHARS_MAX, "placement": ID_CHARS_MAX,
                    "channel": ID_CHARS_MAX, "source": NAME_CHARS_MAX},
    DecisionRequest: {"request_id": ID_CHARS_MAX, "subject": ID_CHARS_MAX, "channel": ID_CHARS_MAX,
                      "scenario": NAME_CHARS_MAX, "digest": ID_CHARS_MAX},
    # An inbox record's own id is made of others.
    InboxRecord: {"event_id": 2 * ID_CHARS_MAX, "profile_id": ID_CHARS_MAX, "from_subject": ID_CHARS_MAX},
    ErasureRequest: {"job_id": ID_CHARS_MAX, "subject": ID_CHARS_MAX, "by": ID_CHARS_MAX, "part_of": ID_CHARS_MAX},
}
_TEXTS: Final = {type_: attrgetter(*names) for type_, names in _KEPT.items()}


def _names(record: Any) -> str | None:
    limits = _KEPT[type(record)]
    for text, chars_max in zip(_TEXTS[type(record)](record), limits.values(), strict=True):
        if text is not None and len(text) > chars_max:
            name = next(name for name in limits if getattr(record, name) is text)
            return f"{name} has {len(text)} characters: send at most {chars_max}"
    return None


def _many(name: str, count: int, count_max: int) -> str | None:
    return f"{name} has {count} entries: send at most {count_max}" if count > count_max else None


def _subject(subject: str) -> str | None:
    tenant, slash, name = subject.partition("/")
    if not (tenant and slash and name):
        return f"subject is {subject[:NAME_CHARS_MAX]!r}: send tenant/hash, and the same as the record's key"
    return None


def _time(at_ms: int) -> str | None:
    if not 0 <= at_ms < TIME_END_MS:
        return f"at_ms is {at_ms}: send epoch milliseconds of a time before the year 10000"
    return None


def _partition(number: int | None) -> str | None:
    if number is not None and not 0 <= number < DECISION_REPLIES.partitions:
        return f"reply_partition is {number}: send 0 to {DECISION_REPLIES.partitions - 1}, or null"
    return None


def _scalars(name: str, scalars: dict[str, Scalar], count_max: int, chars_max: int | None = None) -> str | None:
    """`chars_max`: how long a text among them may be where they are kept."""
    if len(scalars) > count_max:
        return _many(name, len(scalars), count_max)
    for key, value in scalars.items():
        if type(value) is float and not isfinite(value):
            return f"{name}[{key[:NAME_CHARS_MAX]!r}] is {value}: send a finite number, or null for an unknown one"
        if chars_max is not None:
            if len(key) > NAME_CHARS_MAX:
                return f"{name} has a name of {len(key)} characters: send at most {NAME_CHARS_MAX}"
            if type(value) is str and len(value) > chars_max:
                return f"{name}[{key!r}] has {len(value)} characters: send at most {chars_max}"
    return None


def check_identity(event: IdentityEvent) -> str | None:
    if not event.event_id:
        return "event_id is empty: send an id of your own, so that a repeat is applied once"
    return (_alias(event) or _load(event) or _identifiers(event) or _consent(event) or _subject(event.subject)
            or _names(event) or _time(event.at_ms) or _membership(event) or _partition(event.reply_partition)
            or _earlier(event.subject, event.earlier)
            or _earlier(event.alias_of or "", event.alias_earlier, "alias_earlier")
            or _scalars("traits", event.traits, TRAITS_PER_EVENT_MAX, TEXT_CHARS_MAX))


def _alias(event: IdentityEvent) -> str | None:
    if event.kind is not IdentityKind.ALIAS:
        return None
    if not event.alias_of:
        return "alias_of is missing: an alias names the profile id that subject belongs to from now on"
    if _subject(event.alias_of) is not None:
        return f"alias_of is {event.alias_of[:NAME_CHARS_MAX]!r}: send tenant/hash"
    return None


def _load(event: IdentityEvent) -> str | None:
    if event.kind is not IdentityKind.LOAD:
        return None
    if not event.traits or not all(name.startswith("features.") for name in event.traits):
        return "traits is empty or has a name that is no feature's: a load names each value features.<name>"
    if event.consent or event.identifiers or event.membership or event.reply_partition is not None:
        return "a load says nothing but values of features: send consent, identifiers and membership to identity.events"
    return None


def _identifiers(event: IdentityEvent) -> str | None:
    if (problem := _many("identifiers", len(event.identifiers), IDENTIFIERS_PER_EVENT_MAX)) is not None:
        return problem
    for one in event.identifiers:
        if (problem := _names(one)) is not None:
            return "identifiers." + problem
        if one.earlier and (problem := _earlier(event.subject, one.earlier, "identifiers.earlier")) is not None:
            return problem
    return None


def _consent(event: IdentityEvent) -> str | None:
    if (problem := _many("consent", len(event.consent), CONSENTS_PER_EVENT_MAX)) is not None:
        return problem
    for grant in event.consent:
        if not grant.purpose:
            return "consent.purpose is empty: name what the data may be used for"
        if _SIGNS.intersection(grant.purpose) or _SIGNS.intersection(grant.channel or ""):
            return "consent.purpose or consent.channel has a / or #: name one purpose, and one channel or null"
        if (problem := _time(grant.at_ms) or _names(grant)) is not None:
            return "consent." + problem
    return None


def _membership(event: IdentityEvent) -> str | None:
    membership = event.membership
    if membership is None:
        return None
    tenant, _, name = membership.account.partition("/")
    if tenant != tenant_of(event.subject) or not is_account(membership.account) or len(name) > ID_CHARS_MAX:
        said = membership.account[:NAME_CHARS_MAX]
        return f"membership.account is {said!r}: send tenant/@hash of the subject's tenant"
    if len(membership.roles) > ROLES_MAX or any(not 0 < len(role) <= ROLE_CHARS_MAX for role in membership.roles):
        return f"membership.roles: send at most {ROLES_MAX}, of 1 to {ROLE_CHARS_MAX} characters"
    return _earlier(membership.account, membership.earlier, "membership.earlier")


def _earlier(key: str, names: list[str], what: str = "earlier") -> str | None:
    if not names:
        return None
    account = is_account(key)
    if len(names) > TAKEN_MAX or any(
            not 0 < len(name) <= ID_CHARS_MAX or "/" in name or name.startswith(MARK) != account for name in names):
        of = "the account's, each with its @" if account else "the subject's"
        return f"{what}: send at most {TAKEN_MAX} hashes, {of}, without the tenant"
    return None


def check_feedback(event: FeedbackEvent) -> str | None:
    if not event.event_id:
        return "event_id is empty: send an id of your own, so that a repeat is counted once"
    if event.value is not None and not isfinite(event.value):
        return f"value is {event.value}: send a finite number, or null for an unknown one"
    problem = (_subject(event.subject) or _names(event) or _time(event.at_ms)
               or _earlier(event.subject, event.earlier))
    return problem or _scalars("properties", event.properties, PROPERTIES_PER_EVENT_MAX)


def check_request(request: DecisionRequest) -> str | None:
    if not request.request_id:
        return "request_id is empty: send an id of your own, so that a retry gets the same decision"
    if request.features and request.placements:
        return "placements names slots in a request for features, which fills none: leave them out"
    if not request.features and not 1 <= len(request.placements) <= MAX_PLACEMENTS:
        return f"placements names {len(request.placements)} slots: name 1 to {MAX_PLACEMENTS}"
    if not 1 <= request.max_variants <= MAX_VARIANTS:
        return f"max_variants is {request.max_variants}: send 1 to {MAX_VARIANTS}"
    for name in request.placements:
        if len(name) > ID_CHARS_MAX:
            return f"placements names one of {len(name)} characters: send at most {ID_CHARS_MAX}"
    problem = (_partition(request.reply_partition) or _subject(request.subject)
               or _earlier(request.subject, request.earlier))
    return problem or _names(request) or _scalars(
        "attributes", request.attributes, ATTRIBUTES_PER_REQUEST_MAX)


def check_inbox(record: InboxRecord) -> str | None:
    undoes = record.link is not None and record.link.kind in (LinkKind.SPLIT, LinkKind.REVIVE, LinkKind.HAND_OVER)
    merge = None if undoes else record.merge
    payloads = (record.identity, record.feedback, record.request, merge, record.due_ms,
                record.settled, record.link, record.erasure)
    if sum(payload is not None for payload in payloads) != 1 or (undoes and record.merge is None):
        return ("one of identity, feedback, request, merge, due_ms, settled, link and erasure must be set; "
                "to undo or hand over, merge too")
    if record.link is not None and (problem := _time(record.link.at_ms)) is not None:
        return "link." + problem
    for payload in (record.identity, record.feedback, record.request, record.erasure):
        if payload is not None and (problem := CHECKS[type(payload)](payload)) is not None:
            return problem
    return _names(record)


def check_erasure(request: ErasureRequest) -> str | None:
    if not request.job_id:
        return "job_id is empty: send an id of your own, so that a repeat is the same job"
    return _subject(request.subject) or _names(request) or _time(request.at_ms)


def check_update(update: ModelUpdate) -> str | None:
    tenant, _, name = update.model_key.partition("/")
    if not tenant or not is_model(update.model_key) or len(name) > ID_CHARS_MAX:
        return f"model_key is {update.model_key[:NAME_CHARS_MAX]!r}: send tenant/%model"
    if not update.source or update.offset < 0:
        return "source or offset is missing: name the record that it follows from, so that a repeat is counted once"
    if not 0 < len(update.observations) <= OBSERVATIONS_MAX:
        return f"observations has {len(update.observations)} entries: send 1 to {OBSERVATIONS_MAX}"
    for one in update.observations:
        if not 0 < len(one.item_id) <= ID_CHARS_MAX or len(one.vector) > COLUMNS_MAX:
            return f"observations: send item ids of 1 to {ID_CHARS_MAX} characters, vectors of at most {COLUMNS_MAX}"
        if not all(map(isfinite, (one.reward, one.before, *one.vector))):
            return "observations: send finite numbers"
    return None


CHECKS: Final[dict[type, Callable[[Any], str | None]]] = {
    IdentityEvent: check_identity,
    FeedbackEvent: check_feedback,
    DecisionRequest: check_request,
    InboxRecord: check_inbox,
    ErasureRequest: check_erasure,
    ModelUpdate: check_update,
}

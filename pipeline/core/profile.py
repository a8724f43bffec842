"""What is kept about one subject: one value, written whole. Types and the small laws of its parts; reads no policy.

Every field has a default, so that a profile written by an older worker decodes with newer code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pipeline.core.bounds import REPLIES_BYTES_MAX, REPLIES_INLINE_BYTES_MAX, REPLY_BYTES_MAX
from pipeline.core.seen import NOTHING, Seen
from pipeline.core.values import Value, packed, replaced, unpacked, value_field
from pipeline.core.words import ConsentGrant, DecisionReply, Scalar

#: How many recent requests are remembered for their retries, and for how long.
REQUESTS_MAX: Final = 32
REQUESTS_MS: Final = 600_000

#: Places for replies beside a state, written in turn. More than are remembered: so many decisions of one subject may be
#: lost in a crash before a reply that is still remembered was written over.
REPLY_SLOTS: Final = 48

#: How many timestamps one behaviour signal or cap counter keeps at most.
TIMESTAMPS_MAX: Final = 1_000

STAGES_MAX: Final = 16

#: How many profiles an identifier knows that have evidence about it without holding it.
MENTIONS_MAX: Final = 32


class Trait(Value, frozen=True, omit_defaults=True):
    """A value and the event time that set it: the newest wins."""

    value: Scalar
    at_ms: int = 0


class Counter(Value, frozen=True, omit_defaults=True):
    """What one cap has counted for one thing: the newest timestamps, never more than its limit needs."""

    #: Ascending, epoch ms.
    times: tuple[int, ...] = ()
    #: Counted over the whole life; windows read `times`.
    total: int = 0
    #: Places taken by decisions whose event has not come yet, by `caps.holder` → given back at (epoch ms); some that
    #: were given back are kept for late events.
    held: dict[str, int] = value_field(default_factory=dict)


class Session(Value, frozen=True, omit_defaults=True):
    """A session on one channel: its first and its last moment so far, epoch ms."""

    start_ms: int
    last_ms: int


class Remembered(Value, frozen=True, omit_defaults=True):
    """A request already decided, for its retries; few ever come. Its reply is here (`reply`: packed) while there are
    few, and where the state has left its key since; else it lies beside the state (`slot`). Neither: it was too large
    to keep."""

    digest: str
    at_ms: int
    slot: int = -1
    reply: bytes = b""


class Stage(Value, frozen=True, omit_defaults=True):
    """One step of the lifecycle's history."""

    name: str
    entered_at_ms: int


class Member(Value, frozen=True, omit_defaults=True):
    """What is known of belonging to one account: the newest event about it wins."""

    roles: tuple[str, ...] = ()
    at_ms: int = 0
    left: bool = False
    #: When it was last declared the primary one; 0: never.
    primary_ms: int = 0
    #: What stands after the tenant in the account's keys under earlier tenant keys, the newest first.
    earlier: tuple[str, ...] = ()


class Link(Value, frozen=True, omit_defaults=True):
    """What tied an identifier to a profile, or kept it off: the evidence. `outcome`: see `pipeline.core.links`."""

    type: str
    outcome: str
    event_id: str
    #: Event time; and when the profile took it up, by which windows of limits count.
    at_ms: int
    since_ms: int
    source: str = ""
    #: What kept it off, or took it away.
    cause: str = ""


class Merge(Value, frozen=True, omit_defaults=True):
    """A state that was merged into this one: by which event, when, and what it put out of force."""

    event_id: str
    at_ms: int
    displaced: dict[str, Trait] = value_field(default_factory=dict)
    accounts: dict[str, Member] = value_field(default_factory=dict)
    consent: dict[str, ConsentGrant] = value_field(default_factory=dict)


class Given(Value, frozen=True, omit_defaults=True):
    """What an identifier gave up, kept at its own key to undo it: to whom, by which event, when."""

    to: str
    event_id: str
    at_ms: int
    state: Profile


class Rotation(Value, frozen=True, omit_defaults=True):
    """What became of a key as the key of the hashes was changed (`pipeline.core.rotation`). Names are hashes."""

    #: The key that has taken this one over: all that comes here goes there. "": none.
    successor: str = ""
    #: Earlier hashes that were asked for their state, which is under way; and those that lead here since.
    taking: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    #: The key under which this was kept first: what chance deals by a subject's name stays dealt. "": the present one.
    first: str = ""
    #: When it took something over last.
    at_ms: int = 0


class Profile(Value, frozen=True, gc=True, omit_defaults=True):
    """Everything about one subject. Replaced whole, never changed in place; its dicts are shared between versions."""

    profile_id: str = ""
    alias_of: str | None = None
    traits: dict[str, Trait] = value_field(default_factory=dict)
    #: By `purpose`, or `purpose/channel` where the answer was for one channel.
    consent: dict[str, ConsentGrant] = value_field(default_factory=dict)
    #: Account key → membership, left ones included.
    accounts: dict[str, Member] = value_field(default_factory=dict)
    #: Segment → entered at (epoch ms).
    segments: dict[str, int] = value_field(default_factory=dict)
    #: The release the segments were last computed under, and when time alone may change them next.
    segments_release: str = ""
    segments_due_ms: int | None = None
    #: The version of the account they were computed with; 0: of none.
    segments_account: int = 0
    #: Oldest first; the last one is the present stage.
    stages: tuple[Stage, ...] = ()
    #: Behaviour signal → its newest timestamps, ascending.
    behaviour: dict[str, tuple[int, ...]] = value_field(default_factory=dict)
    #: When the first event of behaviour was taken up (epoch ms); 0: none was. What a signal began to count later than
    #: that, it may have missed.
    heard_ms: int = 0
    #: By channel: the last session (`pipeline.core.sessions`).
    sessions: dict[str, Session] = value_field(default_factory=dict)
    counters: dict[str, Counter] = value_field(default_factory=dict)
    #: Outcome-triggered suppressions: suppression key → until (epoch ms).
    suppressions: dict[str, int] = value_field(default_factory=dict)
    #: Experiment → variation, once assigned: survives merges and traffic changes.
    assignments: dict[str, str] = value_field(default_factory=dict)
    requests: dict[str, Remembered] = value_field(default_factory=dict)
    #: How many replies were put beside the state so far.
    replies: int = 0
    #: The events it was told of, by which a repeat is known.
    event_ids: Seen = NOTHING
    #: By key: profiles whose evidence names this identifier without holding it; an erasure reaches them.
    mentions: dict[str, int] = value_field(default_factory=dict)
    #: By profile id: whose state was merged into this one.
    merged: dict[str, Merge] = value_field(default_factory=dict)
    #: The event that made this an alias, and its place in the order of aliases (see `pipeline.agents.inbox`).
    alias_event: str = ""
    alias_at: int = 0
    #: Where an alias sent recent requests, by request id: a retry goes the same way, also after the alias was changed.
    forwarded: dict[str, str] = value_field(default_factory=dict)
    #: The highest place seen by this profile: the logical clock of that order.
    alias_clock: int = 0
    #: An account's own profile (its key is `tenant/@hash`): how often it was changed, and how often it leased.
    version: int = 0
    leases: int = 0
    #: By hash: the identifiers of this profile, and those that were kept off. At an alias: its own.
    links: dict[str, Link] = value_field(default_factory=dict)
    given: Given | None = None
    #: When everything about the subject was erased last: what happened up to then is never learnt again.
    erased_at_ms: int | None = None
    #: Erased, and no new consent given since: nothing at all is learnt.
    suppressed: bool = False
    #: Of the key, not of the person: it stays where it is in a merge. None: the key of the hashes never changed.
    rotation: Rotation | None = None


def changed(profile: Profile, **changes: Any) -> Profile:
    """The profile with some fields replaced."""
    return replaced(profile, **changes)


def lasting_name(profile: Profile) -> str:
    """The key under which it was kept first: the same under every key of the hashes."""
    rotation = profile.rotation
    return profile.profile_id if rotation is None else rotation.first or profile.profile_id


def remember_event(profile: Profile, event_id: str, at_ms: int) -> Seen:
    """The remembered events with one more; `at_ms`: when it happened, or was taken up where nothing says when."""
    return profile.event_ids.after(event_id, at_ms)


def remember_request(
    profile: Profile, reply: DecisionReply, digest: str, now_ms: int
) -> tuple[Profile, dict[str, bytes]]:
    """The profile with one more recent request, and what is to be put beside it: the reply, by the name of its slot;
    nothing while the replies in the profile are few.

    What is too old or too many is forgotten, oldest first. Of a reply that is too large only the request is known: a
    retry is told so, and nothing is decided twice.
    """
    kept = {key: one for key, one in profile.requests.items() if now_ms - one.at_ms < REQUESTS_MS}
    while len(kept) >= REQUESTS_MAX:
        del kept[next(iter(kept))]
    data, slot = packed(reply), profile.replies % REPLY_SLOTS
    if len(data) > REPLY_BYTES_MAX:
        kept[reply.request_id] = Remembered(digest, now_ms)
        return changed(profile, requests=kept), {}
    if len(data) + sum(len(one.reply) for one in kept.values()) <= REPLIES_INLINE_BYTES_MAX:
        kept[reply.request_id] = Remembered(digest, now_ms, reply=data)
        return changed(profile, requests=kept), {}
    kept[reply.request_id] = Remembered(digest, now_ms, slot)
    return changed(profile, requests=kept, replies=profile.replies + 1), {reply_name(slot): data}


def reply_name(slot: int) -> str:
    """Under which name a reply lies beside its state."""
    return f"reply/{slot}"


#: What takes every reply away that lies beside a state.
NO_REPLIES: Final = {reply_name(slot): b"" for slot in range(REPLY_SLOTS)}


def remembered_reply(one: Remembered, request_id: str, beside: Callable[[str], bytes | None]) -> DecisionReply | None:
    """The reply to a retry; None: it was not kept. `beside`: reads what lies beside the state.

    A slot may have been written for a later request whose state was then lost in a crash.
    """
    data = one.reply or (None if one.slot < 0 else beside(reply_name(one.slot)))
    reply = None if not data else unpacked(DecisionReply, data)
    return reply if reply is not None and reply.request_id == request_id else None


def carrying_replies(profile: Profile, beside: Callable[[str], bytes | None]) -> Profile:
    """The profile as it leaves its key: with its recent replies in it, the newest up to so many bytes."""
    room, kept = REPLIES_BYTES_MAX, {}
    for request_id, one in reversed(profile.requests.items()):
        reply = one.reply or (beside(reply_name(one.slot)) if one.slot >= 0 else None) or b""
        room -= len(reply)
        kept[request_id] = Remembered(one.digest, one.at_ms, reply=reply if room >= 0 else b"")
    return changed(profile, requests=dict(reversed(kept.items()))) if kept else profile


def remember_forwarded(profile: Profile, request_id: str, winner: str) -> dict[str, str]:
    """Where recent requests were sent on to, with one more; the oldest are forgotten past the limit."""
    kept = dict(profile.forwarded)
    while len(kept) >= REQUESTS_MAX:
        del kept[next(iter(kept))]
    kept[request_id] = winner
    return kept


def newest(*timestamps: tuple[int, ...], keep: int = TIMESTAMPS_MAX) -> tuple[int, ...]:
    """All timestamps in order, only the newest `keep`."""
    merged = sorted(moment for part in timestamps for moment in part)
    return tuple(merged[-keep:]) if keep > 0 else ()


def appended(timestamps: tuple[int, ...], at_ms: int, keep: int) -> tuple[int, ...]:
    """One more moment in its place, only the newest `keep`."""
    if not timestamps or at_ms >= timestamps[-1]:
        return (*timestamps, at_ms)[-keep:] if keep > 0 else ()
    return newest(timestamps, (at_ms,), keep=keep)

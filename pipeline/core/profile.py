"""What is kept about one subject: one value, written whole, made of sections (`pipeline.core.sections`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.core.bounds import REPLIES_BYTES_MAX
from pipeline.core.sections import retries
from pipeline.core.sections.behaviour import HEARD, SESSIONS, SIGNALS, Session
from pipeline.core.sections.consent import CONSENT
from pipeline.core.sections.counters import COUNTERS, SUPPRESSIONS, Counter
from pipeline.core.sections.experiments import ASSIGNMENTS
from pipeline.core.sections.lifecycle import (
    SEGMENTS,
    SEGMENTS_ACCOUNT,
    SEGMENTS_DUE,
    SEGMENTS_RELEASE,
    STAGES,
    Stage,
)
from pipeline.core.sections.links import LINKS, MENTIONS, Link
from pipeline.core.sections.memberships import MEMBERSHIPS, Member
from pipeline.core.sections.merges import MERGED, Merge
from pipeline.core.sections.retries import EVENTS, REPLIES, REPLY_SLOTS, REQUESTS, REQUESTS_MAX, Remembered, reply_name
from pipeline.core.sections.section import Section, State, changed, section, whole
from pipeline.core.sections.traits import TRAITS, Trait
from pipeline.core.seen import Seen
from pipeline.core.values import Value
from pipeline.core.words import ConsentGrant, DecisionReply


class Given(Value, frozen=True):
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


_ALIAS_CLOCK: Final[Section[int]] = Section(0, lambda own, given, _: max(own, given))
_ROTATION: Final[Section[Rotation | None]] = Section(
    None, read=lambda own, _: None if own is None else Rotation(first=own.first))


class Profile(State, tag=1):
    """Everything about one subject."""

    profile_id: str = section(default=Section("", read=whole))
    alias_of: str | None = section(default=Section(None))
    traits: dict[str, Trait] = section(default=TRAITS)
    #: By `purpose`, or `purpose/channel` where the answer was for one channel.
    consent: dict[str, ConsentGrant] = section(default=CONSENT)
    #: Account key → membership, left ones included.
    accounts: dict[str, Member] = section(default=MEMBERSHIPS)
    #: Segment → entered at (epoch ms).
    segments: dict[str, int] = section(default=SEGMENTS)
    #: The release the segments were last computed under, and when time alone may change them next.
    segments_release: str = section(default=SEGMENTS_RELEASE)
    segments_due_ms: int | None = section(default=SEGMENTS_DUE)
    #: The version of the account they were computed with; 0: of none.
    segments_account: int = section(default=SEGMENTS_ACCOUNT)
    #: Oldest first; the last one is the present stage.
    stages: tuple[Stage, ...] = section(default=STAGES)
    #: Behaviour signal → its newest timestamps, ascending.
    behaviour: dict[str, tuple[int, ...]] = section(default=SIGNALS)
    #: When the first event of behaviour was taken up (epoch ms); 0: none was. What a signal began to count later than
    #: that, it may have missed.
    heard_ms: int = section(default=HEARD)
    #: By channel: the last session (`pipeline.core.sessions`).
    sessions: dict[str, Session] = section(default=SESSIONS)
    counters: dict[str, Counter] = section(default=COUNTERS)
    #: Outcome-triggered suppressions: suppression key → until (epoch ms).
    suppressions: dict[str, int] = section(default=SUPPRESSIONS)
    #: Experiment → variation, once assigned.
    assignments: dict[str, str] = section(default=ASSIGNMENTS)
    requests: dict[str, Remembered] = section(default=REQUESTS)
    #: How many replies were put beside the state so far.
    replies: int = section(default=REPLIES)
    #: The events it was told of, by which a repeat is known.
    event_ids: Seen = section(default=EVENTS)
    #: By key: profiles whose evidence names this identifier without holding it; an erasure reaches them.
    mentions: dict[str, int] = section(default=MENTIONS)
    #: By profile id: whose state was merged into this one.
    merged: dict[str, Merge] = section(default=MERGED)
    #: The event that made this an alias, and its place in the order of aliases (see `pipeline.agents.inbox`).
    alias_event: str = section(default=Section(""))
    alias_at: int = section(default=Section(0))
    #: Where an alias sent recent requests, by request id: a retry goes the same way, also after the alias was changed.
    forwarded: dict[str, str] = section(default=Section({}))
    #: The highest place seen by this profile: the logical clock of that order.
    alias_clock: int = section(default=_ALIAS_CLOCK)
    #: An account's own profile (its key is `tenant/@hash`): how often it was changed, and how often it leased.
    version: int = section(default=Section(0))
    leases: int = section(default=Section(0))
    #: By hash: the identifiers of this profile, and those that were kept off. At an alias: its own.
    links: dict[str, Link] = section(default=LINKS)
    given: Given | None = section(default=Section(None))
    #: When everything about the subject was erased last: what happened up to then is never learnt again.
    erased_at_ms: int | None = section(default=Section(None))
    #: Erased, and no new consent given since: nothing at all is learnt.
    suppressed: bool = section(default=Section(False))
    #: Of the key, not of the person: it stays where it is in a merge. None: the key of the hashes never changed.
    rotation: Rotation | None = section(default=_ROTATION)


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
    """The profile with one more recent request, and what is to be put beside it; see `retries.after`."""
    kept, beside = retries.after(profile.requests, reply, digest, now_ms, profile.replies % REPLY_SLOTS)
    return changed(profile, requests=kept, replies=profile.replies + len(beside)), beside


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

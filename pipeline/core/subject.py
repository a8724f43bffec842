"""What lies at a key: a person, an alias, an account, a model, or that somebody was erased; each made of sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.core.keys import is_account
from pipeline.core.model.bounds import REPLIES_BYTES_MAX
from pipeline.core.model.values import Value
from pipeline.core.model.words import ConsentGrant, DecisionReply
from pipeline.core.sections import retries
from pipeline.core.sections.behaviour import HEARD, SIGNALS
from pipeline.core.sections.consent import CONSENT
from pipeline.core.sections.counters import COUNTERS, SUPPRESSIONS, Counter
from pipeline.core.sections.experiments import ASSIGNMENTS
from pipeline.core.sections.exposures import AWAITING, EXPOSURES, Awaiting, Exposure
from pipeline.core.sections.features import FEATURES
from pipeline.core.sections.journeys import JOURNEYS, Position
from pipeline.core.sections.lifecycle import SEGMENTS, SEGMENTS_ACCOUNT, SEGMENTS_RELEASE, STAGES, Stage
from pipeline.core.sections.links import LINKS, MENTIONS, Link
from pipeline.core.sections.memberships import MEMBERSHIPS, Member
from pipeline.core.sections.merges import MERGED, Merge
from pipeline.core.sections.retries import EVENTS, REPLIES, REPLY_SLOTS, REQUESTS, REQUESTS_MAX, Remembered, reply_name
from pipeline.core.sections.section import Section, State, changed, section, whole
from pipeline.core.sections.seen import Seen
from pipeline.core.sections.sessions import SESSIONS, Session
from pipeline.core.sections.traits import TRAITS, Trait


class Given(Value, frozen=True):
    """What an identifier gave up, kept at its own key to undo it: to whom, by which event, when."""

    to: str
    event_id: str
    at_ms: int
    state: Person


class Rotation(Value, frozen=True, omit_defaults=True):
    """What became of a key as the key of the hashes was changed (`core/identity/rotation.py`). Names are hashes."""

    #: The key that has taken this one over: all that comes here goes there. "": none.
    successor: str = ""
    #: Earlier hashes that were asked for their state, which is under way; and those that lead here since.
    taking: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    #: The key under which this was kept first: what was drawn by the name of a subject stays so. "": the present one.
    first: str = ""
    #: When it took something over last.
    at_ms: int = 0


_ALIAS_CLOCK: Final[Section[int]] = Section(0, lambda own, given, _: max(own, given))
_ROTATION: Final[Section[Rotation | None]] = Section(
    None, read=lambda own, _: None if own is None else Rotation(first=own.first))
_NAME: Final[Section[str]] = Section("", read=whole)

#: Timers of a person: when time alone may change memberships next; when a merge can be undone no longer.
SEGMENTS_TIMER: Final = "segments"
#: When a time-out of a journey, or the end of a pause before its next entry, is due.
JOURNEYS_TIMER: Final = "journeys"
UNDO_TIMER: Final = "undo"
#: When the window of an outcome closes next, or an outcome has waited long enough for its decision.
OUTCOMES_TIMER: Final = "outcomes"
#: Of somebody erased: what still waited to be sent is to go from the table too.
SETTLE_TIMER: Final = "settle"
#: Of a model: when its next snapshot is cut.
CUT_TIMER: Final = "cut"
_TIMERS: Final[Section[dict[str, int]]] = Section({}, read=whole)


class Person(State, tag=1):
    """Everything about one person."""

    profile_id: str = section(default=_NAME)
    traits: dict[str, Trait] = section(default=TRAITS)
    #: By `purpose`, or `purpose/channel` where the answer was for one channel.
    consent: dict[str, ConsentGrant] = section(default=CONSENT)
    #: Account key → membership, left ones included.
    accounts: dict[str, Member] = section(default=MEMBERSHIPS)
    #: Segment → entered at (epoch ms).
    segments: dict[str, int] = section(default=SEGMENTS)
    #: The release the segments were last computed under.
    segments_release: str = section(default=SEGMENTS_RELEASE)
    #: The version of the account they were computed with; 0: of none.
    segments_account: int = section(default=SEGMENTS_ACCOUNT)
    #: Oldest first; the last one is the present stage.
    stages: tuple[Stage, ...] = section(default=STAGES)
    #: Journey → where in it, or how it ended.
    journeys: dict[str, Position] = section(default=JOURNEYS)
    #: Behaviour signal → its newest timestamps, ascending.
    behaviour: dict[str, tuple[int, ...]] = section(default=SIGNALS)
    #: When the first event of behaviour was taken up (epoch ms); 0: none was. What a signal began to count later than
    #: that, it may have missed.
    heard_ms: int = section(default=HEARD)
    #: By the key of a feature's definition: what it has counted (`pipeline.core.features.kept`).
    features: dict[str, bytes] = section(default=FEATURES)
    #: By channel: the last session (`pipeline.core.sections.sessions`).
    sessions: dict[str, Session] = section(default=SESSIONS)
    counters: dict[str, Counter] = section(default=COUNTERS)
    #: Outcome-triggered suppressions: suppression key → until (epoch ms).
    suppressions: dict[str, int] = section(default=SUPPRESSIONS)
    #: Experiment → variation, once assigned.
    assignments: dict[str, str] = section(default=ASSIGNMENTS)
    #: By decision id: what was shown, and what it brought so far; by event id: outcomes from before their decision.
    exposures: dict[str, Exposure] = section(default=EXPOSURES)
    awaiting: dict[str, Awaiting] = section(default=AWAITING)
    requests: dict[str, Remembered] = section(default=REQUESTS)
    #: How many replies were put beside the state so far.
    replies: int = section(default=REPLIES)
    #: The events that were taken up, by which a repeat is known.
    event_ids: Seen = section(default=EVENTS)
    #: By key: profiles whose evidence names this identifier without holding it; an erasure reaches them.
    mentions: dict[str, int] = section(default=MENTIONS)
    #: By hash: the identifiers of this profile, and those that were kept off.
    links: dict[str, Link] = section(default=LINKS)
    #: By profile id: whose state was merged into this one.
    merged: dict[str, Merge] = section(default=MERGED)
    #: Of a state that is given up: by which event, and its place in the order of aliases (`pipeline.agents._router`).
    alias_event: str = section(default=Section(""))
    alias_at: int = section(default=Section(0))
    #: The highest place seen by this profile: the logical clock of that order.
    alias_clock: int = section(default=_ALIAS_CLOCK)
    #: Where records went while this was an alias, by event or request id: a repeat goes the same way.
    forwarded: dict[str, str] = section(default=Section({}))
    #: What this identifier gave up once and may ask back.
    given: Given | None = section(default=Section(None))
    #: When everything about the subject was erased last: what happened up to then is never learnt again.
    erased_at_ms: int | None = section(default=Section(None))
    #: Of the key, not of the person: it stays where it is in a merge. None: the key of the hashes never changed.
    rotation: Rotation | None = section(default=_ROTATION)
    #: By name: when time alone changes the state (epoch ms).
    timers: dict[str, int] = section(default=_TIMERS)


class Redirect(State, tag=2):
    """An alias: what comes for its identifier goes on to the profile that it belongs to."""

    profile_id: str = section(default=_NAME)
    #: The profile that it belongs to.
    to: str = section(default=Section(""))
    #: The event that made it an alias, and its place in the order of aliases; the highest place seen here.
    alias_event: str = section(default=Section(""))
    alias_at: int = section(default=Section(0))
    alias_clock: int = section(default=_ALIAS_CLOCK)
    #: Where it sent recent requests, by request id: a retry goes the same way, also after the alias was changed.
    forwarded: dict[str, str] = section(default=Section({}))
    #: What it gave up, as long as that can be undone.
    given: Given | None = section(default=Section(None))
    #: The evidence of this identifier alone.
    links: dict[str, Link] = section(default=LINKS)
    event_ids: Seen = section(default=EVENTS)
    mentions: dict[str, int] = section(default=MENTIONS)
    rotation: Rotation | None = section(default=_ROTATION)
    timers: dict[str, int] = section(default=_TIMERS)


class Account(State, tag=3):
    """An account (its key is `tenant/@hash`): its firmographics, and the counters of the caps over all its members."""

    profile_id: str = section(default=_NAME)
    traits: dict[str, Trait] = section(default=TRAITS)
    consent: dict[str, ConsentGrant] = section(default=CONSENT)
    counters: dict[str, Counter] = section(default=COUNTERS)
    event_ids: Seen = section(default=EVENTS)
    #: How often it was changed, and how often it leased.
    version: int = section(default=Section(0, lambda own, given, _: max(own, given)))
    leases: int = section(default=Section(0, lambda own, given, _: max(own, given)))
    rotation: Rotation | None = section(default=_ROTATION)
    timers: dict[str, int] = section(default=_TIMERS)


class Erased(State, tag=4):
    """That the identifier's subject was erased, and when; by which other hashes the key is known. All that stays."""

    profile_id: str = section(default=_NAME)
    at_ms: int = section(default=Section(0))
    rotation: Rotation | None = section(default=_ROTATION)
    timers: dict[str, int] = section(default=_TIMERS)


class Source(Value, frozen=True):
    """The records of one source whose updates were counted: the highest offset, and which of those before it.

    `counted`: big-endian bits; bit 0 is the highest offset, bit n the one n before it.
    """

    highest: int
    counted: bytes


class ModelState(State, tag=5):
    """The statistics of a model that learns (its key is `tenant/%name`): of no subject, so no erasure reaches them."""

    profile_id: str = section(default=_NAME)
    #: What they are made of (`Learner.form`).
    form: str = section(default=Section(""))
    #: Item → 64-bit floats, and those shared by all items (`core/models/statistics.py`).
    items: dict[str, bytes] = section(default=Section({}))
    shared: bytes = section(default=Section(b""))
    #: Topic and partition → what was counted of it.
    sources: dict[str, Source] = section(default=Section({}))
    #: Snapshots cut so far; when the last one was (epoch ms); observations counted in all, and since.
    number: int = section(default=Section(0))
    cut_ms: int = section(default=Section(0))
    learnt: int = section(default=Section(0))
    since_cut: int = section(default=Section(0))
    rotation: Rotation | None = section(default=_ROTATION)
    timers: dict[str, int] = section(default=_TIMERS)


Subject = Person | Redirect | Account | Erased | ModelState


def blank(key: str) -> Person | Account:
    """Somebody of whom nothing is known, or such an account."""
    return Account(profile_id=key) if is_account(key) else Person(profile_id=key)


def leads_to(state: Subject | None) -> str | None:
    """Where the identifier leads: the profile that an alias belongs to, or the key that took this one over; None where
    it leads nowhere else."""
    if isinstance(state, Redirect):
        return state.to
    return None if state is None or state.rotation is None else state.rotation.successor or None


def given_up(state: Subject) -> Given | None:
    """What the identifier gave up and may ask back."""
    return state.given if isinstance(state, Person | Redirect) else None


def timed(timers: dict[str, int], name: str, at_ms: int | None) -> dict[str, int]:
    """The timers with one of them set anew; None: without it."""
    if at_ms is not None:
        return timers if timers.get(name) == at_ms else {**timers, name: at_ms}
    return {other: at for other, at in timers.items() if other != name} if name in timers else timers


def lasting_name(profile: Person | Redirect) -> str:
    """The key under which it was kept first: the same under every key of the hashes."""
    rotation = profile.rotation
    return profile.profile_id if rotation is None else rotation.first or profile.profile_id


def remember_event(profile: Person | Redirect | Account, event_id: str, at_ms: int) -> Seen:
    """The remembered events with one more; `at_ms`: when it happened, or was taken up where nothing says when."""
    return profile.event_ids.after(event_id, at_ms)


def remember_request(
    profile: Person, reply: DecisionReply, digest: str, now_ms: int
) -> tuple[Person, dict[str, bytes]]:
    """The profile with one more recent request, and what is to be put beside it; see `retries.after`."""
    kept, beside = retries.after(profile.requests, reply, digest, now_ms, profile.replies % REPLY_SLOTS)
    return changed(profile, requests=kept, replies=profile.replies + len(beside)), beside


def carrying_replies(profile: Person, beside: Callable[[str], bytes | None]) -> Person:
    """The profile as it leaves its key: with its recent replies in it, the newest up to so many bytes."""
    room, kept = REPLIES_BYTES_MAX, {}
    for request_id, one in reversed(profile.requests.items()):
        reply = one.reply or (beside(reply_name(one.slot)) if one.slot >= 0 else None) or b""
        room -= len(reply)
        kept[request_id] = Remembered(one.digest, one.at_ms, reply=reply if room >= 0 else b"")
    return changed(profile, requests=dict(reversed(kept.items()))) if kept else profile


def remember_forwarded(profile: Person | Redirect, request_id: str, winner: str) -> dict[str, str]:
    """Where recent requests were sent on to, with one more; the oldest are forgotten past the limit."""
    kept = dict(profile.forwarded)
    while len(kept) >= REQUESTS_MAX:
        del kept[next(iter(kept))]
    kept[request_id] = winner
    return kept

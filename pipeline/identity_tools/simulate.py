"""What events would join, leave out and refuse, before they do: the edge's mapping and the pipeline's own handlers,
over dictionaries. Sends nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

import msgspec

from pipeline.agents import feedback, identity, inbox
from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.decide.live import Live
from pipeline.core.identity.identifiers import TenantKeys, identifier, keys_of
from pipeline.core.keys import beside, hash_of, tenant_of
from pipeline.core.model.records import FeedbackEvent, IdentityEvent, InboxRecord
from pipeline.core.sections.links import Link
from pipeline.core.subject import Person, Redirect, Subject
from pipeline.flow import EVERYTHING_KNOWN, Accept, DeadLetter, Forward
from pipeline.ingest import json_text
from pipeline.ingest.event_bodies import SegmentEvent
from pipeline.ingest.event_mapping import EventMapper
from pipeline.ingest.group_mapping import account_of
from pipeline.ingest.refusal import RefusedError
from topics.catalog import FEEDBACK_EVENTS, IDENTITY_EVENTS, PROFILE_INBOX

#: Steps that one event may take through the inbox.
STEPS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one identifier at one profile."""

    type: str
    hash: str
    profile: str
    outcome: str
    cause: str = ""


@dataclass(slots=True)
class Line:
    """What became of one event. `errors`: why the edge refuses it; `warnings`: what it leaves out, and why."""

    line: int
    type: str = ""
    message_id: str = ""
    links: list[Outcome] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Simulation:
    """One tenant's identities. `profiles`: those to begin with, by key, as the cluster has them."""

    def __init__(
        self, live: Live, tenant: str, tenant_keys: TenantKeys, now_ms: int,
        profiles: Mapping[str, Subject] | None = None,
    ) -> None:
        rules = live.policy.identity
        self._live = live
        self._mapper = EventMapper(tenant, partial(identifier, tenant_keys, tenant, rules=rules),
                                   partial(account_of, tenant_keys, tenant), live.policy)
        self.now_ms = now_ms
        self.states = dict(profiles or {})

    def live(self, tenant: str) -> Live | None:
        """The policy that is tried."""
        return self._live

    def reported_ms(self) -> int:
        """All of it: no decision is made here."""
        return EVERYTHING_KNOWN

    def beside(self, name: str) -> bytes | None:
        """Nothing: no decision is made here."""
        return None

    def mapped(self, number: int, text: bytes) -> tuple[Line, list[IdentityEvent | FeedbackEvent]]:
        """One line as the edge takes it; no events where it is refused."""
        line = Line(number)
        try:
            event = json_text.parse(SegmentEvent, text)
            line.type, line.message_id = event.type, event.message_id or f"line-{number}"
            found = self._mapper.map(event, self.now_ms, line.message_id)
            for one in found.events:
                avro.encode_checked(FEEDBACK_EVENTS if isinstance(one, FeedbackEvent) else IDENTITY_EVENTS, one)
        except RefusedError as problem:
            line.errors = [f"{one.pointer}: {one.message}" for one in problem.errors] or [problem.detail]
            return line, []
        except CodecError as error:
            line.errors = [error.detail]
            return line, []
        line.warnings = found.warnings
        return line, list(found.events)

    def take(self, line: Line, events: Iterable[IdentityEvent | FeedbackEvent]) -> Line:
        """Apply the events of a line, with everything that comes of them; notes every link that changed."""
        before: dict[str, dict[str, Link]] = {}
        waiting: deque[IdentityEvent | FeedbackEvent | InboxRecord] = deque(events)
        for _ in range(STEPS_MAX):
            if not waiting:
                break
            record = waiting.popleft()
            key = record.profile_id if isinstance(record, InboxRecord) else record.subject
            state = self.states.get(key)
            before.setdefault(key, state.links if isinstance(state, Person | Redirect) else {})
            if isinstance(record, InboxRecord):
                outcome = inbox.handle(record, state, self)
            elif isinstance(record, IdentityEvent):
                outcome = identity.handle(record, state, self)
            else:
                outcome = feedback.handle(record, state, self)
            if isinstance(outcome, DeadLetter):
                line.errors.append(outcome.detail)
                continue
            if isinstance(outcome, Accept) and outcome.state is not None:
                self.states[key] = outcome.state
            emits = (outcome.emit,) if isinstance(outcome, Forward) else outcome.emits
            waiting += [emit.value for emit in emits if emit.topic is PROFILE_INBOX]  # type: ignore[misc]
        line.links = self._changed(before)
        return line

    def _changed(self, before: Mapping[str, Mapping[str, Link]]) -> list[Outcome]:
        return [
            Outcome(link.type, hash_, key, link.outcome, link.cause)
            for key, links in sorted(before.items()) for hash_, link in self._links(key).items()
            if key != _own(key, hash_) and (hash_ not in links or links[hash_].outcome != link.outcome)
        ]

    def _links(self, key: str) -> Mapping[str, Link]:
        state = self.states.get(key)
        return state.links if isinstance(state, Person) else {}

    def summary(self, lines: Iterable[Line]) -> dict[str, Any]:
        """How many profiles and aliases there are in the end, and how often each outcome came."""
        counts = Counter(f"{one.outcome} {one.cause}".strip() for line in lines for one in line.links)
        profiles = sum(not isinstance(state, Redirect) for state in self.states.values())
        return {"profiles": profiles, "aliases": len(self.states) - profiles, "links": dict(sorted(counts.items()))}


def _own(key: str, hash_: str) -> str:
    return key if hash_of(key) == hash_ else ""


def as_dict(line: Line) -> dict[str, Any]:
    """A line as JSON has it."""
    return asdict(line)


def subjects_of(events: Iterable[IdentityEvent | FeedbackEvent]) -> set[str]:
    """Every key that the events are about."""
    keys: set[str] = set()
    for event in events:
        keys |= {event.subject, *(beside(event.subject, name) for name in event.earlier)}
        if isinstance(event, IdentityEvent):
            keys |= {key for one in event.identifiers for key in keys_of(tenant_of(event.subject), one)}
            keys |= {event.alias_of} if event.alias_of else set()
            keys |= {beside(event.subject, name) for name in event.alias_earlier}
    return keys


def encoded(value: object) -> str:
    """JSON for programs."""
    return msgspec.json.encode(value).decode()

"""Plays the cases of `tests/cases/*.json` through the agents: a subject, what happens to it, and what is decided."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.agents import feedback, identity, inbox, requests
from pipeline.core.decide.live import Live
from pipeline.core.decide.replay import decided_again, differences
from pipeline.core.identity import accounts
from pipeline.core.journeys import advance
from pipeline.core.keys import is_account
from pipeline.core.model.records import (
    CandidateAudit,
    Chosen,
    ConsentGrant,
    DecisionRequest,
    FeedbackEvent,
    FeedbackKind,
    IdentityEvent,
    IdentityKind,
    InboxRecord,
    Membership,
)
from pipeline.core.model.values import replaced
from pipeline.core.sections.section import changed
from pipeline.core.subject import Account, Person
from pipeline.flow import EVERYTHING_KNOWN, Accept
from tests.support.beside import Beside
from topics.catalog import DECISION_AUDIT, DECISION_REPLIES, PROFILE_INBOX

from .build import SUBJECT, joined, made

CASES = Path(__file__).resolve().parents[1] / "cases"
KINDS = {"view": FeedbackKind.VIEW, "click": FeedbackKind.CLICK, "dismiss": FeedbackKind.DISMISSAL,
         "buy": FeedbackKind.CONVERSION, "track": FeedbackKind.TRACK, "page": FeedbackKind.PAGE}
_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000}


def tables() -> list[dict[str, Any]]:
    """Every table, in the order of the files' names."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(CASES.glob("*.json"))]


def rows(kind: str) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Name, group and row of every case of a kind."""
    for table in tables():
        if table["kind"] == kind:
            for group in table["groups"]:
                for index, row in enumerate(group["rows"]):
                    yield f"{table['title']}: {group['states']} [{index + 1}]", group, row


def millis(text: str) -> int:
    """A moment in RFC 3339 as epoch milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def span_ms(text: str) -> int:
    """`+1d2h` as milliseconds."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", text))


class Story:
    """One subject under one policy."""

    def __init__(self, group: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        both = joined(group, row)
        self._both = both
        self._live = made(both.get("policy"), both.get("items"))
        self._start_ms = millis(both.get("at", "2026-03-02T10:00:00Z"))
        self.now_ms = self._start_ms
        self._asked = both.get("ask", {})
        self._serial = 0
        self._decisions: dict[str, str] = {}
        self.beside = Beside()
        self.chosen: list[Chosen] = []
        self.audits: list[CandidateAudit] = []
        grants = [ConsentGrant(name, True, 1) for name in both.get("consent", ["personalization", "marketing"])]
        self.profile: Person | None = None
        self.firms: dict[str, Account] = {}
        self._identify(IdentityEvent("first", SUBJECT, IdentityKind.IDENTIFY, self._start_ms - 1,
                                     both.get("traits", {}), grants))

    def reported_ms(self) -> int:
        return EVERYTHING_KNOWN

    def live(self, tenant: str) -> Live | None:
        return self._live

    def play(self, step: list[Any]) -> str:
        """One step: when, what, and any details. Returns what came of it."""
        when, what, *details = step
        self.now_ms = self._start_ms + span_ms(when)
        verb, _, rest = what.partition(" ")
        if verb in KINDS:
            return self._happens(KINDS[verb], rest, next((one for one in details if isinstance(one, dict)), {}))
        steps: dict[str, Callable[[str, list[Any]], str]] = {
            "ask": self._asks, "trait": self._trait, "consent": self._consent, "joins": self._joins,
            "leaves": self._leaves, "firm": self._firm, "colleague": self._colleague, "time": self._time,
            "release": self._release, "wait": self._wait, "stage": self._stage,
            "journey": self._journey, "renamed": self._renamed, "without": self._without,
        }
        if verb not in steps:
            raise ValueError(f"no such step: {what}")
        return steps[verb](rest, details)

    # -- steps, by what follows the verb, and the details ---------------------------------------------------------

    def _asks(self, _: str, details: list[Any]) -> str:
        return self._ask(joined(self._asked, details[1] if len(details) > 1 else {}))

    def _trait(self, rest: str, _: list[Any]) -> str:
        name, _sign, value = rest.partition("=")
        return self._identify(self._event(IdentityKind.TRAITS, traits={name: json.loads(value)}))

    def _consent(self, rest: str, _: list[Any]) -> str:
        purpose, _slash, channel = rest[1:].partition("/")
        grant = ConsentGrant(purpose, rest[0] == "+", self.now_ms, channel or None)
        return self._identify(self._event(IdentityKind.CONSENT, consent=[grant]))

    def _joins(self, rest: str, _: list[Any]) -> str:
        return self._belongs(rest, left=False)

    def _leaves(self, rest: str, _: list[Any]) -> str:
        return self._belongs(rest, left=True)

    def _belongs(self, rest: str, left: bool) -> str:
        firm, *roles = rest.split()
        belongs = Membership(f"shop/@{firm}", roles, left, "primary" in roles)
        return self._identify(self._event(IdentityKind.GROUP, membership=belongs))

    def _time(self, _: str, _details: list[Any]) -> str:
        known = self.profile or Person(profile_id=SUBJECT)
        self.profile, _changed = advance.refresh(known, self._live.policy, self.now_ms,
                                                 account=accounts.of(known, self._live.accounts))
        return ",".join(sorted(self.profile.segments))

    def _release(self, _: str, details: list[Any]) -> str:
        self._live = made(joined(self._both.get("policy", {}), details[0]), self._both.get("items"))
        return ""

    def _stage(self, _: str, _details: list[Any]) -> str:
        return self.profile.stages[-1].name if self.profile and self.profile.stages else ""

    def _journey(self, rest: str, _details: list[Any]) -> str:
        """Where they are in one: its stage, or how it ended; "": they never entered."""
        position = self.profile.journeys.get(rest) if self.profile else None
        if position is None:
            return ""
        return f"{position.stage} ({position.ended})".strip() if position.ended else position.stage

    def _renamed(self, _: str, details: list[Any]) -> str:
        """A release in which the stages `a` and `b` of every journey are called `first` and `second`."""
        data = json.loads(json.dumps(self._both["policy"]))
        names = {"a": "first", "b": "second"}
        for one in data["journeys"].values():
            one["stages"] = {names.get(stage, stage): {**said, **({"next": {
                names.get(to, to): way for to, way in said["next"].items()}} if "next" in said else {})}
                             for stage, said in one["stages"].items()}
            one["was"] = details[0]
        self._live = made(data, self._both.get("items"))
        return ""

    def _without(self, section: str, _details: list[Any]) -> str:
        """A release without a section."""
        data = {name: said for name, said in self._both["policy"].items() if name != section}
        self._live = made(data, self._both.get("items"))
        return ""

    def _firm(self, rest: str, details: list[Any]) -> str:
        """What is so of a firm, by trait; consent apart."""
        key, said = f"shop/@{rest}", details[0]
        consent = [ConsentGrant(name, given, self.now_ms) for name, given in said.get("consent", {}).items()]
        traits = {name: value for name, value in said.items() if name != "consent"}
        self._serial += 1
        event = IdentityEvent(f"i{self._serial}", key, IdentityKind.TRAITS, self.now_ms, traits, consent)
        outcome: Any = identity.handle(event, self.firms.get(key), self)
        self.firms[key] = outcome.state
        self._live = replace(self._live, accounts={**self._live.accounts, key: outcome.emits[0].value})
        return ""

    def _colleague(self, verb: str, _: list[Any]) -> str:
        """Another member of the same firms does the same."""
        own, self.profile = self.profile, changed(self.profile or Person(profile_id=SUBJECT), requests={}, counters={})
        try:
            return self.play([f"+{(self.now_ms - self._start_ms) // 1_000}s", verb])
        finally:
            self.profile = own

    def _served(self, outcome: Any) -> Any:
        """The outcome once the firm has been asked, and has been told."""
        for emit in outcome.emits:
            if emit.topic is PROFILE_INBOX:
                record = emit.value
                if is_account(record.profile_id):
                    leased: Any = inbox.handle(record, self.firms.get(record.profile_id), self)
                    self.firms[record.profile_id] = leased.state
                    if leased.emits:
                        self._take(outcome)
                        return self._served(inbox.handle(leased.emits[0].value, self.profile, self))
        return outcome

    def _wait(self, _: str, _details: list[Any]) -> str:
        """What the owner of the profile does about time: every look that has become due by now, each at its moment."""
        until_ms = self.now_ms
        while (due_ms := min((self.profile or Person()).timers.values(), default=until_ms + 1)) <= until_ms:
            self.now_ms = due_ms
            self._take(inbox.handle(InboxRecord(f"due-{due_ms}", SUBJECT, SUBJECT, due_ms=due_ms), self.profile, self))
        self.now_ms = until_ms
        return ",".join(sorted(self.profile.segments)) if self.profile else ""

    def _event(self, kind: IdentityKind, **more: Any) -> IdentityEvent:
        self._serial += 1
        return IdentityEvent(f"i{self._serial}", SUBJECT, kind, self.now_ms, **more)

    def _identify(self, event: IdentityEvent) -> str:
        return self._take(identity.handle(event, self.profile, self))

    def _happens(self, kind: FeedbackKind, name: str, more: Mapping[str, Any]) -> str:
        self._serial += 1
        behaviour = kind in (FeedbackKind.TRACK, FeedbackKind.PAGE)
        event = FeedbackEvent(f"f{self._serial}", SUBJECT, kind, self.now_ms, name if behaviour else kind.value,
                              None if behaviour else name, self._decisions.get(name), channel="web")
        return self._take(feedback.handle(replaced(event, **more), self.profile, self))

    def _ask(self, options: Mapping[str, Any]) -> str:
        self._serial += 1
        placements = options.get("placements", [options.get("placement", "hero")])
        request = DecisionRequest(
            options.get("request", f"r{self._serial}"), SUBJECT, options.get("channel", "web"), placements,
            options.get("scenario", ""), options.get("max_variants", 1), options.get("require_consent", True),
            options.get("context", {}), None, 0, options.get("digest", "d"))
        outcome = self._served(requests.handle(request, self.profile, self))
        reply: Any = next(emit.value for emit in outcome.emits if emit.topic is DECISION_REPLIES)
        self.audits = []
        for audit in (emit.value for emit in outcome.emits if emit.topic is DECISION_AUDIT):
            self.audits = audit.candidates
            # Whatever a case is about, its decision is the same over what its audit holds.
            assert differences(audit, decided_again(audit, self._live)) == []
        self._take(outcome)
        if reply.error:
            return f"error {reply.error}"
        self.chosen = reply.decisions
        self._decisions.update({one.item_id: reply.decision_id for one in reply.decisions})
        shown = ", ".join(one.item_id for one in reply.decisions)
        return f"{shown} ({reply.reason})" if reply.fallback else shown

    def _take(self, outcome: Any) -> str:
        self.beside.put("", outcome)
        if isinstance(outcome, Accept) and outcome.state is not None:
            self.profile = outcome.state
        return str(outcome.reason)

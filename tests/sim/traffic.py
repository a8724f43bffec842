"""What producers and callers send in one run: drawn from the seed beforehand, sent one by one.

Every identifier is aliased to one other at most, so that the sets of identifiers that belong together, and with them
everything the oracle expects, do not depend on the order in which records are applied. Chains, trees and rings occur.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from pipeline.codecs import avro
from pipeline.core.keys import hash_of
from pipeline.core.model.records import (
    ConsentGrant,
    DecisionRequest,
    ErasureAction,
    ErasureRequest,
    FeedbackEvent,
    FeedbackKind,
    Identifier,
    IdentityEvent,
    IdentityKind,
    Membership,
)
from pipeline.core.model.values import replaced
from pipeline.ports import Outbound
from tests.sim.names import newly
from topics.catalog import DECISION_REQUESTS, ERASURE_REQUESTS, FEEDBACK_EVENTS, IDENTITY_EVENTS, Topic

#: A retry may come this long after its request: what the profile's memory of requests holds for certain.
RETRY_MS = 240_000

#: The firm that all subjects belong to, in runs that have one.
ACCOUNT = "shop/@firm"


Event = IdentityEvent | FeedbackEvent | DecisionRequest | ErasureRequest


@dataclass(slots=True)
class Sent:
    """One record a producer sent."""

    topic: Topic
    value: Event
    at_ms: int


class Traffic:
    """The producers of one run."""

    def __init__(
        self, rng: random.Random, accounts: bool = False, fate: random.Random | None = None,
        endpoints: random.Random | None = None,
    ) -> None:
        """`fate` decides who is to be forgotten, so that a run without it stays the run it was; None: nobody.
        `endpoints` chooses which producer's keys hash a record where the key is being changed; None: it is not."""
        self._rng = rng
        self._endpoints = endpoints
        #: How many of the endpoints list the new key by now.
        self._restarted = 0.0
        self.subjects = [f"shop/{name}" for name in "abcdefgh"[: rng.randint(2, 7)]]
        self.aliases = self._plan_aliases()
        self._waiting_aliases = list(self.aliases.items())
        self.left = rng.randint(12, 70)
        self.sent: list[Sent] = []
        self._joining = list(self.subjects) if accounts else []
        self.left += len(self._joining)
        #: What comes next whatever else: repeats on both sides of an alias.
        self._burst: list[str] = []
        #: The identifier aliased last: much is asked about it, as around a merge the most can go wrong.
        self._hot = ""
        self._number = 0
        self._times: set[int] = set()
        self._weights = [rng.choice((1, 2, 6)) for _ in range(7)]
        #: In some runs merges are undone, too; and an identify may say what an alias does.
        self._undoes = rng.random() < 0.25
        self._identifies = rng.choice((0.0, 0.5, 1.0))
        self._aliased: list[str] = []
        #: After so many records somebody asks to be forgotten; None: nobody does.
        # Not in a firm: what its account has counted would outlive the decisions that tell of it. Not where merges are
        # undone: whom somebody's identifiers belong to when the request comes is then a matter of chance.
        self._erase_after: int | None = None
        self._doomed = ""
        if fate is not None and fate.random() < 0.3 and not accounts and not self._undoes:
            self._erase_after = fate.randint(3, 50)
            self._doomed = fate.choice(self.subjects)
        #: Who belongs to the subject, whatever is known of it: after the request nothing joins them, nobody consents.
        self.forgotten: set[str] = set()

    def _plan_aliases(self) -> dict[str, str]:
        rng, subjects = self._rng, self.subjects
        share = rng.choice((0.0, 0.4, 0.8, 1.0))
        # Chains and trees; in some runs rings too.
        rings = rng.random() < 0.15
        plan = {one: rng.choice(subjects) for one in subjects if rng.random() < share}
        return {old: new for old, new in plan.items() if old < new or (rings and old != new)}

    # -- one record -----------------------------------------------------------------------------------------------

    def next(self, now_ms: int) -> Outbound:
        """The next record to send."""
        if self._erase_after is not None and self._number >= self._erase_after:
            return self._erase(now_ms)
        self.left -= 1
        self._number += 1
        if self._joining:
            return self._join(self._joining.pop(), now_ms)
        if not self.sent:
            return self._identity(now_ms, granted=True)
        kinds = ("consent", "trait", "click", "request", "retry", "repeat", "alias")
        kind = self._burst.pop() if self._burst else self._rng.choices(kinds, self._weights)[0]
        return self._of_kind(kind, now_ms) or self._request(now_ms)

    def _of_kind(self, kind: str, now_ms: int) -> Outbound | None:
        """None for a request, and where there is nothing to do such a thing with."""
        match kind:
            case "consent":
                return self._identity(now_ms, granted=self._rng.random() < 0.7)
            case "trait":
                return self._identity(now_ms)
            case "click":
                return self._click(now_ms)
            case "retry":
                return self._retry(now_ms)
            case "repeat":
                return self._repeat(now_ms)
            case "alias" if self._waiting_aliases and not self._joins_the_forgotten():
                return self._alias(now_ms)
            case "alias" if self._undoes and self._aliased:
                return self._unmerge(now_ms)
        return None

    def _joins_the_forgotten(self) -> bool:
        return any(self.forgotten & {*pair} for pair in self._waiting_aliases)

    def _erase(self, now_ms: int) -> Outbound:
        self._erase_after = None
        self.forgotten = {self._doomed}
        for _ in self.subjects:
            self.forgotten |= {name for pair in self.aliases.items() if self.forgotten & {*pair} for name in pair}
        request = ErasureRequest(f"job-{self._doomed}", self._doomed, ErasureAction.ERASE, now_ms)
        return self._again(ERASURE_REQUESTS, request)

    def poison(self) -> Outbound:
        """A record that nobody can read."""
        topic = self._rng.choice((IDENTITY_EVENTS, FEEDBACK_EVENTS, DECISION_REQUESTS))
        return Outbound(topic.name, self._rng.choice(self.subjects).encode(), f"poison {self._number}".encode())

    def _time(self, now_ms: int) -> int:
        """An event time of its own, a little late."""
        at_ms = now_ms - self._rng.choice((0, 0, 5, 500, 3_000))
        while at_ms in self._times:
            at_ms -= 1
        self._times.add(at_ms)
        return at_ms

    def _subject(self) -> str:
        return self._hot if self._hot and self._rng.random() < 0.4 else self._rng.choice(self.subjects)

    def _chosen(self, among: list[Sent]) -> Sent:
        hot = [one for one in among if one.value.subject == self._hot]
        return self._rng.choice(hot if hot and self._rng.random() < 0.6 else among)

    def _identity(self, now_ms: int, granted: bool | None = None) -> Outbound:
        subject, at_ms = self._subject(), self._time(now_ms)
        event_id = f"e{self._number}"
        if granted is None or subject in self.forgotten:
            plan = self._rng.choice(("free", "free", "pro"))
            event = IdentityEvent(event_id, subject, IdentityKind.TRAITS, at_ms, traits={"plan": plan})
        else:
            grant = ConsentGrant("personalization", granted, at_ms)
            event = IdentityEvent(event_id, subject, IdentityKind.CONSENT, at_ms, consent=[grant])
        return self._out(IDENTITY_EVENTS, event, now_ms)

    def _join(self, subject: str, now_ms: int) -> Outbound:
        event = IdentityEvent(f"e{self._number}", subject, IdentityKind.GROUP, self._time(now_ms),
                              membership=Membership(ACCOUNT, ["buyer"]),
                              consent=[ConsentGrant("personalization", True, self._time(now_ms))])
        return self._out(IDENTITY_EVENTS, event, now_ms)

    def _alias(self, now_ms: int) -> Outbound:
        old, new = self._waiting_aliases.pop(self._rng.randrange(len(self._waiting_aliases)))
        self._hot = old
        self._burst = self._rng.choice(([], ["retry", "repeat"], ["repeat", "retry", "retry"]))
        self._aliased.append(old)
        event = IdentityEvent(f"e{self._number}", old, IdentityKind.ALIAS, self._time(now_ms), alias_of=new)
        if self._rng.random() < self._identifies:
            known = Identifier("", hash_of(old))
            event = IdentityEvent(f"e{self._number}", new, IdentityKind.IDENTIFY, self._time(now_ms),
                                  identifiers=[known])
        return self._out(IDENTITY_EVENTS, event, now_ms)

    def _unmerge(self, now_ms: int) -> Outbound:
        event = IdentityEvent(f"e{self._number}", self._rng.choice(self._aliased), IdentityKind.UNMERGE, now_ms)
        return self._out(IDENTITY_EVENTS, event, now_ms)

    def _click(self, now_ms: int) -> Outbound:
        subject, item = self._subject(), self._rng.choice(("upgrade", "tips"))
        event = FeedbackEvent(
            f"e{self._number}", subject, FeedbackKind.CLICK, self._time(now_ms), item_id=item, channel="web"
        )
        return self._out(FEEDBACK_EVENTS, event, now_ms)

    def _request(self, now_ms: int) -> Outbound:
        subject = self._subject()
        # One policy does not know the footer: the error is an answer too, but not one to remember.
        alone = subject not in self.aliases and subject not in self.aliases.values()
        placement = "footer" if alone and self._rng.random() < 0.2 else "hero"
        deadline = now_ms + self._rng.choice((150, 2_000)) if self._rng.random() < 0.3 else None
        request = DecisionRequest(
            f"r{self._number}", subject, "web", [placement], deadline_ms=deadline, reply_partition=0, digest=subject
        )
        return self._out(DECISION_REQUESTS, request, now_ms)

    def _retry(self, now_ms: int) -> Outbound | None:
        """A caller that has no answer (or lost it) asks again under the same request id."""
        recent = [
            s for s in self.sent
            if isinstance(s.value, DecisionRequest) and s.at_ms > now_ms - RETRY_MS and s.value.placements == ["hero"]
        ]
        if not recent:
            return None
        request = self._chosen(recent).value
        assert isinstance(request, DecisionRequest)
        if request.deadline_ms is not None:
            request = replaced(request, deadline_ms=now_ms + 2_000)
        return self._again(DECISION_REQUESTS, request)

    def _repeat(self, now_ms: int) -> Outbound:
        """A producer that sends an event twice."""
        events = [s for s in self.sent if not isinstance(s.value, DecisionRequest)]
        chosen = self._chosen(events)
        return self._again(chosen.topic, chosen.value)

    def _hashed(self, value: Event) -> Event:
        """The record as another endpoint would hash it: one that lists the new key before the old, or the old only."""
        if self._endpoints is None:
            return value
        self._restarted = min(1.0, self._restarted + self._endpoints.choice((0.0, 0.0, 0.05)))
        if self._endpoints.random() >= self._restarted:
            return value
        if isinstance(value, IdentityEvent):
            known = [Identifier(one.type, newly(one.hash), [one.hash]) for one in value.identifiers]
            joins = value.membership
            if joins is not None:
                joins = replaced(joins, account=newly(joins.account), earlier=[hash_of(joins.account)])
            value = replaced(value, identifiers=known, membership=joins)
            if value.alias_of is not None and self._endpoints.random() < self._restarted:
                value = replaced(value, alias_of=newly(value.alias_of),
                                 alias_earlier=[hash_of(value.alias_of)])
        return replaced(value, subject=newly(value.subject), earlier=[hash_of(value.subject)])

    def _out(self, topic: Topic, value: Event, now_ms: int) -> Outbound:
        self.sent.append(Sent(topic, value, now_ms))
        return self._again(topic, value)

    def _again(self, topic: Topic, value: Event) -> Outbound:
        value = self._hashed(value)
        return Outbound(topic.name, value.subject.encode(), avro.encode(topic, value))

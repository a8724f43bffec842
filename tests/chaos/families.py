"""What is sent: many small families of identifiers, each the producers of one simulated run (tests/sim/traffic.py).

So a family's part of the logs can be judged by the simulation's oracle, as one run of its own.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Final

from pipeline.codecs import avro
from pipeline.core.identity.identifiers import subject_key
from pipeline.core.model.records import DecisionRequest, FeedbackEvent, IdentityEvent
from pipeline.core.model.values import replaced
from pipeline.ports import Outbound
from pipeline.settings import Settings
from tests.sim.traffic import Traffic
from topics.catalog import BY_NAME, Topic

TENANT: Final = "shop"

#: After the first consents. A profile remembers 32 requests for their retries; a whole family may become one.
RECORDS_MAX: Final = 32

#: How often what comes next is: consent, trait, click, request, retry, repeat, alias.
_WEIGHTS: Final = (2, 1, 3, 14, 3, 1, 2)

Value = IdentityEvent | FeedbackEvent | DecisionRequest


@cache
def key_of(raw_id: str) -> str:
    """The subject key that a bridge makes of an identifier."""
    return subject_key(Settings().tenant_keys, TENANT, "user_id", raw_id)


class Family(Traffic):
    """One family; its raw identifiers and the ids of its records begin with its name."""

    def __init__(self, seed: int, number: int) -> None:
        super().__init__(random.Random(f"family {seed} {number}"))
        self.name = f"f{number}-"
        self.left = self._rng.randint(12, RECORDS_MAX) + len(self.subjects)
        # Who never agreed or refused is refused everything: everybody is asked first.
        self._unasked = list(self.subjects)
        self._burst = ["consent"] * (len(self.subjects) - 1)
        self.has_poison = self._rng.random() < 0.1
        self._weights = list(_WEIGHTS)
        # Of merges that are undone, as of rings, less is known to hold at every moment (docs/simulation.md).
        self._undoes = False
        # An identify joins within limits by type; an alias joins, so that what belongs together is certain.
        self._identifies = 0.0
        self._evens: set[int] = set()

    def raw_ids(self) -> dict[str, str]:
        """The identifiers as a site sends them, by the simulation's names."""
        return {subject: self.name + subject.partition("/")[2] for subject in self.subjects}

    def keys(self) -> list[str]:
        """The subject keys of all its identifiers."""
        return [key_of(raw) for raw in self.raw_ids().values()]

    def next_value(self, now_ms: int) -> tuple[Topic, Value]:
        """The next record, its subject still a simulation's name, and its ids this family's."""
        out = self.next(now_ms)
        topic = BY_NAME[out.topic]
        value: Value = avro.decode(topic, out.value or b"")
        if isinstance(value, DecisionRequest):
            return topic, replaced(value, request_id=self.name + value.request_id)
        return topic, replaced(value, event_id=self.name + value.event_id)

    def next_poison(self) -> Outbound:
        """A record that nobody can read."""
        self.has_poison = False
        out = self.poison()
        return replaced(out, key=key_of(self.raw_ids()[out.key.decode()]).encode())

    def keyed(self, topic: Topic, value: Value) -> Outbound:
        """The record for the topic's endpoint."""
        raw = self.raw_ids()
        value = replaced(value, subject=key_of(raw[value.subject]))
        if isinstance(value, IdentityEvent) and value.alias_of:
            value = replaced(value, alias_of=key_of(raw[value.alias_of]))
        return Outbound(topic.name, value.subject.encode(), avro.encode(topic, value))

    def _subject(self) -> str:
        return self._unasked.pop() if self._unasked else super()._subject()

    def _plan_aliases(self) -> dict[str, str]:
        """Without rings."""
        return {old: new for old, new in super()._plan_aliases().items() if old < new}

    def _time(self, now_ms: int) -> int:
        """Even milliseconds: a moment that travels as text may come out one less, and two must not become one."""
        at_ms = super()._time(now_ms) // 2 * 2
        while at_ms in self._evens:
            at_ms -= 2
        self._evens.add(at_ms)
        return at_ms

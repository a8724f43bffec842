"""Whatever endpoints list which keys of the hashes, in whatever order records arrive and however often: one profile for
each connected set of identifiers, every click counted once, no cap passed."""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from typing import Any

import pytest

from pipeline.agents import feedback, identity, inbox, requests
from pipeline.core.decide.live import Live
from pipeline.core.model.records import (
    ConsentGrant,
    DecisionRequest,
    FeedbackEvent,
    FeedbackKind,
    Identifier,
    IdentityEvent,
    IdentityKind,
    InboxRecord,
)
from pipeline.core.subject import leads_to
from pipeline.flow import EVERYTHING_KNOWN, Accept, Drop, Forward
from tests.support.beside import Beside
from topics.catalog import DECISION_REPLIES, DECISIONS, PROFILE_INBOX

from .build import made

NOW_MS = 1_790_000_000_000
LIVE = made(
    {"consent": {"tracking": None}, "caps": {
        "per_item": {"count": "decision", "per": "item", "limit": 2, "window": "24h"},
        "clicked": {"count": "click", "per": "all", "limit": 1_000, "window": "lifetime"},
    }},
    {"a": {"priority": 2}, "b": {"priority": 1}},
)
#: The keys that endpoints list at the same time, the one that hashes first: a restart under way; another begun before
#: it is over; one that is taken back.
SETTINGS = {
    "rolling": ((0,), (1, 0)),
    "twice": ((0,), (1, 0), (2, 1, 0)),
    "taken back": ((0,), (1, 0), (0, 1)),
    "left out at first": ((0,), (1,), (1, 0)),
}


class World:
    """The agents over dictionaries. What one key sends another arrives in order, some of it twice."""

    def __init__(self, seed: int, settings: tuple[tuple[int, ...], ...]) -> None:
        self.rng = random.Random(seed)
        self.settings = settings
        # Only where all list one key last does a request keep its name.
        self.more = ("ask again",) if all(keys[-1] == 0 for keys in settings) else ()
        self.now_ms = NOW_MS
        self.states: dict[str, Any] = {}
        self.beside = Beside()
        self.channels: dict[tuple[str, str], deque[InboxRecord]] = defaultdict(deque)
        self.serial = 0
        self.clicks: Counter[str] = Counter()
        #: By who asked: the items of every decision, once for each id.
        self.decided: dict[str, dict[str, str]] = defaultdict(dict)
        self.asked_by: dict[str, str] = {}
        self.replies: dict[str, Any] = {}
        names = "abcd"[: self.rng.randint(1, 4)]
        self.names = names
        plan = {one: self.rng.choice(names) for one in names if self.rng.random() < 0.6}
        self.aliases = {old: new for old, new in plan.items() if old < new}
        self.to_alias = list(self.aliases.items())
        for name in names:
            self.say(IdentityKind.CONSENT, name, consent=[ConsentGrant("personalization", True, NOW_MS)])

    def reported_ms(self) -> int:
        return EVERYTHING_KNOWN

    def live(self, tenant: str) -> Live:
        return LIVE

    def at(self, key: str) -> World:
        self.beside.at(key)
        return self

    def who(self, name: str) -> Identifier:
        newest, *earlier = self.rng.choice(self.settings)
        return Identifier("", f"{name}{newest}", [f"{name}{key}" for key in earlier])

    def say(self, kind: IdentityKind, name: str, **more: Any) -> None:
        self.serial += 1
        who = self.who(name)
        self.start(identity, IdentityEvent(f"e{self.serial}", f"shop/{who.hash}", kind, NOW_MS, earlier=who.earlier,
                                           **more))

    def start(self, agent: Any, event: IdentityEvent | FeedbackEvent | DecisionRequest) -> None:
        self.take(event.subject, agent.handle(event, self.states.get(event.subject), self.at(event.subject)))

    def act(self) -> None:
        name = self.rng.choice(self.names)
        what = self.rng.choice(("click", "click", "ask", "ask", "join", "deliver", "deliver", "deliver", *self.more))
        self.serial += 1
        if what == "click":
            who = self.who(name)
            self.clicks[name] += 1
            event = FeedbackEvent(f"c{self.serial}", f"shop/{who.hash}", FeedbackKind.CLICK, NOW_MS,
                                  earlier=who.earlier)
            for _ in range(self.rng.choice((1, 1, 2))):
                self.start(feedback, event)
        elif what == "ask":
            who = self.who(name)
            request = DecisionRequest(f"r{self.serial}", f"shop/{who.hash}", "web", ["hero"], earlier=who.earlier,
                                      reply_partition=0, digest=name)
            self.asked_by[request.request_id] = name
            self.start(requests, request)
        elif what == "ask again" and self.asked_by:
            # At another endpoint, which may list other keys.
            request_id = self.rng.choice(sorted(self.asked_by))
            who = self.who(self.asked_by[request_id])
            self.start(requests, DecisionRequest(request_id, f"shop/{who.hash}", "web", ["hero"], earlier=who.earlier,
                                                 reply_partition=0, digest=self.asked_by[request_id]))
        elif what == "join" and self.to_alias:
            old, new = self.to_alias.pop()
            if self.rng.random() < 0.5:
                winner = self.who(new)
                self.say(IdentityKind.ALIAS, old, alias_of=f"shop/{winner.hash}", alias_earlier=winner.earlier)
            else:
                self.say(IdentityKind.IDENTIFY, new, identifiers=[self.who(old)])
        else:
            self.deliver()

    def deliver(self) -> bool:
        ready = sorted(pair for pair, records in self.channels.items() if records)
        if not ready:
            return False
        record = self.channels[self.rng.choice(ready)].popleft()
        key = record.profile_id
        self.take(key, inbox.handle(record, self.states.get(key), self.at(key)))
        return True

    def take(self, key: str, outcome: Any) -> None:
        assert isinstance(outcome, Accept | Drop | Forward), outcome
        self.beside.put(key, outcome)
        if isinstance(outcome, Accept) and outcome.state is not None:
            self.states[key] = outcome.state
            assert outcome.state.profile_id == key
        emits: tuple[Any, ...] = (outcome.emit,) if isinstance(outcome, Forward) else outcome.emits
        for _ in range(self.rng.choice((1, 1, 1, 2))):
            for emit in emits:
                if emit.topic is PROFILE_INBOX:
                    assert emit.key == emit.value.profile_id
                    self.channels[key, emit.key].append(emit.value)
        for emit in emits:
            if emit.topic is DECISIONS:
                items = {one.item_id for one in emit.value.decisions if not one.fallback}
                assert self.decided[self.asked_by[emit.value.request_id]].setdefault(
                    emit.value.decision_id, ",".join(items)) == ",".join(items)
            elif emit.topic is DECISION_REPLIES:
                assert self.replies.setdefault(emit.key, emit.value) == emit.value

    def finish(self) -> None:
        for _ in range(5_000):
            if not self.deliver():
                return
        raise AssertionError("something travels for ever")

    def sets(self) -> list[set[str]]:
        found = [{name} for name in self.names]
        for old, new in self.aliases.items():
            if (old, new) not in self.to_alias:
                one, other = (next(part for part in found if name in part) for name in (old, new))
                if one is not other:
                    found.remove(other)
                    one |= other
        return found

    def leads_to(self, key: str) -> str:
        for _ in range(20):
            to = leads_to(self.states[key])
            if to is None:
                return key
            key = to
        raise AssertionError("aliases in a ring")


def run(seed: int, settings: tuple[tuple[int, ...], ...]) -> World:
    world = World(seed, settings)
    for _ in range(world.rng.randint(5, 60)):
        world.act()
    if settings == SETTINGS["left out at first"]:
        world.settings = ((1, 0),)
        for name in world.names:
            world.say(IdentityKind.TRAITS, name)
    world.finish()
    return world


@pytest.mark.parametrize("kind", SETTINGS)
def test_one_profile_each_clicks_counted_once_no_cap_passed(kind: str) -> None:
    for seed in range(400):
        world = run(seed, SETTINGS[kind])
        for members in world.sets():
            keys = [key for key in world.states if key[5] in members]
            assert len({world.leads_to(key) for key in keys}) == 1, (kind, seed, members)
            own = world.states[world.leads_to(keys[0])]
            counter = own.counters.get("clicked|")
            assert (counter.total if counter else 0) == sum(world.clicks[name] for name in members), (kind, seed)
            items = Counter(item for name in members for item in world.decided[name].values() if item)
            alone = len(members) == 1 and kind != "left out at first"
            assert not alone or all(count <= 2 for count in items.values()), (kind, seed, items)
            counted = {key.partition("|")[2]: one.total for key, one in own.counters.items() if key[:3] == "per"}
            assert counted == dict(items), (kind, seed, counted, items)
            for key in keys:
                rotation = world.states[key].rotation
                assert rotation is None or not rotation.taking, (kind, seed, key)

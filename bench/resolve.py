"""What identity costs: `python -m bench.resolve`. Processor time of the handlers alone, without codecs and broker.

Resolve: an identify of a profile that has so many identifiers, all of them known. Merge: a visitor's profile with
counters, behaviour and traits claimed, given up and merged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from pipeline.agents import identity, inbox
from pipeline.core.decide.live import Live
from pipeline.core.identity.identity_rules import DEFAULT
from pipeline.core.model.records import Identifier, IdentityEvent, IdentityKind, InboxRecord
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.section import changed
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person
from pipeline.flow import EVERYTHING_KNOWN, Accept, Emit, Forward, Outcome
from topics.catalog import PROFILE_INBOX

ROUNDS = 2_000
NOW_MS = 1_790_000_000_000


@dataclass(frozen=True)
class Context:
    """No policy is live: the engine's own rules hold."""

    now_ms: int = NOW_MS

    def live(self, tenant: str) -> Live | None:
        return None

    def reported_ms(self) -> int:
        return EVERYTHING_KNOWN

    def beside(self, name: str) -> bytes | None:
        return None


CONTEXT = Context()


def emits_of(outcome: Outcome) -> tuple[Emit, ...]:
    """What a handler sends on."""
    if isinstance(outcome, Forward):
        return (outcome.emit,)
    return getattr(outcome, "emits", ())


def run(event: IdentityEvent, states: dict[str, Person]) -> int:
    """Apply an event and everything that comes of it; returns how many records that were."""
    waiting: list[IdentityEvent | InboxRecord] = [event]
    steps = 0
    while waiting:
        record = waiting.pop(0)
        steps += 1
        if isinstance(record, InboxRecord):
            key = record.profile_id
            outcome = inbox.handle(record, states.get(key), CONTEXT)
        else:
            key = record.subject
            outcome = identity.handle(record, states.get(key), CONTEXT)
        if isinstance(outcome, Accept) and outcome.state is not None:
            states[key] = outcome.state
        waiting += [emit.value for emit in emits_of(outcome) if emit.topic is PROFILE_INBOX]  # type: ignore[misc]
    return steps


def identify(number: int, names: list[str]) -> IdentityEvent:
    """Somebody with these identifiers, of a type without a limit of its own."""
    return IdentityEvent(f"e{number}", "shop/person", IdentityKind.IDENTIFY, NOW_MS + number, {"plan": "pro"},
                         identifiers=[Identifier("", name) for name in names], subject_type="user_id")


def visitor(counters: int) -> Person:
    """A profile worth merging."""
    timestamps = tuple(range(NOW_MS - 20, NOW_MS))
    return Person(
        profile_id="shop/visitor", traits={f"t{n}": Trait(n, NOW_MS) for n in range(20)},
        behaviour={f"b{n}": timestamps for n in range(10)},
        counters={f"cap|item{n}": Counter(timestamps, 20) for n in range(counters)},
    )


def microseconds(act: Callable[[int], object]) -> float:
    """The median processor time of one call."""
    times = []
    for number in range(ROUNDS):
        started_ns = time.process_time_ns()
        act(number)
        times.append(time.process_time_ns() - started_ns)
    return median(times) / 1_000


def resolve(count: int) -> float:
    """An identify by a profile that has so many identifiers."""
    names = [f"id{n}" for n in range(count)]
    states: dict[str, Person] = {}
    run(identify(0, names), states)
    assert len(states) == count + 1 <= DEFAULT.links_max
    person = states["shop/person"]
    return microseconds(lambda number: identity.handle(identify(number + 1, names), person, CONTEXT))


def merge(counters: int) -> tuple[float, int]:
    """A visitor with so many counters joins a person with as many; and the records that takes."""
    own = changed(visitor(counters), profile_id="shop/person")
    event = identify(0, ["visitor"])
    steps = run(event, {"shop/person": own, "shop/visitor": visitor(counters)})
    return microseconds(lambda _: run(event, {"shop/person": own, "shop/visitor": visitor(counters)})), steps


def main() -> None:
    """Print the figures."""
    for count in (1, 50):
        print(f"resolve, {count:>2} known identifiers: {resolve(count):7.1f} µs")
    for counters in (0, 20, 200):
        cost_us, steps = merge(counters)
        print(f"join and merge, {counters:>3} counters: {cost_us:7.1f} µs in {steps} records")


if __name__ == "__main__":
    main()

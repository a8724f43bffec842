"""Trial decisions with boundary values of every declared attribute: what cannot be decided here is not published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice, product
from typing import Final

from pipeline.core.decide.decision import decide
from pipeline.core.decide.live import Live
from pipeline.core.model.definitions import Attribute
from pipeline.core.model.problems import Problem
from pipeline.core.model.records import Account, DecisionRequest, Scalar
from pipeline.core.sections.memberships import Member
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person

#: Decisions at most, however many placements there are.
TRIALS_MAX: Final = 400

_AT_MS: Final = 1_790_000_000_000
_ACCOUNT: Final = "trial/@account"
_EVERY: Final[tuple[Scalar, ...]] = (
    None, "", True, 0, -1, 2**53 + 1, -(2**63), 2**63 - 1, 0.0, -1e308, 5e-324, "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z", "999999999h", "Europe/Berlin", "x" * 1_024, "\U0001f600",
)
#: Those that an attribute of the type takes come first; the others have to be unknown.
_BY_TYPE: Final[Mapping[str, tuple[Scalar, ...]]] = {
    "bool": (True, False), "int": (0, -(2**63), 2**63 - 1, 2**53 + 1),
    "double": (0.0, 1e308, -1e308, 5e-324), "string": ("", "x" * 1_024, "\U0001f600", "9999-12-31T23:59:59Z"),
    "timestamp": ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", -1),
    "date": ("9999-12-31", "0001-01-01", "1970-01-01"),
    "duration": ("999999999h", "-999999999h", "0s", "1ms"),
}


def check(live: Live, trials_max: int = TRIALS_MAX) -> list[Problem]:
    """A problem for each kind of failure, with the clause at which it came. None are expected."""
    found: dict[str, Problem] = {}
    for profile, there, request in islice(_trials(live), trials_max):
        try:
            decide(request, profile, there, _AT_MS)
        except Exception as error:  # whatever it is, a worker would meet it at every request
            notes = "; ".join(dict.fromkeys(getattr(error, "__notes__", ()))) or request.placements[0]
            message = f"a trial decision fails here: {type(error).__name__}: {notes}"
            found.setdefault(message, Problem(("placements", request.placements[0]), message, "report it: a defect of "
                                              "the engine; until then say this otherwise"))
    return list(found.values())


def _trials(live: Live) -> Iterator[tuple[Person, Live, DecisionRequest]]:
    policy = live.policy
    rounds = max(len(_EVERY), *(len(one) for one in _BY_TYPE.values()))
    places = [(name, channel) for name, one in policy.placements.items() for channel in sorted(one.channels)]
    for number, (placement, channel) in product(range(rounds), places):
        profile = Person(
            profile_id="trial/subject",
            traits={name: Trait(value, 0) for name, value in _values(policy.traits, number).items()},
            accounts={_ACCOUNT: Member(("owner",), 1)})
        account = Account(_ACCOUNT, 1, _AT_MS, _values(policy.account, number))
        there = replace(live, accounts={_ACCOUNT: account})
        yield profile, there, DecisionRequest(
            f"trial-{number}", "trial/subject", channel, [placement], max_variants=100, require_consent=False,
            attributes=_values(policy.context, number))


def _values(declared: Mapping[str, Attribute], number: int) -> dict[str, Scalar]:
    return {name: _value(one.type, number + place) for place, (name, one) in enumerate(declared.items())}


def _value(type_: str, number: int) -> Scalar:
    fitting = _BY_TYPE.get(type_, ())
    everything = (*fitting, *_EVERY)
    return everything[number % len(everything)]

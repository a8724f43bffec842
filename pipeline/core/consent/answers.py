"""What a profile keeps of what was said about consent: one register for each thing a statement decides.

A register keeps the one statement that outranks the others, so that recording and merging are the same in whatever
order, and however often, statements come. What they permit is for `pipeline.core.consent.permission` to say.

| register | keeps |
|---|---|
| `purpose` or `purpose/channel` | the newest yes or no to consent; at the same moment the no |
| `purpose#tcf` | the newest yes or no of a TC string, whose time is known to the day only |
| `…#confirmed` | the newest confirmed yes (double opt-in) or no |
| `…#pending` | the newest yes that still has to be confirmed |
| `…#legitimate_interest`, `…#public_task` | the newest statement; an objection outranks any |
| `…#contract`, `…#legal_obligation`, `…#vital_interests` | the newest statement; at the same moment its end |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.core.model.definitions import Purpose
from pipeline.core.model.values import replaced
from pipeline.core.model.words import Basis, ConsentGrant, OptIn

Answers = Mapping[str, ConsentGrant]

CONFIRMED: Final = "#confirmed"
PENDING: Final = "#pending"
#: What TC strings say is kept apart: their times are of another precision than everybody else's.
TCF: Final = "#tcf"
#: How the source of such a statement begins.
TCF_SOURCE: Final = "tcf:"

#: How much a sender's clock may be slow: a no that comes after a yes binds, though it is dated so much before it.
SKEW_MS: Final = 3_600_000
#: The registers of the other bases.
REGISTER: Final = {basis: "" if basis is Basis.CONSENT else f"#{basis.value}" for basis in Basis}

#: Bases against which a person may object (GDPR article 21).
OBJECTABLE: Final = frozenset((Basis.LEGITIMATE_INTEREST, Basis.PUBLIC_TASK))

#: A profile stays a small value.
ANSWERS_MAX: Final = 128


def key_of(purpose: str, channel: str | None, register: str = "") -> str:
    """Where a profile keeps the statement in force."""
    return f"{purpose}/{channel}{register}" if channel else f"{purpose}{register}"


def registers(grant: ConsentGrant) -> tuple[str, ...]:
    """The keys of the registers that a statement speaks to."""
    place = key_of(grant.purpose, grant.channel)
    if grant.basis is Basis.CONSENT and grant.source.startswith(TCF_SOURCE):
        return (place + TCF,)
    if grant.granted and grant.opt_in is OptIn.PENDING:
        return (place + PENDING,)
    if grant.basis is not Basis.CONSENT:
        return (place + REGISTER[grant.basis],)
    if not grant.granted or grant.opt_in is OptIn.CONFIRMED:
        return place, place + CONFIRMED
    return (place,)


def as_received(answers: Answers, grants: list[ConsentGrant]) -> list[ConsentGrant]:
    """The statements with those that refuse dated no earlier than a yes that was received before them.

    Clocks of browsers and phones are slow and fast: within `SKEW_MS` the order in which a yes and a no were received
    counts, where that makes it a no.
    """
    return [grant if grant.granted else replaced(grant, at_ms=_bound_ms(answers, grant)) for grant in grants]


def _bound_ms(answers: Answers, refusal: ConsentGrant) -> int:
    later = (one.at_ms for one in answers.values() if one.granted and one.purpose == refusal.purpose)
    return max((at for at in later if 0 < at - refusal.at_ms <= SKEW_MS), default=refusal.at_ms)


def recorded(answers: Answers, grants: list[ConsentGrant], purposes: Mapping[str, Purpose], now_ms: int
             ) -> dict[str, ConsentGrant]:
    """The answers with some statements more. A time ahead is now; a confirmation that comes too late is none."""
    result = dict(answers)
    for grant in grants:
        one = grant if grant.at_ms <= now_ms else replaced(grant, at_ms=now_ms)
        if not _too_late(result, one, purposes.get(one.purpose)):
            for key in registers(one):
                result[key] = newer(result.get(key), one)
    if len(result) > ANSWERS_MAX:
        # First what no policy asks about, then what permits, oldest first: to forget is to refuse, never to permit.
        by_use = sorted(result, key=lambda key: (result[key].purpose in purposes, not result[key].granted,
                                                 result[key].at_ms, key))
        for key in by_use[:len(result) - ANSWERS_MAX]:
            del result[key]
    return result


def lapses_ms(grant: ConsentGrant, after_ms: int | None) -> int | None:
    """When a statement ends: by itself, or `after_ms` after it was made; None: never."""
    if grant.expires_at_ms is not None:
        return grant.expires_at_ms
    return None if after_ms is None else grant.at_ms + after_ms


def newer(old: ConsentGrant | None, new: ConsentGrant) -> ConsentGrant:
    """The one of two statements that a register keeps: the highest in one total order of all there can be."""
    return new if old is None else max(old, new, key=_rank)


def merged(a: Answers, b: Answers) -> dict[str, ConsentGrant]:
    """Both sides' registers, each with the statement that outranks the other."""
    result = dict(a)
    for key, answer in b.items():
        result[key] = newer(result.get(key), answer)
    return result


def _too_late(answers: Answers, grant: ConsentGrant, purpose: Purpose | None) -> bool:
    """Whether what a confirmation confirms had already lapsed. One without a request known here stands for itself."""
    if not grant.granted or grant.opt_in is not OptIn.CONFIRMED:
        return False
    pending = answers.get(key_of(grant.purpose, grant.channel, PENDING))
    if pending is None or pending.at_ms > grant.at_ms:
        return False
    until_ms = lapses_ms(pending, purpose.confirm_within_ms if purpose is not None else None)
    return until_ms is not None and grant.at_ms >= until_ms


def _rank(grant: ConsentGrant) -> tuple[Any, ...]:
    """Newest first, then the strictest; an objection before all. The rest only makes the order total."""
    objection = not grant.granted and grant.basis in OBJECTABLE
    ends_ms = grant.expires_at_ms
    return (objection, grant.at_ms, not grant.granted, ends_ms is not None, -(ends_ms or 0),
            grant.opt_in is not OptIn.CONFIRMED, grant.source, grant.proof, grant.opt_in, grant.basis)

"""The consent gate: may this purpose be pursued on this channel now, on which legal basis, and what proves it.

Everything is refused that nothing permits. Evaluated anew for every decision, with what is recorded at that moment:
whoever decides later for the same subject (a plan's assignment as much as a request) asks here again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pipeline.core.consent.answers import CONFIRMED, OBJECTABLE, PENDING, REGISTER, TCF, Answers, key_of, lapses_ms
from pipeline.core.model.definitions import Policy, Purpose
from pipeline.core.model.values import Value
from pipeline.core.model.words import Basis, ConsentGrant
from pipeline.core.rules.rule import as_json


class Verdict(Value, frozen=True):
    """`proof`: for every purpose what was found, as JSON, for the audit."""

    passed: bool
    proof: str


class Finding(Value, frozen=True):
    """What the gate found for one purpose and channel, and the statement that settled it.

    `why`: granted; or missing, refused, expired, unconfirmed, pending, pending_expired, objected, basis_not_permitted.
    """

    why: str
    answer: ConsentGrant | None = None

    @property
    def given(self) -> bool:
        return self.why == GRANTED


GRANTED: Final = "granted"
_MISSING: Final = Finding("missing")
_DAY_MS: Final = 86_400_000
_BOOL: Final = ("false", "true")


def tracked(answers: Answers, policy: Policy, channel: str, now_ms: int) -> bool:
    """Whether anything may be learnt of what the subject does on the channel ("": not known which)."""
    name = policy.tracking_purpose
    return not name or given(answers, policy.purposes[name], channel, now_ms)


def given(answers: Answers, purpose: Purpose, channel: str, now_ms: int) -> bool:
    """Whether the purpose may be pursued on the channel."""
    return found(answers, purpose, channel, now_ms).given


def found(answers: Answers, purpose: Purpose, channel: str, now_ms: int) -> Finding:
    """The first permitted basis that holds; where none does, why the first that says anything does not."""
    refusal = _MISSING
    for basis in purpose.bases:
        look = _by_consent if basis is Basis.CONSENT else _by_other
        finding = look(answers, purpose, channel, now_ms, basis)
        if finding.given:
            return finding
        if refusal is _MISSING:
            refusal = finding
    return _elsewhere(answers, purpose, channel) if refusal is _MISSING else refusal


def check(answers: Answers, purposes: Iterable[Purpose], channel: str, now_ms: int, required: bool) -> Verdict:
    """The gate: every purpose must be lawful, unless the caller does not require it."""
    passed = True
    looked_at = []
    where = as_json(channel)
    for purpose in purposes:
        finding = found(answers, purpose, channel, now_ms)
        passed = passed and finding.given
        told = "null" if finding.answer is None else _told(finding.answer, purpose)
        looked_at.append(f'{{"purpose": {as_json(purpose.id)}, "channel": {where}, "given": '
                         f'{_BOOL[finding.given]}, "why": "{finding.why}", "answer": {told}}}')
    return Verdict(passed or not required,
                   f'{{"required": {_BOOL[required]}, "purposes": [{", ".join(looked_at)}]}}')


def _by_consent(answers: Answers, purpose: Purpose, channel: str, now_ms: int, _: Basis) -> Finding:
    if channel not in purpose.double_opt_in:
        return _settled(answers, purpose, channel, "", now_ms)
    finding = _settled(answers, purpose, channel, CONFIRMED, now_ms)
    if finding is not _MISSING:
        return finding
    own, general = key_of(purpose.id, channel, PENDING), key_of(purpose.id, None, PENDING)
    pending = answers.get(own) or answers.get(general)
    if pending is not None:
        until_ms = lapses_ms(pending, purpose.confirm_within_ms)
        return Finding("pending" if until_ms is None or now_ms < until_ms else "pending_expired", pending)
    single = _settled(answers, purpose, channel, "", now_ms)
    return Finding("unconfirmed", single.answer) if single.given else single


def _by_other(answers: Answers, purpose: Purpose, channel: str, now_ms: int, basis: Basis) -> Finding:
    register = REGISTER[basis]
    if basis in OBJECTABLE:
        # A no is not got round by naming another basis: only by a later yes of the person's own.
        for name in (channel, None):
            objection = answers.get(key_of(purpose.id, name, register))
            if objection is not None and not objection.granted:
                return Finding("objected", objection)
        said = _settled(answers, purpose, channel, "", now_ms)
        if said.why == "refused":
            return said
    return _settled(answers, purpose, channel, register, now_ms)


def _settled(answers: Answers, purpose: Purpose, channel: str, register: str, now_ms: int) -> Finding:
    """What one kind of register says of a channel.

    A channel's own refusal stands whatever the general answer; a general refusal yields only to a newer grant for that
    very channel. A yes that has run out counts as none where the other answer is there.
    """
    general = _general(answers, purpose, register, now_ms)
    own = answers.get(f"{purpose.id}/{channel}{register}")
    if own is None:
        return _MISSING if general is None else Finding(_state(general, purpose, now_ms), general)
    if general is None:
        return Finding(_state(own, purpose, now_ms), own)
    if own.granted and (_state(own, purpose, now_ms) == "expired" or (
            own.at_ms <= general.at_ms and not general.granted)):
        return Finding(_state(general, purpose, now_ms), general)
    return Finding(_state(own, purpose, now_ms), own)


def _general(answers: Answers, purpose: Purpose, register: str, now_ms: int) -> ConsentGrant | None:
    """The answer for every channel: what was said exactly, and what a TC string says, whose time is a day.

    A string's yes lifts a no only where the no was said before that day; its no ends every yes up to its time.
    """
    exact = answers.get(purpose.id + register)
    string = answers.get(purpose.id + TCF) if register in ("", CONFIRMED) else None
    if string is None or (string.granted and register == CONFIRMED):
        return exact
    if exact is None:
        return string if register == "" or not string.granted else None
    if not string.granted:
        return string if string.at_ms >= exact.at_ms else exact
    if not exact.granted:
        return string if string.at_ms // _DAY_MS * _DAY_MS > exact.at_ms else exact
    # Two times yes: the one that lasts.
    return string if _state(exact, purpose, now_ms) != GRANTED else exact


def _state(answer: ConsentGrant, purpose: Purpose, now_ms: int) -> str:
    if not answer.granted:
        return "refused"
    until_ms = lapses_ms(answer, purpose.lasts_ms)
    return GRANTED if until_ms is None or now_ms < until_ms else "expired"


def _elsewhere(answers: Answers, purpose: Purpose, channel: str) -> Finding:
    """Nothing is said on a permitted basis; on another one, perhaps."""
    for basis, register in REGISTER.items():
        if basis not in purpose.bases:
            for name in (channel, None):
                answer = answers.get(key_of(purpose.id, name, register))
                if answer is not None:
                    return Finding("basis_not_permitted", answer)
    return _MISSING


def _told(answer: ConsentGrant, purpose: Purpose) -> str:
    until_ms = lapses_ms(answer, purpose.lasts_ms) if answer.granted else None
    where = "null" if answer.channel is None else as_json(answer.channel)
    return (f'{{"channel": {where}, "granted": {_BOOL[answer.granted]}, '
            f'"basis": "{answer.basis.value}", "opt_in": "{answer.opt_in.value}", "at_ms": {answer.at_ms}, '
            f'"source": {as_json(answer.source)}, "proof": {as_json(answer.proof)}, '
            f'"expires_at_ms": {"null" if until_ms is None else until_ms}}}')

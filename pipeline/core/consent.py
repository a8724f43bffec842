"""The consent gate: may this purpose be pursued on this channel now, and what proves it."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.core.rules import as_json
from pipeline.core.values import value_type
from pipeline.core.words import ConsentGrant, Scalar


@value_type(frozen=True, slots=True)
class Verdict:
    """`proof`: the answers that were looked at, as JSON, for the audit."""

    passed: bool
    proof: str


def key_of(purpose: str, channel: str | None) -> str:
    """Where a profile keeps the answer."""
    return f"{purpose}/{channel}" if channel else purpose


def given(answers: Mapping[str, ConsentGrant], purpose: str, channel: str, now_ms: int) -> bool:
    """Whether the purpose may be pursued on the channel: a missing or expired answer is a refusal.

    A channel's own refusal stands whatever the general answer; a general refusal yields only to a newer grant
    for that very channel.
    """
    general, own = answers.get(purpose), answers.get(key_of(purpose, channel))
    general_in_force = general is not None and granted(general, now_ms)
    if own is None:
        return general_in_force
    if not granted(own, now_ms):
        return False
    return general is None or general_in_force or own.at_ms > general.at_ms


def granted(answer: ConsentGrant, now_ms: int) -> bool:
    """Whether an answer is a grant that has not run out."""
    return answer.granted and (answer.expires_at_ms is None or now_ms < answer.expires_at_ms)


def check(
    answers: Mapping[str, ConsentGrant], purposes: tuple[str, ...], channel: str, now_ms: int, required: bool
) -> Verdict:
    """The gate: every purpose must be consented to, unless the caller does not require it."""
    passed = True
    looked_at = []
    for purpose in purposes:
        allowed = given(answers, purpose, channel, now_ms)
        passed = passed and allowed
        about = ", ".join(
            f'{{"channel": {_json(answer.channel)}, "granted": {_json(answer.granted)}, "at_ms": {answer.at_ms}, '
            f'"source": {_json(answer.source)}, "expires_at_ms": {_json(answer.expires_at_ms)}}}'
            for answer in (answers.get(purpose), answers.get(key_of(purpose, channel))) if answer is not None
        )
        looked_at.append(f'{{"purpose": {_json(purpose)}, "channel": {_json(channel)}, "given": {_json(allowed)}, '
                         f'"answers": [{about}]}}')
    return Verdict(passed or not required,
                   f'{{"required": {_json(required)}, "purposes": [{", ".join(looked_at)}]}}')


def _json(value: Scalar) -> str:
    return "null" if value is None else as_json(value)


def newer(old: ConsentGrant | None, new: ConsentGrant) -> ConsentGrant:
    """The answer in force of two for the same purpose and channel: the newest; at the same moment, the refusal."""
    if old is None or new.at_ms > old.at_ms:
        return new
    if new.at_ms == old.at_ms:
        if old.granted != new.granted:
            return new if old.granted else old
        return min(old, new, key=_strictness)
    return old


def _strictness(answer: ConsentGrant) -> tuple[bool, int, str]:
    return answer.expires_at_ms is None, answer.expires_at_ms or 0, answer.source


def merged(a: Mapping[str, ConsentGrant], b: Mapping[str, ConsentGrant]) -> dict[str, ConsentGrant]:
    """Both sides' answers: the newest of each; at the same moment, the strictest."""
    result = dict(a)
    for key, answer in b.items():
        result[key] = newer(result.get(key), answer)
    return result

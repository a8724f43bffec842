"""What callers and producers were told, beside what the logs say; and caps by counting alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from pipeline.codecs import avro
from pipeline.core.model.records import Decision, DecisionReply
from tests.chaos.calls import UNANSWERED, Asked, Told
from tests.chaos.logs import INPUTS, Logs
from tests.sim.oracle import CAP
from topics.catalog import BY_NAME, DECISION_REPLIES, DECISIONS, FEEDBACK_EVENTS, IDENTITY_EVENTS

#: Of many like it, so many are told.
_SHOWN_MAX = 5


def judge_callers(told: Told, logs: Logs) -> Iterator[str]:
    """What is wrong with the answers over HTTP and with accepted events."""
    replies: dict[str, DecisionReply] = {}
    for record in logs.records[DECISION_REPLIES.name]:
        reply = avro.decode(DECISION_REPLIES, record.value or b"")
        replies.setdefault(reply.request_id, reply)
    for asked in told.asked:
        wrong = _answer(asked, replies.get(asked.request_id))
        if wrong is not None:
            yield f"{wrong} ({asked.request_id})"
    kept = {event for topic in (IDENTITY_EVENTS, FEEDBACK_EVENTS) for event in _event_ids(logs, topic.name)}
    for lost in sorted(told.accepted - kept)[:_SHOWN_MAX]:
        yield f"the accepted event {lost} is not on its topic"
    for refused in told.refused[:_SHOWN_MAX]:
        yield f"an event was never accepted: {refused}"


def _answer(asked: Asked, reply: DecisionReply | None) -> str | None:
    body = asked.body
    if asked.status != 200:
        return f"no answer but {asked.status} {asked.reason}"
    if not asked.decided:
        fallback = [("welcome", True)]
        said = [(one.get("offer_id") or one.get("content_id"), one["fallback"]) for one in body["decisions"]]
        return None if body["fallback"] and said == fallback else f"not the declared fallback: {body}"
    if reply is None:
        return f"an answer that no worker gave: {body}"
    theirs: list[Any] = [body["decision_id"], body["reason"], body["fallback"], body["release"], *(
        (one.get("offer_id") or one.get("content_id"), one["variant"], one["content"]) for one in body["decisions"])]
    ours: list[Any] = [reply.decision_id, reply.reason, reply.fallback, reply.release, *(
        (one.item_id, one.variant, one.content) for one in reply.decisions)]
    return None if theirs == ours else f"the caller was told {theirs}, the reply says {ours}"


def _event_ids(logs: Logs, topic: str) -> Iterator[str]:
    for record in logs.records[topic]:
        try:
            yield avro.decode(BY_NAME[topic], record.value or b"").event_id
        except avro.CodecError:
            continue


def judge_caps(logs: Logs) -> Iterator[str]:
    """No profile was shown an item more often than its cap allows: counted over the decisions, nothing else."""
    made: dict[str, Decision] = {}
    for record in logs.records[DECISIONS.name]:
        decision = avro.decode(DECISIONS, record.value or b"")
        made.setdefault(decision.decision_id, decision)
    shown: Counter[tuple[str, str]] = Counter()
    for decision in made.values():
        shown.update((decision.profile_id, one.item_id) for one in decision.decisions if not one.fallback)
    for (profile, item), times in shown.items():
        if times > CAP:
            yield f"{profile} was shown {item} {times} times, its cap is {CAP}"
    if max(shown.values(), default=0) < CAP:
        yield "no cap was ever used up: the load shows nothing"


def judge_commits(logs: Logs) -> Iterator[str]:
    """Every input record's effects were complete in the end, and no commit took one back."""
    for topic in INPUTS:
        left = [r for r in logs.records[topic.name] if (r.topic, r.partition, r.offset) not in logs.completed_ms]
        if left:
            yield f"{len(left)} records of {topic.name} were never committed"
    yield from logs.commits_back[:_SHOWN_MAX]


def how_answered(told: Told, over_topics: dict[str, float], logs: Logs) -> dict[str, dict[str, int]]:
    """Requests by endpoint and by how they were answered."""
    http = Counter(asked.reason if asked.status == 200 else f"status {asked.status}" for asked in told.asked)
    reasons: dict[str, str] = defaultdict(lambda: "past its deadline, as it said")
    for record in logs.records[DECISION_REPLIES.name]:
        reply = avro.decode(DECISION_REPLIES, record.value or b"")
        reasons[reply.request_id] = reply.error or reply.reason
    topics = Counter(reasons[name] for name in over_topics)
    fallbacks = sum(http[reason] for reason in UNANSWERED)
    return {
        "http": dict(http.most_common()), "over topics": dict(topics.most_common()),
        "summary": {"decided over http": sum(http.values()) - fallbacks, "declared fallbacks": fallbacks,
                    "over topics": len(over_topics)},
    }

"""The load generator, a process of its own: `python -m bench.client ORDER`, the order and the result as JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench import echo
from bench.http_target import HttpTarget
from bench.inputs import Encoded, Subjects
from bench.open_loop import Target, arrivals, drive
from bench.topic_target import TopicTarget
from pipeline.bridge.asking import CIRCUIT_OPEN, DEADLINE, PIPELINE_UNAVAILABLE
from pipeline.codecs import avro
from pipeline.settings import Settings
from topics.catalog import DECISION_REPLIES, DECISION_REQUESTS

#: The partition of the replies that this client reads.
REPLY_PARTITION: Final = 0

#: The bridge's own answers where the pipeline gave none in time: declared fallbacks to a caller, errors here.
UNDECIDED: Final = (DEADLINE, CIRCUIT_OPEN, PIPELINE_UNAVAILABLE)

ECHO: Final = "echo"
TOPICS: Final = "decide over topics"
BRIDGE: Final = "decide"
NULL: Final = "null worker"


@dataclass(frozen=True, slots=True)
class Order:
    """What to send where."""

    target: str
    bootstrap: str
    http_port: int
    rate: int
    seconds: float
    warm_s: float
    subjects: int
    #: The number of the first request: it says which subjects are asked for.
    first: int
    seed: int
    result: str


@dataclass(frozen=True, slots=True)
class Result:
    """What came back, as it lies in the result's file."""

    latencies_ms: list[float]
    late_ms: list[float]
    errors: dict[str, int]
    #: Answers by the reason they give.
    reasons: dict[str, int]
    #: Those that are the declared fallback, by reason.
    fallbacks: dict[str, int]


def run(order: Order) -> Result:
    """Send the order's load; returns what came back."""
    due = arrivals(order.rate, order.seconds + order.warm_s, order.seed)
    settings = Settings(bootstrap=order.bootstrap)
    subjects = Subjects(settings, "asking", order.subjects)
    driven = drive(_target(order, settings, subjects, range(order.first, order.first + len(due))), due, order.warm_s)
    if order.target == ECHO:
        return Result(driven.latencies_ms, driven.late_ms, driven.errors, {}, {})
    answers = [_answer(order.target, body) for body in driven.bodies]
    decided = [reason not in UNDECIDED for reason, _ in answers]
    undecided = Counter(f"answered by the bridge: {reason}" for reason, _ in answers if reason in UNDECIDED)
    return Result(
        [ms for ms, counted in zip(driven.latencies_ms, decided, strict=True) if counted],
        driven.late_ms,
        dict(Counter(driven.errors) + undecided),
        dict(Counter(reason for reason, _ in answers)),
        dict(Counter(reason for reason, fallback in answers if fallback)),
    )


def _target(order: Order, settings: Settings, subjects: Subjects, numbers: range) -> Target:
    if order.target in (BRIDGE, NULL):
        return HttpTarget(order.http_port, list(subjects.bodies(numbers)))
    requests = list(subjects.requests(f"{order.target}-{order.seed}", numbers, REPLY_PARTITION))
    if order.target == ECHO:
        # An echo comes back under its own key: the id, where a decision's reply has it.
        keyed = [(request_id, Encoded(request_id.encode(), record.value)) for request_id, record in requests]
        return TopicTarget(settings, keyed, echo.ASK, echo.REPLY, REPLY_PARTITION)
    return TopicTarget(settings, requests, DECISION_REQUESTS.name, DECISION_REPLIES.name, REPLY_PARTITION)


def _answer(target: str, body: bytes) -> tuple[str, bool]:
    """Why the answer is as it is, and whether it is the fallback."""
    if target in (BRIDGE, NULL):
        reply = json.loads(body)
        return reply["reason"], reply["fallback"]
    decoded = avro.decode(DECISION_REPLIES, body)
    return decoded.error or decoded.reason, decoded.fallback


if __name__ == "__main__":
    given = Order(**json.loads(sys.argv[1]))
    sys.setswitchinterval(0.0005)
    Path(given.result).write_text(json.dumps(asdict(run(given))), "utf-8")

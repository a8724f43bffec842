"""One record at a time through one of the endpoints, and what the caller was told. Bodies as a site would send them."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pipeline.bridge.asking import CIRCUIT_OPEN, DEADLINE, PIPELINE_UNAVAILABLE
from pipeline.core.model.records import DecisionRequest, IdentityEvent
from tests.chaos.families import Family, Value, key_of
from tests.chaos.http import Http
from topics.partitions import subject_partition

#: The bridge's own answers, with the declared fallback, where the pipeline gave none in time.
UNANSWERED: Final = (DEADLINE, CIRCUIT_OPEN, PIPELINE_UNAVAILABLE)

#: A producer that was told "not taken" sends again, the same event under the same id, as it is told to.
ATTEMPTS_MAX: Final = 20
AGAIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One decide request over HTTP and its answer. Times are epoch ms; `due_ms`: when it should have been sent."""

    request_id: str
    partition: int
    due_ms: float
    at_ms: float
    status: int
    body: dict[str, Any]

    @property
    def reason(self) -> str:
        """Why it is what it is; the error's text where there is no answer."""
        return str(self.body.get("reason", self.body.get("title", self.body.get("error"))))

    @property
    def decided(self) -> bool:
        """Whether a worker gave it."""
        return self.status == 200 and self.reason not in UNANSWERED


@dataclass
class Told:
    """What callers and producers were told."""

    asked: list[Asked] = field(default_factory=list)
    #: Ids of events that a bridge answered for with "accepted".
    accepted: set[str] = field(default_factory=set)
    #: Event id and answer where one was never accepted.
    refused: list[str] = field(default_factory=list)
    sent_again: int = 0


async def decide(http: Http, family: Family, request: DecisionRequest, due_ms: float, told: Told) -> None:
    """Ask, and note the answer."""
    raw = family.raw_ids()[request.subject]
    body = {
        "request_id": request.request_id, "subject": {"id": raw},
        "context": {"channel": request.channel, "placement": request.placements[0]},
    }
    try:
        status, answer = await http.post("/personalization/decide", json.dumps(body).encode())
        said: dict[str, Any] = json.loads(answer)
    except (OSError, ValueError) as error:
        status, said = 0, {"error": repr(error)}
    partition = subject_partition(key_of(raw).encode())
    told.asked.append(Asked(request.request_id, partition, due_ms, time.time() * 1000, status, said))


async def report(http: Http, family: Family, event: Value, told: Told) -> None:
    """Send an event, again where it was not taken, until it is accepted."""
    assert not isinstance(event, DecisionRequest)
    body = json.dumps(_segment(family, event)).encode()
    said = ""
    for attempt in range(ATTEMPTS_MAX):
        told.sent_again += attempt > 0
        try:
            status, answer = await http.post("/v1/events", body)
            said = f"{status} {answer[:200]!r}"
        except OSError as error:
            status, said = 0, repr(error)
        if status == 202:
            told.accepted.add(event.event_id)
            return
        if status not in (0, 429, 503):
            break
        await asyncio.sleep(AGAIN_S)
    told.refused.append(f"{event.event_id}: {said}")


def _segment(family: Family, event: Value) -> dict[str, Any]:
    assert not isinstance(event, DecisionRequest)
    raw = family.raw_ids()
    body: dict[str, Any] = {
        "messageId": event.event_id,
        "timestamp": datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
    }
    if not isinstance(event, IdentityEvent):
        properties = {"item_id": event.item_id, "channel": event.channel}
        return body | {"type": "track", "event": "click", "userId": raw[event.subject], "properties": properties}
    if event.alias_of:
        ids = {"userId": raw[event.alias_of], "previousId": raw[event.subject], "previousIdType": "user_id"}
        return body | {"type": "alias", **ids}
    consent = {"categoryPreferences": {grant.purpose: grant.granted for grant in event.consent}}
    return body | {
        "type": "identify", "userId": raw[event.subject], "traits": event.traits,
        **({"context": {"consent": consent}} if event.consent else {}),
    }

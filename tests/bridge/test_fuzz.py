"""Whatever is sent, nothing is ever a bug: each answer is one of those documented, and only good JSON comes back."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bridge.pipeline_double import BridgeDouble

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
IDS = st.sampled_from(["ann", "ben", "0", "null", "", "a@example.com"]) | st.text(max_size=30) | st.integers()
ANYTHING = JSON | IDS


def shaped(required: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]]) -> Any:
    """Mostly of the right shape, so that the checks behind the first one are reached."""
    return st.fixed_dictionaries(
        {name: strategy | ANYTHING for name, strategy in required.items()},
        optional={name: strategy | ANYTHING for name, strategy in optional.items()},
    )


DECIDE_BODIES = shaped(
    {
        "subject": shaped({"id": IDS}, {"type": st.sampled_from(["email", "phone", "device"]), "tenant_id": IDS}),
        "context": shaped(
            {"channel": st.just("web"), "placement": st.just("hero")},
            {"placements": st.lists(st.just("hero")), "scenario": st.text(max_size=5),
             "attributes": st.dictionaries(st.text(max_size=8), JSON, max_size=3)},
        ),
    },
    {"constraints": shaped({}, {"max_variants": st.integers(), "require_consent": st.booleans()}), "request_id": IDS},
)
MOMENTS = st.integers() | st.sampled_from(
    ["2026-01-01T00:00:00Z", "1969-01-01", "9999-12-31T23:59:59", "0001-01-01T00:00:00", 0, 1e300, "soon"]
)
EVENTS = shaped(
    {"type": st.sampled_from(["identify", "track", "page", "alias"]), "userId": IDS},
    {
        "anonymousId": IDS, "previousId": IDS, "previousIdType": st.sampled_from(["user_id", "email"]),
        "event": st.sampled_from(["click", "view", "Order Completed"]) | st.text(max_size=9),
        "messageId": st.text(max_size=9), "timestamp": MOMENTS, "sentAt": MOMENTS, "originalTimestamp": MOMENTS,
        "traits": st.dictionaries(st.sampled_from(["email", "phone", "company", "name", "plan"]), ANYTHING, max_size=4),
        "properties": st.dictionaries(
            st.sampled_from(["item_id", "value", "revenue", "channel", "url", "path"]) | st.text(max_size=5), ANYTHING,
            max_size=5,
        ),
        "context": shaped({}, {
            "consent": shaped({}, {"categoryPreferences": st.dictionaries(st.text(max_size=9), st.booleans())}),
            "library": JSON, "device": JSON, "groupId": IDS,
        }),
    },
)
BATCHES = shaped({"batch": st.lists(EVENTS, max_size=4)}, {"sentAt": MOMENTS, "context": JSON})
HEADERS = st.dictionaries(
    st.sampled_from(["Idempotency-Key", "X-Deadline-Ms", "X-Tenant-Id", "traceparent", "Content-Length"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20).map(lambda text: text.encode("latin-1"))
    | st.sampled_from([b"1", b"50", b"default"]),
    max_size=2,
)


@cache
def bridge() -> BridgeDouble:
    """One for all examples: building it costs more than asking it."""
    return BridgeDouble(Path(mkdtemp()), deadline_ms=50)


def answer(path: str, body: bytes, headers: dict[str, bytes] | None = None) -> httpx.Response:
    async def post() -> httpx.Response:
        async with bridge().client() as client:
            sent = [(b"Content-Type", b"application/json"), *((k.encode(), v) for k, v in (headers or {}).items())]
            return await client.post(path, content=body, headers=sent)

    return asyncio.run(post())


def check(reply: httpx.Response, good: int) -> None:
    assert reply.status_code in (good, 400, 404, 413, 422, 429), reply.text
    told = json.loads(reply.content, parse_constant=lambda name: 1 / 0)
    if reply.status_code != good:
        assert told["type"].startswith("/problems/") and told["detail"]


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@settings(max_examples=300, deadline=None)
@given(DECIDE_BODIES.map(as_json) | JSON.map(as_json), HEADERS)
def test_any_decision_request_is_answered_or_refused(body: bytes, headers: dict[str, bytes]) -> None:
    check(answer("/personalization/decide", body, headers), 200)


@settings(max_examples=300, deadline=None)
@given(EVENTS.map(as_json) | BATCHES.map(as_json) | JSON.map(as_json), HEADERS)
def test_any_events_are_taken_or_refused(body: bytes, headers: dict[str, bytes]) -> None:
    check(answer("/v1/events", body, headers), 202)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["/personalization/decide", "/v1/events"]), st.binary(max_size=100))
def test_any_bytes_are_refused_or_taken(path: str, body: bytes) -> None:
    check(answer(path, body), 202 if path == "/v1/events" else 200)

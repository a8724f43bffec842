"""The odd inputs, round by round: HTTP by the OpenAPI document, shaped bodies, records on every input topic,
publications, and beside them subjects whose every click must be counted once.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings

from pipeline.codecs import avro
from pipeline.core.model.records import (
    CatalogItem,
    DecisionRequest,
    FeedbackEvent,
    FeedbackKind,
    IdentityEvent,
    PolicyRelease,
)
from pipeline.core.model.records import IdentityKind as Kind
from tests.bridge.test_fuzz import BATCHES, DECIDE_BODIES, EVENTS
from tests.fuzz.installation import TENANT, Broken, Installation
from topics.catalog import (
    CATALOG_ITEMS,
    DECISION_REQUESTS,
    ERASURE_REQUESTS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    POLICY_RELEASES,
    PROFILE_INBOX,
    Topic,
)

INPUTS: Final = (IDENTITY_EVENTS, FEEDBACK_EVENTS, DECISION_REQUESTS, PROFILE_INBOX, CATALOG_ITEMS, POLICY_RELEASES,
                 ERASURE_REQUESTS)
_BOUNDS: Final[list[Any]] = [
    0, -1, 2**53, 2**63 - 1, -(2**63), 1e308, -1e308, 5e-324, "", "x" * 1_024, "\U0001f600", "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z", "999999999999999999m", True, None, "\x00", "null", "{{ profile.plan }}"]
#: Of HTTP these are the answers to what came while a worker was not there yet; everything else of the 500s is a bug.
_EVERY_TIME: Final = settings(deadline=None, database=None, phases=(Phase.generate,),
                            suppress_health_check=list(HealthCheck))


class Rounds:
    """One source of chance for all of them. `calls`, `records`: how much was tried."""

    def __init__(self, there: Installation, chance: random.Random, examples: int = 60) -> None:
        """`examples`: of each operation and shape, in a round."""
        self._there = there
        self._settings = settings(_EVERY_TIME, max_examples=examples)
        self._chance = chance
        self._document = there.http.get("/openapi.json").json()
        self.calls = 0
        self.records = 0
        self._clean = 0

    def one(self) -> None:
        """One round. Raises Broken."""
        self.counted_once()
        for play in (self._by_the_document, self._by_shape, self._records, self._publications):
            play()
            self._there.check()
        self.counted_once()

    # -- HTTP ---------------------------------------------------------------------------------------------------

    def _by_the_document(self) -> None:
        schema = schemathesis.openapi.from_dict(self._document)
        operations: list[Any] = [one.ok() for one in schema.get_all_operations()]  # type: ignore[union-attr]
        for operation in self._chance.sample(operations, k=min(8, len(operations))):
            @seed(self._chance.randrange(2**32))
            @self._settings
            @given(operation.as_strategy())
            def call(case: Any) -> None:
                answer = case.as_transport_kwargs(base_url=str(self._there.http.base_url))
                self._ask(answer["method"], answer["url"], **{
                    name: value for name, value in answer.items()
                    if name in ("json", "data", "headers", "params") and value is not None})

            call()

    def _by_shape(self) -> None:
        for path, strategy in (("/v1/events", EVENTS), ("/v1/events", BATCHES), ("/v1/batch", BATCHES),
                               ("/personalization/decide", DECIDE_BODIES)):
            self._shaped(path, strategy)

    def _shaped(self, path: str, strategy: Any) -> None:
        @seed(self._chance.randrange(2**32))
        @self._settings
        @given(strategy)
        def call(body: Any) -> None:
            try:
                content = json.dumps(body).encode()
            except (ValueError, UnicodeEncodeError):
                return
            self._ask("POST", path, content=content, headers={"Content-Type": "application/json"})

        call()

    def _ask(self, method: str, url: str, **more: Any) -> None:
        if "data" in more:
            more["content"] = more.pop("data")
        if isinstance(more.get("content"), dict):
            more["content"] = json.dumps(more["content"]).encode()
        try:
            answer = self._there.http.request(method, url, **more)
        except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeError, TypeError, ValueError):
            return  # no client could send it
        except httpx.RemoteProtocolError as error:
            raise Broken(f"{method} {url} got no answer: {error}; sent {str(more)[:500]}") from error
        self.calls += 1
        if "/readyz" in url and answer.status_code == 503 and "has no live policy" in answer.text:
            return  # as asked: of a tenant that does not exist
        if answer.status_code >= 500:
            raise Broken(f"{method} {url} got {answer.status_code}: {answer.text[:500]}; sent {str(more)[:800]}")

    # -- Kafka --------------------------------------------------------------------------------------------------

    def _records(self) -> None:
        for _ in range(400):
            topic = self._chance.choice(INPUTS)
            value = self._value(topic)
            key = self._key(value)
            self._send(topic, key, value)
        self._flush()

    def _value(self, topic: Topic) -> bytes | None:
        chance = self._chance
        kind = chance.randrange(6)
        if kind == 0:
            return chance.choice([None, b"", b"\x00", b"{}", b"[" * 50_000, chance.randbytes(chance.randrange(2_000))])
        good = self._good(topic)
        if kind < 3 or not good:
            return good
        data = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data[:chance.randrange(len(data))] if kind == 3 else data)

    def _good(self, topic: Topic) -> bytes:
        chance = self._chance
        name, bound = f"s{chance.randrange(30)}", chance.choice(_BOUNDS)
        subject = f"{TENANT}/{name}"
        at_ms = chance.choice([0, 1, 1_790_000_000_000, 253_402_300_799_999])
        id_ = f"f{chance.randrange(10**9)}"
        values: dict[str, Any] = {
            IDENTITY_EVENTS.name: IdentityEvent(
                id_, subject, chance.choice(list(Kind)), at_ms, {"plan": bound, "x": bound},
                alias_of=f"{TENANT}/s{chance.randrange(30)}", subject_type=chance.choice(["", "user_id", "device"])),
            FEEDBACK_EVENTS.name: FeedbackEvent(
                id_, subject, chance.choice(list(FeedbackKind)), at_ms, "n", chance.choice(["upgrade", "x" * 99, ""]),
                properties={"p": bound}, value=chance.choice([None, 0.0, 1e308])),
            DECISION_REQUESTS.name: DecisionRequest(
                id_, subject, chance.choice(["web", "fax"]), chance.choice([["hero"], [], ["x"]]),
                max_variants=chance.choice([1, 0, 100, 2**31 - 1]), attributes={"page": bound}),
            CATALOG_ITEMS.name: CatalogItem(TENANT, f"odd{chance.randrange(5)}", json.dumps(
                {"kind": "offer", "placements": ["nowhere"], "variants": {"default": {}}, "priority": bound})),
            POLICY_RELEASES.name: PolicyRelease(TENANT, f"odd{chance.randrange(5)}", chance.choice(["[" * 9, "{}"]), 1),
        }
        value = values.get(topic.name)
        try:
            return b"" if value is None else avro.encode(topic, value)
        except avro.CodecError:
            return b""

    def _key(self, value: bytes | None) -> bytes | None:
        choice = self._chance.randrange(5)
        if choice == 0:
            return self._chance.choice([None, b"", b"\xff\xfe", b"nokey", b"k" * 5_000])
        return f"{TENANT}/s{self._chance.randrange(30)}".encode()

    def _publications(self) -> None:
        """Odd items and releases: what is live stays so."""
        for _ in range(20):
            body = json.dumps({name: self._chance.choice(_BOUNDS) for name in ("kind", "variants", "priority", "tags")})
            self._send(CATALOG_ITEMS, f"{TENANT}/odd".encode(), avro.encode(
                CATALOG_ITEMS, CatalogItem(TENANT, "odd", body)))
            release = PolicyRelease(TENANT, "odd", self._chance.choice([body, "[" * 100_000, "\x00"]), 1)
            self._send(POLICY_RELEASES, f"{TENANT}/odd".encode(), avro.encode(POLICY_RELEASES, release))
            self._send(POLICY_RELEASES, f"{TENANT}/@active".encode(), avro.encode(
                POLICY_RELEASES, PolicyRelease(TENANT, "odd", "", 1)))
        self._flush()

    def _send(self, topic: Topic, key: bytes | None, value: bytes | None) -> None:
        self._there.client.send(topic, key, value)
        self.records += 1

    def _flush(self) -> None:
        client = self._there.client
        if client.producer.flush(60):
            raise Broken("the broker did not take every record within a minute")
        # What the broker itself refuses (no key on a compacted topic) never comes in.
        client.refused.clear()

    # -- what must come out ------------------------------------------------------------------------------------------

    def counted_once(self) -> None:
        """A new subject whose clicks are sent in batches, each of them twice, is decided for and counted exactly."""
        self._clean += 1
        user, http = f"clean-{self._clean}-{self._chance.randrange(10**6)}", self._there.http
        yes = {"type": "identify", "userId": user, "messageId": f"{user}-yes",
               "context": {"consent": {"categoryPreferences": {"personalization": True}}}}
        _must(http.post("/v1/events", json=yes), 202)
        batch = {"batch": [{"type": "track", "event": "click", "userId": user, "messageId": f"{user}-{number}",
                            "properties": {"item_id": "upgrade"}} for number in range(150)]}
        for _ in range(2):
            _must(http.post("/v1/events", json=batch), 202)
        question = {"subject": {"id": user}, "context": {"channel": "web", "placement": "hero"}}
        answer = _must(http.post("/personalization/decide", json=question), 200)
        if answer["reason"] != "decided":
            raise Broken(f"{user} agreed and got {answer['reason']}")
        _until(lambda: self._there.clicks(user), 150, f"clicks of {user}")


def _must(answer: httpx.Response, status: int) -> dict[str, Any]:
    if answer.status_code != status:
        raise Broken(f"{answer.request.url} got {answer.status_code}: {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found


def _until(count: Callable[[], int], wanted: int, what: str) -> None:
    end_s = time.monotonic() + 30
    while (found := count()) != wanted:
        if time.monotonic() > end_s or found > wanted:
            raise Broken(f"{what}: {found} were counted, not {wanted}")
        time.sleep(0.2)

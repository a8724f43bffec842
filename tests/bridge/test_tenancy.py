"""Tenants beside each other at one bridge: keys, quotas, readiness, metrics, and a noisy one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipeline.access import ApiKeysError, QuotasError
from pipeline.bridge.api_keys import ApiKeys
from pipeline.bridge.metrics import TENANTS_SHOWN_MAX, BridgeMetrics
from pipeline.bridge.problems import Problem
from pipeline.bridge.quotas import UNNAMED_MAX, Quotas
from pipeline.ports import Outbound
from tests.bridge.pipeline_double import BridgeDouble, WireDouble, decide_body
from tests.support import shop

pytestmark = pytest.mark.anyio

DECIDE, EVENTS = "/personalization/decide", "/v1/events"


def two_tenants(tmp_path: Path, **settings: Any) -> BridgeDouble:
    published = (*shop.publication(tmp_path, tenant="loud"), *shop.publication(tmp_path, tenant="calm"))
    bridge = BridgeDouble(tmp_path, published, tenant="calm", **settings)
    bridge.workers.stuck = frozenset()
    return bridge


def body_of(tenant: str | None, user: str = "ann") -> dict[str, Any]:
    body = decide_body(user)
    if tenant is not None:
        body["subject"]["tenant_id"] = tenant
    return body


async def test_a_key_s_tenant_is_the_only_one_it_speaks_for(tmp_path: Path) -> None:
    bridge = two_tenants(tmp_path, api_keys="l=decide events:write tenant:loud,c=decide,every=decide tenant:*")
    async with bridge.client() as client:
        async def ask(key: str, tenant: str | None) -> Any:
            return await client.post(DECIDE, json=body_of(tenant), headers={"X-Api-Key": key})

        assert (await ask("l", None)).status_code == 200
        assert bridge.requests()[-1].subject.startswith("loud/")
        assert (await ask("l", "loud")).status_code == 200
        refused = await ask("l", "calm")
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
        assert "belongs to the tenant loud" in refused.json()["detail"]
        assert (await ask("c", "loud")).status_code == 403, "a key without a tenant is the default one's"
        assert [(await ask("every", name)).status_code for name in ("loud", "calm", None)] == [200, 200, 200]
        event = {"type": "track", "userId": "ann", "event": "x"}
        sent = [(await client.post(EVENTS, json=event, headers={"X-Api-Key": "l", **more})).status_code
                for more in ({}, {"X-Tenant-Id": "loud"}, {"X-Tenant-Id": "calm"})]
        assert sent == [202, 202, 403]
        assert {one.subject.partition("/")[0] for one in bridge.events()} == {"loud"}


async def test_a_quota_is_told_by_name_and_holds_for_its_tenant_alone(tmp_path: Path) -> None:
    bridge = two_tenants(tmp_path, tenant_quotas="loud=decisions:2 events:3, *=decisions:100")
    async with bridge.client() as client:
        codes = [(await client.post(DECIDE, json=body_of("loud"))).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        refused = await client.post(DECIDE, json=body_of("loud"))
        told = refused.json()
        assert (told["type"], told["quota"], told["limit"]) == ("/problems/quota-exceeded", "decisions", 2)
        assert refused.headers["Retry-After"] == "1"
        assert (await client.post(DECIDE, json=body_of("calm"))).status_code == 200
        bridge.clock.at_ms += 1_000
        assert (await client.post(DECIDE, json=body_of("loud"))).status_code == 200
        batch = {"batch": [{"type": "track", "userId": "ann", "event": "x"}] * 9}
        codes = []
        for _ in range(3):
            codes.append((await client.post(EVENTS, json=batch, headers={"X-Tenant-Id": "loud"})).status_code)
            bridge.clock.at_ms += 1_000
        assert codes == [202, 429, 429], "a batch is taken whole, and paid for after"
        bridge.clock.at_ms += 1_000
        assert (await client.post(EVENTS, json=batch, headers={"X-Tenant-Id": "loud"})).status_code == 202
        metrics = (await client.get("/metrics")).text
        assert 'tenant_requests_total{kind="decision",outcome="over_quota",tenant="loud"} 2.0' in metrics
        assert 'tenant_requests_total{kind="event",outcome="accepted",tenant="loud"} 18.0' in metrics
        assert 'tenant_requests_total{kind="event",outcome="over_quota",tenant="loud"} 18.0' in metrics


async def test_what_is_under_way_counts_until_it_is_answered(tmp_path: Path) -> None:
    bridge = two_tenants(tmp_path, tenant_quotas="loud=in_flight:2", deadline_ms=50)
    bridge.wire.mode = "is silent"
    async with bridge.client() as client:
        answers = await asyncio.gather(*(client.post(DECIDE, json=body_of("loud", f"u{n}")) for n in range(5)))
        assert sorted(one.status_code for one in answers) == [200, 200, 429, 429, 429]
        assert {one.json()["quota"] for one in answers if one.status_code == 429} == {"in_flight"}
        assert (await client.post(DECIDE, json=body_of("loud"))).status_code == 200, "given back at the deadline"


async def test_a_bridge_is_ready_for_whom_it_has_a_policy(tmp_path: Path) -> None:
    bridge = two_tenants(tmp_path)
    async with bridge.client() as client:
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/readyz?tenant=loud")).status_code == 200
        unready = await client.get("/readyz?tenant=other")
        assert unready.status_code == 503 and "tenant other has no live policy" in unready.json()["detail"]
    empty = BridgeDouble(tmp_path, ())
    async with empty.client() as client:
        assert "no tenant has a live policy" in (await client.get("/readyz")).json()["detail"]


class OneByOne(WireDouble):
    """Works through what it is sent in order, each record in its time by the pipeline's clock, as an owner does."""

    SERVICE_MS = 4

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.queue: list[tuple[int, Outbound]] = []
        self._free_ms = 0
        self.took_ms: list[int] = []

    def send(self, record: Outbound, undelivered: Any) -> None:
        now_ms = self.pipeline.clock.at_ms
        self._free_ms = max(self._free_ms, now_ms) + self.SERVICE_MS
        self.queue.append((self._free_ms, record))
        if record.key.startswith(b"calm/"):
            self.took_ms.append(self._free_ms - now_ms)

    def work(self) -> None:
        """Everything that is done by now."""
        while self.queue and self.queue[0][0] <= self.pipeline.clock.at_ms:
            self.deliver(self.queue.pop(0)[1])
        self.hand_over()


async def _p95_of_calm_ms(tmp_path: Path, flood: bool, **settings: Any) -> int:
    """The calm tenant's 95th percentile, 50 requests a second, while the loud one floods at 500 a second. The pipeline
    could do 250. Time is the pipeline's, so that the test's own cost is none of it."""
    bridge = two_tenants(tmp_path, deadline_ms=60_000, max_in_flight=2_000, **settings)
    wire = OneByOne(bridge.pipeline)
    wire.asker, bridge.asker._wire = bridge.asker, wire
    codes: list[int] = []
    async with bridge.client() as client, asyncio.TaskGroup() as tasks:
        async def ask(tenant: str, number: int) -> None:
            codes.append((await client.post(DECIDE, json=body_of(tenant, f"u{number}"))).status_code)

        for tick in range(800):
            if tick < 500:
                if tick % 20 == 0:
                    tasks.create_task(ask("calm", tick))
                if flood and tick % 2 == 0:
                    tasks.create_task(ask("loud", tick))
            for _ in range(20):
                await asyncio.sleep(0)
            bridge.clock.at_ms += 1
            wire.work()
        while wire.queue:
            bridge.clock.at_ms = wire.queue[-1][0]
            wire.work()
    assert len(wire.took_ms) == 25 and codes.count(200) >= 25, "the calm one is always answered"
    assert not (flood and settings) or codes.count(429) > 150, "most of the flood is refused at the endpoint"
    return sorted(wire.took_ms)[int(len(wire.took_ms) * 0.95)]


async def test_a_tenant_that_floods_at_ten_times_its_quota_does_not_starve_another(tmp_path: Path) -> None:
    quiet_ms = await _p95_of_calm_ms(tmp_path / "a", flood=False)
    kept_ms = await _p95_of_calm_ms(tmp_path / "b", flood=True, tenant_quotas="loud=decisions:50 in_flight:2")
    starved_ms = await _p95_of_calm_ms(tmp_path / "c", flood=True)
    assert quiet_ms == OneByOne.SERVICE_MS
    assert kept_ms <= quiet_ms + 2 * OneByOne.SERVICE_MS, "no more lie before it than may be under way"
    assert starved_ms > 20 * kept_ms, "without a quota it waits behind the whole flood"


@pytest.mark.parametrize(("setting", "said"), [
    ("loud", "quota 1: write it as tenant=decisions:200"), ("loud=decisions:0", "quota 1"), ("=decisions:1", "quota 1"),
    ("a=decisions:1,a=events:1", "quota 2: a has one already"), ("a/b=decisions:1", "quota 1: a tenant is 1 to 63"),
    ("a=requests:5", "quota 1"),
])
def test_a_quota_that_cannot_be_read_is_said(setting: str, said: str) -> None:
    with pytest.raises(QuotasError, match=said):
        Quotas(setting, lambda: 0.0)


@pytest.mark.parametrize(("setting", "said"), [
    ("k=decide tenant:a tenant:b", "API key 1 belongs to one tenant"), ("k=tenant:a", "none at all"),
    ("k=decide tenant:a/b", "API key 1: a tenant is"),
])
def test_a_key_of_no_usable_tenant_is_said(setting: str, said: str) -> None:
    with pytest.raises(ApiKeysError, match=said):
        ApiKeys(setting, "shop")


def test_tenants_remembered_and_shown_are_bounded() -> None:
    quotas = Quotas("*=decisions:1,named=decisions:1", lambda: 0.0)
    with quotas.deciding("named"):
        for number in range(UNNAMED_MAX * 2):
            with quotas.deciding(f"t{number}"):
                pass
    assert len(quotas._usage) <= UNNAMED_MAX + 2
    with pytest.raises(Problem), quotas.deciding("named"):
        pass
    metrics = BridgeMetrics()
    for number in range(TENANTS_SHOWN_MAX * 2):
        metrics.of_tenant(f"t{number}", "decision", "decided")
    assert metrics.text().count(b"nextbest_bridge_tenant_requests_total{") == TENANTS_SHOWN_MAX + 1
    assert b'outcome="decided",tenant="_other"} 50.0' in metrics.text()

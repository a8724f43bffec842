"""The tenant's key is changed while callers and producers go on, bridge by bridge: nobody is taken for a new person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from pipeline.core.subject import Person
from pipeline.settings import Settings
from tests.bridge.pipeline_double import BridgeDouble, decide_body

pytestmark = pytest.mark.anyio

EVENTS = "/v1/events"


@pytest.fixture
def before(tmp_path: Path) -> BridgeDouble:
    return BridgeDouble(tmp_path / "policy", tenant_key="old")


def restarted(before: BridgeDouble, tmp_path: Path, keys: str) -> BridgeDouble:
    return BridgeDouble(tmp_path / "policy", (), beside=before, tenant_key=keys)


async def says(bridge: BridgeDouble, **event: Any) -> httpx.Response:
    async with bridge.client() as client:
        return await client.post(EVENTS, json=event)


async def asks(bridge: BridgeDouble, **more: Any) -> dict[str, Any]:
    async with bridge.client() as client:
        reply = await client.post("/personalization/decide", json=decide_body() | more)
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        return body


async def identifies(bridge: BridgeDouble, granted: bool = True) -> None:
    consent = {"consent": {"categoryPreferences": {"personalization": granted}}}
    reply = await says(bridge, type="identify", userId="ann", traits={"email": "ann@example.com"}, context=consent)
    assert reply.status_code == 202, reply.text


async def test_consent_and_caps_hold_across_a_rolling_restart(before: BridgeDouble, tmp_path: Path) -> None:
    after = restarted(before, tmp_path, "new,old")
    await identifies(before)
    shown = [(await asks(bridge))["decisions"][0].get("offer_id") for bridge in (before, after, before, after)]
    assert shown == ["upgrade", "upgrade", None, None], "twice a day, whichever bridge asks"
    await identifies(after, granted=False)
    assert (await asks(before))["reason"] == "no_consent", "the very next decision, at a bridge on the old setting too"
    alone = restarted(after, tmp_path, "new")
    assert (await asks(alone))["reason"] == "no_consent"
    mail = await asks(alone, subject={"id": "ann@example.com", "type": "email"})
    assert mail["reason"] == "no_consent"
    key = after.subject("ann")
    assert key != before.subject("ann") and after.pipeline.state(before.subject("ann")).to == key
    assert isinstance(after.pipeline.state(key), Person)


async def test_a_retry_at_a_restarted_bridge_gets_the_first_answer(before: BridgeDouble, tmp_path: Path) -> None:
    after = restarted(before, tmp_path, "new,old")
    await identifies(before)
    first = await asks(before, request_id="r1")
    assert await asks(after, request_id="r1") == first == await asks(before, request_id="r1")


async def test_an_account_is_one_under_both_keys(before: BridgeDouble, tmp_path: Path) -> None:
    after = restarted(before, tmp_path, "new,old")
    for bridge, traits in ((before, {"plan": "pro"}), (after, {"employees": 5})):
        reply = await says(bridge, type="group", userId="ann", groupId="acme", traits=traits)
        assert reply.status_code == 202, reply.text
    [(key, member)] = after.pipeline.state(after.subject("ann")).accounts.items()
    account = after.pipeline.state(key)
    assert {name: trait.value for name, trait in account.traits.items()} == {"plan": "pro", "employees": 5}
    assert not member.left


@pytest.mark.parametrize("keys", ["", ",", "new,", "new,new", "a,b,c,d,e"])
def test_a_setting_that_could_hash_wrongly_is_refused(keys: str) -> None:
    with pytest.raises(ValidationError, match="1 to 4 different keys" if keys else "is empty"):
        Settings(tenant_key=keys)


def test_blanks_around_a_key_are_no_part_of_it() -> None:
    assert Settings(tenant_key=" new , old").tenant_keys == (b"new", b"old")

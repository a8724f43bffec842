"""What real clients send: browsers, and the official clients of Segment and RudderStack, unchanged."""

from __future__ import annotations

import asyncio
import base64
import gzip
import http.server
import json
import shutil
import subprocess
import threading
import tracemalloc
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.bridge.operations import SEGMENT_PATHS
from pipeline.core.model.records import FeedbackEvent, FeedbackKind, IdentityEvent, IdentityKind
from tests.bridge.pipeline_double import BridgeDouble, decide_body, served
from tests.support import shop

pytestmark = pytest.mark.anyio

CLIENTS = Path(__file__).parents[1] / "clients"
DECIDE, EVENTS = "/personalization/decide", "/v1/events"
SHOP = "https://shop.example"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NODE, NPM = shutil.which("node"), shutil.which("npm")


def event(type_: str = "track", **more: Any) -> dict[str, Any]:
    named = {"event": "click"} if type_ == "track" else {}
    return {"type": type_, "messageId": f"m-{type_}", "userId": "ann", **named, **more}


# -- browsers ----------------------------------------------------------------------------------------------------


async def test_a_page_of_a_configured_origin_may_ask_and_send(tmp_path: Path) -> None:
    bridge = BridgeDouble(tmp_path, cors_origins=f"{SHOP}, https://other.example")
    asks = {"Origin": SHOP, "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-api-key,authorization,idempotency-key"}
    async with bridge.client() as client:
        for path in (DECIDE, EVENTS, "/v1/batch", "/v1/t"):
            reply = await client.options(path, headers=asks)
            assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, SHOP)
            allowed = reply.headers["access-control-allow-headers"].lower()
            assert all(name in allowed for name in asks["Access-Control-Request-Headers"].split(","))
        reply = await client.post(DECIDE, json=decide_body(), headers={"Origin": SHOP})
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, SHOP)
        wrong = await client.post(DECIDE, json={}, headers={"Origin": SHOP})
        assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (422, SHOP)
        stranger = await client.post(DECIDE, json=decide_body(), headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers
        assert (await client.options(DECIDE, headers=asks | {"Origin": "https://evil.example"})).status_code == 400


async def test_without_origins_no_page_may(client: httpx.AsyncClient) -> None:
    reply = await client.options(DECIDE, headers={"Origin": SHOP, "Access-Control-Request-Method": "POST"})
    assert reply.status_code == 405 and "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("origin", ["shop.example", "https://shop.example/", "ftp://shop.example", "https://*.example"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="write an origin as"):
        BridgeDouble(Path("/nowhere"), cors_origins=origin)


@pytest.mark.parametrize("media_type", ["text/plain", "text/plain;charset=UTF-8", ""])
async def test_a_beacon_is_taken(client: httpx.AsyncClient, media_type: str) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    reply = await client.post(EVENTS, content=json.dumps(event()).encode(), headers=headers)
    assert reply.status_code == 202


async def test_packed_bodies_are_taken_within_their_unpacked_bound(client: httpx.AsyncClient) -> None:
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    for path, body, status in ((EVENTS, event(), 202), (DECIDE, decide_body(), 200)):
        reply = await client.post(path, content=gzip.compress(json.dumps(body).encode()), headers=packed)
        assert reply.status_code == status
    bomb = gzip.compress(b" " * 200_000_000)
    tracemalloc.start()
    reply = await client.post(EVENTS, content=bomb, headers=packed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reply.status_code == 413 and peak < 8_000_000
    for broken in (bomb[:1_000], b"no gzip", gzip.compress(b"{}") * 2, b""):
        assert (await client.post(EVENTS, content=broken, headers=packed)).status_code in (400, 413)
    other = packed | {"Content-Encoding": "br"}
    assert (await client.post(EVENTS, content=b"{}", headers=other)).status_code == 415


@pytest.mark.parametrize("body", [event(), {"batch": [event()]}])
async def test_a_byte_order_mark_is_nothing(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    content = b"\xef\xbb\xbf" + json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    assert (await client.post(EVENTS, content=content, headers=headers)).status_code == 202
    packed = headers | {"Content-Encoding": "gzip"}
    assert (await client.post(EVENTS, content=gzip.compress(content), headers=packed)).status_code == 202


async def test_head_and_slashes(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        reply = await client.head(path)
        assert (reply.status_code, reply.content) == ((await client.get(path)).status_code, b"")
        assert reply.status_code in (200, 503)
    reply = await client.post(f"{EVENTS}/", json=event())
    assert (reply.status_code, reply.history) == (202, [])
    assert (await client.get("/healthz///")).status_code == 200
    assert (await client.get("//evil.example/..//")).status_code == 404


async def test_a_global_privacy_control_refuses_what_the_policy_says(tmp_path: Path) -> None:
    bridge = BridgeDouble(tmp_path, shop.publication(
        tmp_path / "gpc", shop.POLICY.replace("  tracking:", "  gpc: personalization\n  tracking:")))
    bridge.consents("ann")
    gpc = {"Sec-GPC": "1"}
    async with bridge.client() as client:
        assert (await client.post(DECIDE, json=decide_body())).json()["reason"] != "no_consent"
        asked = (await client.post(DECIDE, json=decide_body(), headers=gpc)).json()
        assert (asked["reason"], asked["fallback"]) == ("no_consent", True)
        assert (await client.post(DECIDE, json=decide_body())).json()["reason"] != "no_consent", "of that request alone"
        assert (await client.post(EVENTS, json=event("page", name="Home"), headers=gpc)).status_code == 202
        assert (await client.post(DECIDE, json=decide_body())).json()["reason"] == "no_consent"
    no, page = bridge.events()
    assert (no.consent[0].purpose, no.consent[0].granted, no.source) == ("personalization", False, "gpc")
    assert page.subject == no.subject


# -- Segment's shapes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [
    {"Authorization": "Basic " + base64.b64encode(b"k1:").decode()},
    {"Authorization": "Basic " + base64.b64encode(b"k1:anything").decode()}, {"X-Api-Key": "k1"}, None])
async def test_a_key_comes_as_clients_send_it(tmp_path: Path, headers: dict[str, str] | None) -> None:
    bridge = BridgeDouble(tmp_path, api_keys="k1=events:write")
    in_body = {"writeKey": "k1"} if headers is None else {}
    async with bridge.client() as client:
        for path, body in ((EVENTS, event()), (EVENTS, {"batch": [event()]}), ("/v1/batch", {"batch": [event()]}),
                           ("/v1/track", event())):
            reply = await client.post(path, json=body | in_body, headers=headers or {})
            assert reply.status_code in (200, 202), reply.text
        no_user = "Basic " + base64.b64encode(b":k1").decode()
        for wrong in ({"Authorization": "Basic !"}, {"Authorization": no_user}, {}):
            assert (await client.post("/v1/batch", json={"batch": [event()]}, headers=wrong)).status_code == 401
        refused = await client.post("/v1/batch", json={"batch": [event()], "writeKey": "k2"})
        assert refused.status_code == 401


@pytest.mark.parametrize("path", list(SEGMENT_PATHS))
async def test_every_address_of_a_client_takes_its_events(client: httpx.AsyncClient, path: str) -> None:
    type_ = SEGMENT_PATHS[path]
    more: dict[str, Any] = {"alias": {"previousId": "visitor-1"}, "group": {"groupId": "acme"}}.get(type_ or "", {})
    one = event(type_ or "track", **more)
    without = {name: value for name, value in one.items() if name != "type"}
    for body in ([{"batch": [one]}] if type_ is None else [one, without]):
        reply = await client.post(path, json=body)
        assert (reply.status_code, reply.json()["success"]) == (200, True), reply.text


async def test_nothing_and_an_empty_array_are_an_empty_object(client: httpx.AsyncClient) -> None:
    empties: list[Any] = [None, [], {}]
    for empty in empties:
        for name in ("traits", "properties", "context"):
            reply = await client.post(EVENTS, json=event("identify", **{name: empty}))
            assert (reply.status_code, reply.json()["events"][0].get("warnings")) == (202, None), (name, empty)
        for context in ({"consent": empty}, {"consent": {"categoryPreferences": empty}},
                        {"consent": {"tcString": ""}}, {"consent": {"tcString": None}}, {"library": empty}):
            assert (await client.post(EVENTS, json=event("identify", context=context))).status_code == 202
        assert (await client.post(EVENTS, json={"batch": [event()], "context": empty})).status_code == 202


async def test_long_names_are_cut_and_long_ids_hashed(bridge: BridgeDouble, client: httpx.AsyncClient) -> None:
    for body in (event(event="x" * 300), event("page", name="x" * 300), event("screen", name="x" * 300)):
        reply = await client.post(EVENTS, json=body)
        assert reply.status_code == 202
        assert any("the first 256 are kept" in one for one in reply.json()["events"][0]["warnings"])
    assert {len(one.name) for one in bridge.events()} == {256}
    long = event(messageId="m" * 300)
    for _ in range(2):
        reply = await client.post(EVENTS, json=long)
        assert any("its hash is the event's id" in one for one in reply.json()["events"][0]["warnings"])
    assert len({one.event_id for one in bridge.events()[-2:]}) == 1


async def test_an_order_is_a_conversion_of_each_of_its_products(
    bridge: BridgeDouble, client: httpx.AsyncClient
) -> None:
    order = event(event="Order Completed", properties={
        "order_id": "o-1", "revenue": 30.0, "decision_id": "d-1",
        "products": [{"product_id": "upgrade", "price": 10.0, "quantity": 2}, {"product_id": "boots", "value": 3},
                     {"sku": "of nothing"}, "nothing"]})
    reply = await client.post(EVENTS, json=order)
    assert reply.status_code == 202
    whole, first, second = bridge.events()
    assert isinstance(whole, FeedbackEvent) and isinstance(first, FeedbackEvent)
    assert (whole.kind, whole.name, whole.value) == (FeedbackKind.TRACK, "Order Completed", 30.0)
    assert [(one.kind, one.item_id, one.value, one.decision_id) for one in (first, second)] == [
        (FeedbackKind.CONVERSION, "upgrade", 20.0, "d-1"), (FeedbackKind.CONVERSION, "boots", 3.0, "d-1")]
    await client.post(EVENTS, json=order)
    ids = [one.event_id for one in bridge.events()]
    assert len(set(ids)) == 3 and ids[:3] == ids[3:], "sent again, nothing of it is new"
    warnings = reply.json()["events"][0]["warnings"]
    assert [one for one in warnings if "names no item_id" in one] == warnings[-2:]


async def test_a_placement_that_is_not_ours_is_doubted(client: httpx.AsyncClient) -> None:
    reply = await client.post(EVENTS, json=event(event="Promotion Viewed", properties={
        "promotion_id": "upgrade", "decision_id": "d-1", "placement": "Hero", "channel": "web"}))
    [warning] = reply.json()["events"][0]["warnings"]
    assert warning.startswith("properties.placement is none of the live policy (hero")


# -- the real ones ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["segment", "rudderstack"])
async def test_the_official_python_clients_unchanged(tmp_path: Path, library: str) -> None:
    bridge = BridgeDouble(tmp_path, api_keys="k1=events:write")
    failed: list[Any] = []

    def send(host: str) -> None:
        if library == "segment":
            from segment.analytics.client import Client  # type: ignore[import-untyped]

            client = Client("k1", host=host, gzip=True, max_retries=1, on_error=lambda error, _: failed.append(error))
        else:
            from rudderstack.analytics.client import Client  # type: ignore[import-untyped]

            client = Client("k1", host=host, gzip=True, max_retries=1, on_error=lambda error, _: failed.append(error))
        client.identify("py-user", {"plan": "pro"})
        client.track("py-user", "Product Added", {"sku": "b-42"})
        client.page("py-user", "Shop", "Home", {"path": "/"})
        client.screen("py-user", "App", "Start")
        client.group("py-user", "acme", {"plan": "enterprise"})
        client.alias("visitor-3", "py-user")
        client.flush()
        client.join()

    async with served(bridge) as host:
        await asyncio.to_thread(send, host)
    assert failed == []
    _check_all_kinds(bridge, "py-user")


def _check_all_kinds(bridge: BridgeDouble, user: str) -> None:
    events = bridge.events()
    mine = bridge.subject(user)
    assert {one.kind for one in events if isinstance(one, IdentityEvent)} >= {
        IdentityKind.IDENTIFY, IdentityKind.GROUP, IdentityKind.ALIAS}
    assert [one.name for one in events if isinstance(one, FeedbackEvent) and one.subject == mine] == [
        "Product Added", "/", "Start"]


@pytest.mark.skipif(not NODE or not NPM, reason="Node.js and npm are not installed")
async def test_the_official_node_client_unchanged(tmp_path: Path) -> None:
    for name in ("package.json", "package-lock.json", "segment.mjs"):
        shutil.copy(CLIENTS / name, tmp_path / name)
    assert NODE and NPM
    install = [NPM, "ci", "--no-audit", "--no-fund", "--silent"]
    await asyncio.to_thread(partial(subprocess.run, install, cwd=tmp_path, check=True, timeout=120))
    bridge = BridgeDouble(tmp_path / "policy", api_keys="k1=events:write")
    async with served(bridge) as host:
        done = await asyncio.to_thread(partial(
            subprocess.run, [NODE, "segment.mjs", host, "k1"], cwd=tmp_path, capture_output=True, text=True,
            timeout=60))
    assert done.returncode == 0, done.stderr
    _check_all_kinds(bridge, "node-user")


@contextmanager
def _pages() -> Iterator[str]:
    """The folder of the clients as a web site of its own origin."""
    handler = partial(_Quiet, directory=str(CLIENTS))
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{site.server_port}"
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


async def _shown(page: str, tmp_path: Path) -> str:
    """The page as a browser has it once its scripts have run."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chrome'}",
               "--virtual-time-budget=8000", "--dump-dom", page]
    done = await asyncio.to_thread(partial(subprocess.run, command, capture_output=True, text=True, timeout=90))
    return str(done.stdout)


@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
async def test_the_page_of_the_interface_shows_every_operation(bridge: BridgeDouble, tmp_path: Path) -> None:
    async with served(bridge) as host:
        shown = await _shown(f"{host}/docs", tmp_path)
        async with httpx.AsyncClient(base_url=host) as client:
            paths = (await client.get("/openapi.json")).json()["paths"]
    assert "Unable to render" not in shown
    assert [path for path in paths if f'data-path="{path}"' not in shown] == []


@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
async def test_a_page_in_a_browser_asks_shows_and_reports(tmp_path: Path) -> None:
    with _pages() as site:
        bridge = BridgeDouble(tmp_path, api_keys="k1=events:write decide", cors_origins=site)
        bridge.consents("browser-user")
        async with served(bridge) as host:
            page = f"{site}/shop.html?{urllib.parse.urlencode({'bridge': host, 'key': 'k1'})}"
            shown = await _shown(page, tmp_path)
    assert "reported</h1>" in shown, shown
    [view] = [one for one in bridge.events() if isinstance(one, FeedbackEvent)]
    [asked] = bridge.requests()
    assert (view.kind, view.subject, view.event_id) == (FeedbackKind.VIEW, asked.subject, "view-1")
    assert view.item_id and view.decision_id

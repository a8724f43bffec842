"""The bridge process: settings in, HTTP out, until told to stop. Entry point `run`."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final

import uvicorn
from starlette.applications import Starlette

from pipeline.adapters.follower import Follower
from pipeline.adapters.interpreter import set_for_latency
from pipeline.adapters.privacy_archive import open_archive
from pipeline.adapters.system_clock import SystemClock
from pipeline.bridge.api_keys import ApiKeys
from pipeline.bridge.app import create
from pipeline.bridge.asking import Asker
from pipeline.bridge.connections import Limits, guarded, with_descriptors
from pipeline.bridge.decide_endpoint import DecideEndpoint
from pipeline.bridge.events_endpoint import EventsEndpoint
from pipeline.bridge.features_endpoint import FeaturesEndpoint
from pipeline.bridge.kafka_wire import KafkaWire
from pipeline.bridge.metrics import BridgeMetrics
from pipeline.bridge.operations import Endpoints
from pipeline.bridge.privacy_endpoint import PrivacyEndpoint
from pipeline.bridge.quotas import Quotas
from pipeline.bridge.readiness import KafkaWorkers, Readiness
from pipeline.bridge.world import no_policy
from pipeline.policy.directory import Directory
from pipeline.settings import Settings
from topics.catalog import CATALOG_ITEMS, POLICY_RELEASES

#: How long requests under way may take to finish after SIGTERM: longer than an event's acknowledgement.
DRAIN_S: Final = 8

FAILED: Final = 1

_log = logging.getLogger("nextbest.bridge")


class Bridge:
    """One bridge: its parts, their start and their end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        clock = SystemClock()
        keys = ApiKeys(settings.api_keys.get_secret_value(), settings.tenant)
        quotas = Quotas(settings.tenant_quotas, clock.monotonic_s)
        self.open = keys.open
        metrics = BridgeMetrics()
        self._directory = Directory(loading=True)
        self._follower = Follower(
            settings, (POLICY_RELEASES, CATALOG_ITEMS), self._directory.apply, self._directory.loaded
        )
        self._wire = KafkaWire(settings, f"{socket.gethostname()}:{settings.http_port}", metrics)
        self._asker = Asker(
            self._wire, clock, metrics, in_flight_max=settings.max_in_flight, patience_ms=settings.deadline_ms
        )
        metrics.in_flight.set_function(lambda: float(self._asker.in_flight))
        self._readiness = Readiness(
            KafkaWorkers(settings, clock), self._policy_missing, lambda: self._wire.listening,
            lambda: self._asker.unanswered_s, clock,
        )
        caught_up = self._follower.caught_up.is_set
        decide = DecideEndpoint(settings, keys, quotas, self._directory, caught_up, self._asker, clock, metrics)
        events = EventsEndpoint(settings, keys, quotas, self._directory, self._wire, self._asker, clock, metrics)
        privacy = PrivacyEndpoint(settings, keys, self._wire, partial(open_archive, settings), clock)
        features = FeaturesEndpoint(settings, keys, quotas, self._directory, caught_up, self._asker)
        endpoints = Endpoints(decide, events, privacy, features, self._readiness, metrics)
        self.app = create(endpoints, self._lifespan, settings.origins)

    def _policy_missing(self, tenant: str | None) -> str | None:
        if not self._follower.caught_up.is_set():
            return "policy and catalog are not read yet: is the broker there, and `nextbest topics apply` done?"
        return no_policy(self._directory, tenant)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._wire.start(asyncio.get_running_loop(), self._asker)
        self._follower.start()
        try:
            yield
        finally:
            self._readiness.close()
            # Both wait for threads; the loop must run on meanwhile for what these hand over.
            await asyncio.gather(asyncio.to_thread(self._wire.stop), asyncio.to_thread(self._follower.stop))


class _Server(uvicorn.Server):
    """uvicorn's server, but a signal ends it with an exit code of ours instead of being raised again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            _log.info("bridge listens on http://%s:%d", host, port)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then finish what is under way; returns the exit code."""
    bridge = Bridge(settings)
    if bridge.open:
        _log.warning("no API keys are set (NEXTBEST_API_KEYS): every caller may do everything")
    limits = Limits(with_descriptors(settings.connections_max), settings.connections_per_address_max)
    server = _Server(uvicorn.Config(
        bridge.app, settings.http_host, settings.http_port, loop="uvloop",
        http=guarded(limits), ws="none",
        log_config=None, log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=DRAIN_S, backlog=2_048,
    ))
    set_for_latency()
    try:
        server.run()
    except SystemExit as stopped:
        return FAILED if stopped.code else 0
    return 0 if server.started else FAILED

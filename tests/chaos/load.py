"""The open-loop load: every request begins when it is due, whether the ones before were answered or not.

Up to a bound on those that wait: past it the machine carries no more than it does, and sending more would only try
the callers' own patience. The report says then how many were sent in a second.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import Callable, Coroutine
from typing import Any, Final

from pipeline.core.model.records import DecisionRequest
from tests.chaos.calls import Told, decide, report
from tests.chaos.families import Family, Value
from tests.chaos.http import Http
from tests.chaos.plan import Options
from tests.support.stack import Client
from topics.catalog import BY_NAME, DECISION_REQUESTS, Topic

#: So many families are active at a time: each lives long enough to meet several faults.
FAMILIES_ACTIVE: Final = 150

#: So many calls wait at a time: what a bridge may be asked for in a stall of seconds, and is answered in time after it.
WAITING_MAX: Final = 1_000


class Load:
    """The callers and producers. `run` returns when everything was sent and answered."""

    def __init__(self, options: Options, bridges: list[int], client: Client, tick: Callable[[float], None]) -> None:
        """`tick` is told now and then which share of the requests was sent."""
        self.options = options
        self.told = Told()
        self.families: list[Family] = []
        #: Requests sent over the topics, and when each should have been (epoch ms).
        self.over_topics: dict[str, float] = {}
        self.late_ms_max = 0.0
        self.per_s = 0.0
        self._bridges = bridges
        self._client = client
        self._tick = tick
        self._rng = random.Random(f"load {options.seed}")
        self._active: list[Family] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked = 0

    def run(self) -> None:
        """Send the whole load; blocks."""
        asyncio.run(self._run())
        self._client.flush()

    async def _run(self) -> None:
        endpoints = [Http(port) for port in self._bridges]
        due_s, began_s, began_ms = 0.0, time.monotonic(), time.time() * 1000
        while self._asked < self.options.requests:
            due_s += self._rng.expovariate(self.options.rate)
            await asyncio.sleep(max(0.0, began_s + due_s - time.monotonic()))
            await self._room()
            self.late_ms_max = max(self.late_ms_max, (time.monotonic() - began_s - due_s) * 1000)
            # Events go along with the requests, as many as the families have between them.
            while not self._next(endpoints, began_ms + due_s * 1000):
                await self._room()
            self._asked += 1
            if self._asked % 50 == 0:
                self._tick(self._asked / self.options.requests)
                self._raise_failures()
        self.per_s = self._asked / (time.monotonic() - began_s)
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        for endpoint in endpoints:
            endpoint.close()

    async def _room(self) -> None:
        while len(self._tasks) >= WAITING_MAX:
            await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)
            self._raise_failures()

    def _raise_failures(self) -> None:
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            task.result()

    def _next(self, endpoints: list[Http], due_ms: float) -> bool:
        """Send one record of some family; whether it is a request."""
        family = self._family()
        if family.has_poison and self._rng.random() < 0.1:
            poison = family.next_poison()
            self._client.send(BY_NAME[poison.topic], poison.key, poison.value)
            return False
        topic, value = family.next_value(int(time.time() * 1000))
        if isinstance(value, DecisionRequest):
            self._ask(endpoints, family, value, due_ms)
            return True
        if self._goes_over_topics(value.event_id):
            self._send(family, topic, value)
        else:
            self._begin(report(self._rng.choice(endpoints), family, value, self.told))
        return False

    def _ask(self, endpoints: list[Http], family: Family, request: DecisionRequest, due_ms: float) -> None:
        if self._goes_over_topics(request.request_id) or request.placements != ["hero"]:
            self.over_topics.setdefault(request.request_id, due_ms)
            self._send(family, DECISION_REQUESTS, request)
        else:
            self._begin(decide(self._rng.choice(endpoints), family, request, due_ms, self.told))

    def _goes_over_topics(self, name: str) -> bool:
        """The same endpoint for every retry, as each says the same in its own way; the bridge may be another."""
        return zlib.crc32(name.encode()) % 1000 < self.options.over_topics * 1000

    def _send(self, family: Family, topic: Topic, value: Value) -> None:
        out = family.keyed(topic, value)
        self._client.send(topic, out.key, out.value)

    def _begin(self, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._tasks.discard(done) if not done.exception() else None)

    def _family(self) -> Family:
        while len(self._active) < FAMILIES_ACTIVE:
            self.families.append(Family(self.options.seed, len(self.families)))
            self._active.append(self.families[-1])
        place = self._rng.randrange(len(self._active))
        family = self._active[place]
        if family.left <= 1:
            self._active[place] = self._active[-1]
            self._active.pop()
        return family

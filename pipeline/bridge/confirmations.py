"""Consent that the broker has and that no worker has confirmed yet.

A sender that was told "not in force" sends again. While the workers are behind, every repeat would be one more record
for them, and they would be behind for as long as anybody repeats; so a repeat waits for what was sent first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from pipeline.core.hashing import applied_id_of
from pipeline.ports import Clock

#: A repeat is sent again after this, and twice as long after every further sending: a confirmation can get lost.
AGAIN_S: Final = 10.0
SENDINGS_MAX: Final = 4
#: What was sent before is forgotten after this, and where more than so many are waited for.
KEPT_S: Final = AGAIN_S * 2**SENDINGS_MAX
KEPT_MAX: Final = 20_000


class Expected:
    """One event's confirmation, and everybody who waits for it."""

    __slots__ = ("_sendings", "_sent_s", "applied_id", "digest", "event_id", "future", "waiting")

    def __init__(self, event_id: str, applied_id: str, digest: bytes) -> None:
        self.event_id = event_id
        self.applied_id = applied_id
        self.digest = digest
        self.waiting = 0
        self.wait()
        self._sendings = 0
        self._sent_s = 0.0

    def wait(self) -> None:
        """Wait anew."""
        #: Its result: whether a worker has confirmed it.
        self.future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def confirmed(self) -> bool:
        """Whether the next decision obeys it, whoever asks."""
        return self.future.done() and self.future.result()

    def sent(self, now_s: float) -> None:
        """The broker has it."""
        self._sendings += 1
        self._sent_s = now_s

    def under_way(self, now_s: float) -> bool:
        """Whether what was sent may still be confirmed: sending it again now would only be one more."""
        return 0 < self._sendings and now_s - self._sent_s < AGAIN_S * 2 ** (self._sendings - 1)

    def kept(self, now_s: float) -> bool:
        """Whether somebody may ask about it still."""
        return self.waiting > 0 or (0 < self._sendings <= SENDINGS_MAX and now_s - self._sent_s < KEPT_S)


class Confirmations:
    """All of one bridge. On one event loop, but for `wants`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: By event id, the oldest first.
        self._expected: dict[str, list[Expected]] = {}

    def expect(self, subject: str, event_id: str, digest: bytes) -> Expected:
        """Wait for an event's confirmation, until `leave`: for that of an earlier sending, where there was one."""
        self._forget_oldest()
        applied_id = applied_id_of(subject)
        for expected in self._expected.get(event_id, ()):
            if expected.applied_id == applied_id and expected.digest == digest:
                break
        else:
            expected = Expected(event_id, applied_id, digest)
            self._expected.setdefault(event_id, []).append(expected)
        if expected.future.done() and not expected.confirmed:
            expected.wait()
        expected.waiting += 1
        return expected

    def leave(self, expected: Expected) -> None:
        """One waits no longer. What the broker has and nobody confirmed is remembered for a while."""
        expected.waiting -= 1
        if not expected.waiting and (expected.confirmed or not expected.kept(self._clock.monotonic_s())):
            self._forget(expected)

    def wants(self, event_id: str) -> bool:
        """Whether a confirmation of this event is waited for; from any thread."""
        return event_id in self._expected

    def confirm(self, event_id: str, applied_id: str) -> None:
        """A worker says that the event is applied to its subject."""
        for expected in list(self._expected.get(event_id, ())):
            if expected.applied_id == applied_id:
                self._settle(expected, True)
                if not expected.waiting:
                    self._forget(expected)

    def give_up_waiting(self) -> None:
        """Nothing will be confirmed for now; what was sent is remembered."""
        for expected in self._all():
            self._settle(expected, False)

    def _all(self) -> Iterable[Expected]:
        return [expected for same_id in self._expected.values() for expected in same_id]

    @staticmethod
    def _settle(expected: Expected, confirmed: bool) -> None:
        if not expected.future.done():
            expected.future.set_result(confirmed)

    def _forget(self, expected: Expected) -> None:
        others = [other for other in self._expected.get(expected.event_id, ()) if other is not expected]
        if others:
            self._expected[expected.event_id] = others
        else:
            self._expected.pop(expected.event_id, None)

    def _forget_oldest(self) -> None:
        now_s = self._clock.monotonic_s()
        while self._expected:
            oldest = self._expected[next(iter(self._expected))]
            if any(one.waiting or (one.kept(now_s) and len(self._expected) <= KEPT_MAX) for one in oldest):
                return
            for one in oldest:
                self._forget(one)

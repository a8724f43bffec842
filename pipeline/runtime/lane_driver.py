"""Carries a lane's steps through their acts against the broker: changelog, then outputs, then the store, then done.

Nothing is written without the lease, and nothing is answered unless the changelog shows that no other owner came in
between: a worker that lost its partitions must do neither (see docs/adr/0003-zombies.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from pipeline.codecs.envelope import EPOCH_KEY
from pipeline.ports import Clock, Outbound, Publisher
from pipeline.runtime.lane import PartitionLane, Step

#: An idle partition's owner writes its announcement again this often: well within the changelog's compaction lag.
ANNOUNCE_S = 900.0


class Lease:
    """The right to have effects: held while the last heartbeat is younger than the session timeout."""

    def __init__(self, clock: Clock, duration_s: float) -> None:
        self._clock = clock
        self._duration_s = duration_s
        self._renewed_s = clock.monotonic_s()

    def renew(self, asked_s: float) -> None:
        """The group coordinator has confirmed this member, asked at that time (monotonic): it counts from there, and
        an answer that lay unread while the process was frozen renews nothing."""
        self._renewed_s = max(self._renewed_s, asked_s)

    def now_s(self) -> float:
        """The clock by which it is renewed."""
        return self._clock.monotonic_s()

    def held(self) -> bool:
        """Whether effects are still allowed."""
        return self._clock.monotonic_s() - self._renewed_s < self._duration_s

    def require(self) -> None:
        """Before anything is sent. Raises LeaseLostError."""
        if not self.held():
            raise LeaseLostError("no heartbeat within the session timeout: the partitions may have a new owner")


class LeaseLostError(RuntimeError):
    """Effects were due after the lease had run out; the worker stops and rejoins as a new member."""


class ForeignWriteError(RuntimeError):
    """Somebody else wrote to the changelog of a partition of ours: a new owner, or one that lost it long ago.

    Stopping is right in both cases. A take-over reads what was written, and writes again what it hides.
    """


class Fence:
    """The proof of ownership: the lease, and a changelog in which our records follow one another without a gap."""

    def __init__(self, lease: Lease, at: int, marker: bytes) -> None:
        self.lease = lease
        self.marker = marker
        self._at = at
        self.written_s = lease.now_s()

    def require_no_gap(self, records: int, offset: int | None) -> None:
        """The broker took so many records of ours, the last at this offset. Raises ForeignWriteError."""
        if offset != self._at + records:
            raise ForeignWriteError(
                f"the changelog took {records} records up to offset {offset}, after {self._at}: not ours alone"
            )
        self._at = offset
        self.written_s = self.lease.now_s()


class LaneDriver:
    """One partition's lane at work. Lives on the event loop; its callbacks come from the publisher there."""

    def __init__(
        self,
        lane: PartitionLane,
        publisher: Publisher,
        changelog: str,
        fence: Fence,
        fail: Callable[[str, BaseException], None],
    ) -> None:
        self.lane = lane
        self._publisher = publisher
        self._changelog = changelog
        self._fence = fence
        self._fail = fail
        #: In the order sent: the step, or None for an announcement, and where its writes are, once known.
        self._unwritten: deque[tuple[Step | None, list[int | None]]] = deque()
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        #: Called after every completed step, for whoever waits for room.
        self.on_progress: Callable[[], None] = lambda: None

    def submit(self, step: Step) -> None:
        """Start the step's first act."""
        self._fence.lease.require()
        self._idle.clear()
        acknowledged: list[int | None] = []
        self._unwritten.append((step, acknowledged))
        writes = [Outbound(self._changelog, key, value, self.lane.partition) for key, value in step.writes.items()]
        self._publisher.send(writes, partial(self._on_written, acknowledged))

    def _on_written(self, acknowledged: list[int | None], offset: int | None) -> None:
        acknowledged.append(offset)
        try:
            self._release_outputs()
        except Exception as error:
            self._fail("a batch could not be completed", error)

    def _release_outputs(self) -> None:
        # A step without writes is acknowledged at once, yet its outputs may repeat what an earlier step still writes.
        while self._unwritten and self._unwritten[0][1] and not self._closed:
            step, offsets = self._unwritten.popleft()
            self._fence.lease.require()
            if step is None or step.writes:
                self._fence.require_no_gap(1 if step is None else len(step.writes), offsets[0])
            if step is not None:
                step.changelog_offset = offsets[0]
                self._publisher.send(step.outputs, partial(self._on_sent, step))

    def announce_again(self) -> None:
        """Write the owner's record again where nothing was written for long: what a lost owner writes late is noticed
        before compaction can prefer it."""
        fence = self._fence
        idle_s = fence.lease.now_s() - fence.written_s
        if self._unwritten or idle_s < ANNOUNCE_S or not fence.lease.held():
            return
        acknowledged: list[int | None] = []
        self._unwritten.append((None, acknowledged))
        marker = Outbound(self._changelog, EPOCH_KEY, fence.marker, self.lane.partition)
        self._publisher.send([marker], partial(self._on_written, acknowledged))

    def _on_sent(self, step: Step, _offset: int | None) -> None:
        if self._closed:
            return
        self.lane.sent(step)
        if self.lane.in_flight == 0:
            self._idle.set()
        self.on_progress()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight; False where that took longer."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """The partition is no longer ours: acknowledgements that still come in change nothing."""
        self._closed = True

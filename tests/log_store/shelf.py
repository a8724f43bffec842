"""A store in memory that dies between any two effects, and records for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from log_store.batches import Place
from log_store.objects import Objects
from log_store.sink import Sink
from pipeline.codecs import avro
from pipeline.codecs.encryption import KeyEncryption
from pipeline.core.model.records import ErasureAction, ErasureReceipt, FeedbackEvent, FeedbackKind
from pipeline.flow import Record
from topics.catalog import DAY_MS, ERASURE_RECEIPTS, FEEDBACK_EVENTS

TOPIC = FEEDBACK_EVENTS.name
RECEIPTS = ERASURE_RECEIPTS.name
NOON_MS = 1_700_000_000_000
KEYS = KeyEncryption("test", os.urandom)


class Killed(BaseException):
    """kill -9: nothing of the process goes on."""


class Memory:
    """Objects in a dict. Dies before the effect number `dies_at`, counted from the last `arm`."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.left: int | None = None

    def arm(self, effects: int | None) -> None:
        self.left = effects

    def get(self, name: str) -> bytes:
        if name not in self.held:
            raise FileNotFoundError(errno.ENOENT, name)
        return self.held[name]

    def put(self, name: str, data: bytes) -> None:
        self._effect()
        self.held[name] = data

    def put_if_absent(self, name: str, data: bytes) -> bool:
        self._effect()
        if name in self.held:
            return False
        self.held[name] = data
        return True

    def delete(self, name: str) -> None:
        self._effect()
        self.held.pop(name, None)

    def names(self, folder: str) -> list[str]:
        return sorted(name for name in self.held if name.startswith(f"{folder}/"))

    def _effect(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Killed
            self.left -= 1


def place_in(objects: Objects) -> Place:
    return Place(objects, KEYS, os.urandom)


def sink_in(objects: Objects) -> Sink:
    return Sink(place_in(objects), 1 << 30, 60.0)


def event(offset: int, subject: str = "shop/ann", partition: int = 0, day: int = 0) -> Record:
    value = FeedbackEvent(
        event_id=f"e{offset}", subject=subject, kind=FeedbackKind.VIEW, at_ms=offset, properties={"n": offset}
    )
    return Record(
        TOPIC, partition, offset, NOON_MS + day * DAY_MS, subject.encode(), avro.encode(FEEDBACK_EVENTS, value)
    )


def receipt(offset: int, subject: str, action: ErasureAction = ErasureAction.ERASE) -> Record:
    value = ErasureReceipt(
        job_id="job",
        subject=subject,
        action=action,
        profile_id=subject,
        identifiers=[],
        at_ms=NOON_MS,
        known=True,
        unreadable=[],
        part_of=None,
    )
    return Record(RECEIPTS, 0, offset, NOON_MS, subject.encode(), avro.encode(ERASURE_RECEIPTS, value))


def feed(sink: Sink, topic: str, log: Iterable[Record], size: int, partition: int = 0) -> None:
    """What a sink does with a topic's log, in batches of this size."""
    start = sink.assigned(topic, partition)
    waiting = 0
    for record in log:
        if record.offset < start:
            continue
        sink.take(record, 0, 0.0)
        waiting += 1
        if waiting == size:
            sink.flush(topic, partition)
            waiting = 0
    sink.flush(topic, partition)

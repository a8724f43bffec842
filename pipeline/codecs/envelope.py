"""The value of a table's key as it lies in the changelog: state, and what makes its processing effectively once.

One changelog record is atomic, so everything that must change together is in this one value:

* `state` — the handler's state, in the state codec's bytes;
* `applied` — per input topic, the offset of the last record that changed this key: a record at or below it was
  already applied, whatever was lost in a crash afterwards;
* `outbox` — the encoded outputs of applied records that the broker may not have acknowledged yet. After a crash they
  are sent again byte for byte, without asking the handler, whose world may have moved on (transactional outbox,
  https://microservices.io/patterns/data/transactional-outbox.html);
* `epoch` — the term of the owner that wrote it: recovery ignores a value below the highest term it has seen.

State and outbox are sealed (see `vault.py`) before they leave the lane: `body` is what then stands in their place. What
recovery needs lies in the open, and so does the key that seals them, itself wrapped: every value has it, so the newest
alone says whether there is one (see docs/adr/0016-a-key-per-subject.md).

Input topics are named by `name@topic-id`: a deleted and recreated topic starts again at offset 0 and must not be
taken for a redelivery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from pipeline.ports import Outbound

#: The key of the record by which a new owner of a partition announces its epoch. No subject key starts with NUL.
EPOCH_KEY = b"\x00epoch"

#: Before a key, in a local copy only: the key's newest changelog record is not its value.
STALE_MARK = b"\x00stale/"


@dataclass(slots=True)
class Pending:
    """The outputs of one applied input record, until the broker has acknowledged them."""

    source: str
    offset: int
    outputs: tuple[Outbound, ...]


@dataclass(slots=True)
class Envelope:
    """One key's durable value. Mutable only inside the lane that owns its partition."""

    epoch: int = 0
    #: When time alone changes the state (epoch ms): stores keep an index of it, and the owner has another look then.
    due_ms: int | None = None
    applied: dict[str, int] = field(default_factory=dict)
    outbox: list[Pending] = field(default_factory=list)
    state: bytes | None = None
    #: The subject's key, wrapped; None where there is nothing of hers to keep: the installation's seals the value then.
    key: bytes | None = None
    #: State and outbox sealed, while they are not opened.
    body: bytes | None = None


class EnvelopeError(ValueError):
    """A changelog value that is not an envelope of this version: the changelog belongs to something else."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, int, int | None, bytes | None, dict[str, int], bytes])
_body_decoder = msgspec.msgpack.Decoder(
    tuple[list[tuple[str, int, list[tuple[str, bytes, bytes | None, int | None]]]], bytes | None]
)
_VERSION = 2
#: The first byte of a body that is not sealed: an owner's announcement, which is about nobody.
_OPEN = b"\x00"


def encode(envelope: Envelope, seal: Callable[[bytes], bytes] | None = None) -> bytes:
    """The envelope as changelog bytes, its body sealed; one that was not opened keeps its body as it is."""
    body = envelope.body
    if body is None:
        body = _encoder.encode(
            (
                [
                    (p.source, p.offset, [(o.topic, o.key, o.value, o.partition) for o in p.outputs])
                    for p in envelope.outbox
                ],
                envelope.state,
            )
        )
        body = _OPEN + body if seal is None else seal(body)
    return _encoder.encode((_VERSION, envelope.epoch, envelope.due_ms, envelope.key, envelope.applied, body))


def decode(data: bytes) -> Envelope:
    """The envelope of changelog bytes, its body still sealed. Raises EnvelopeError where they are something else."""
    try:
        version, epoch, due_ms, key, applied, body = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise EnvelopeError(f"not an envelope: {error}") from error
    if version != _VERSION:
        raise EnvelopeError(f"envelope version {version}, this worker knows {_VERSION}: upgrade the worker")
    found = Envelope(epoch, due_ms, applied, key=key, body=body)
    return unseal(found, body[1:]) if body[:1] == _OPEN else found


def unseal(envelope: Envelope, body: bytes) -> Envelope:
    """The envelope with its opened body taken apart. Raises EnvelopeError."""
    try:
        outbox, envelope.state = _body_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise EnvelopeError(f"not an envelope's body: {error}") from error
    envelope.outbox = [
        Pending(source, offset, tuple(Outbound(t, k, v, p) for t, k, v, p in outputs))
        for source, offset, outputs in outbox
    ]
    envelope.body = None
    return envelope


class _Head(msgspec.Struct, array_like=True, frozen=True):
    """The first fields of an envelope; the others are passed over."""

    version: int
    epoch: int
    due_ms: int | None
    key: bytes | None


_head_decoder = msgspec.msgpack.Decoder(_Head)


def head_of(data: bytes) -> tuple[int, int | None]:
    """Epoch and due time only, for recovery and for the index of what is due."""
    head = _head(data)
    return head.epoch, head.due_ms


def _head(data: bytes) -> _Head:
    try:
        head = _head_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise EnvelopeError(f"not an envelope: {error}") from error
    if head.version != _VERSION:
        raise EnvelopeError(f"envelope version {head.version}, this worker knows {_VERSION}: upgrade the worker")
    return head


def epoch_of(data: bytes) -> int:
    """Only the epoch, for recovery."""
    return _head(data).epoch


def key_of(data: bytes) -> bytes | None:
    """Only the subject's wrapped key, for whoever reads what it seals."""
    return _head(data).key


@dataclass(slots=True)
class Recovered:
    """What a run of changelog records makes of a local copy: see `recover`."""

    writes: dict[bytes, bytes | None]
    offset: int
    epoch: int
    stale: int = 0


def recover(
    changes: Iterable[tuple[bytes, bytes | None, int]], offset: int, epoch: int, marker: bytes | None
) -> Recovered:
    """What changelog records (key, value, offset), in order, make of a copy that had reached this offset, epoch and
    epoch record.

    Records of an owner that had lost the partition when the broker took them are passed over and counted; their keys
    are marked (`STALE_MARK`), as the newest record of each is not its value, and compaction keeps the newest.
    """
    found = Recovered({}, offset, epoch)
    for key, value, at in changes:
        found.offset = max(found.offset, at)
        if value is not None:
            written = epoch_of(value)
            if written < found.epoch or (key == EPOCH_KEY and written == found.epoch and value != marker):
                found.stale += 1
                if key != EPOCH_KEY:
                    found.writes[STALE_MARK + key] = b""
                continue
            if key == EPOCH_KEY:
                marker = value
            elif written > found.epoch:
                # Its owner's announcement is gone: a late one of an earlier owner was newer when the log was compacted.
                found.writes[EPOCH_KEY] = marker = encode(Envelope(epoch=written))
            found.epoch = written
        found.writes[key] = value
        found.writes.pop(STALE_MARK + key, None)
    return found

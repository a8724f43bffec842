"""The value of a table's key as it lies in the changelog: state, and what makes its processing effectively once.

One changelog record is atomic, so everything that must change together is in this one value:

* `state` — the handler's state, in the state codec's bytes;
* `applied` — per input topic, the offset of the last record that changed this key: a record at or below it was
  already applied, whatever was lost in a crash afterwards;
* `outbox` — the encoded outputs of applied records that the broker may not have acknowledged yet. After a crash they
  are sent again byte for byte, without asking the handler, whose world may have moved on (transactional outbox,
  https://microservices.io/patterns/data/transactional-outbox.html);
* `epoch` — the term of the owner that wrote it: recovery ignores a value below the highest term it has seen.

State and outbox are encrypted (see `encryption.py`), each by itself, before they leave the lane. What recovery needs
lies in the open, and so does the key that encrypts them, itself wrapped: every value has it, so the newest alone says
whether there is one (see docs/adr/0016-a-key-per-subject.md).

In bytes: a front of fixed size (version, whether there is a key, the head's length, epoch, due time), the head in
MessagePack (key, applied, state), the outbox. So a local copy leaves out the larger half once the broker has it,
without opening the value (`settled`), and recovery reads what it needs of a million values without decoding one.

Input topics are named by `name@topic-id`: a deleted and recreated topic starts again at offset 0 and must not be
taken for a redelivery.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from pipeline.core.model.values import Value
from pipeline.ports import Outbound

#: The key of the record by which a new owner of a partition announces its epoch. No subject key starts with NUL.
EPOCH_KEY = b"\x00epoch"

#: Before a key, in a local copy only: the key's newest changelog record is not its value.
STALE_MARK = b"\x00stale/"


class Pending(Value, frozen=True, array_like=True):
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
    #: The subject's key, wrapped; None where nothing of theirs is kept: the installation's encrypts the value then.
    key: bytes | None = None
    #: State and outbox as they are encrypted, while they are not opened.
    unopened: tuple[bytes, bytes] | None = None


class EnvelopeError(ValueError):
    """A changelog value that is not an envelope of this version: the changelog belongs to something else."""


class _Head(msgspec.Struct, array_like=True, frozen=True):
    """All but the front and the outbox."""

    key: bytes | None
    applied: dict[str, int]
    #: Encrypted; empty where there is none.
    state: bytes


_encoder = msgspec.msgpack.Encoder()
_head_decoder = msgspec.msgpack.Decoder(_Head)
_outbox_decoder = msgspec.msgpack.Decoder(list[Pending])
_VERSION: Final = 4
#: Version, whether there is a key (1, 0), the head's length, epoch, due time (epoch ms; -1: none). Big-endian.
_FRONT: Final = struct.Struct(">BBIIq")
_front: Final = _FRONT.unpack_from
#: The first byte of a state that is not encrypted: an owner's announcement, which is about nobody.
_OPEN = b"\x00"

#: What state and outbox are encrypted for: neither opens as the other.
STATE: Final = b"state"
OUTBOX: Final = b"outbox"

#: Before a subject's key and a name: what was put beside the state.
BESIDE: Final = b"\x00beside/"

#: Of what is encrypted and its purpose.
Open = Callable[[bytes, bytes], bytes]


class Encrypt(Protocol):
    """Encrypts for a purpose; see `encryption.Cipher.encrypt`."""

    def __call__(self, data: bytes, purpose: bytes, compress: bool = True) -> bytes: ...


def encode(envelope: Envelope, encrypt: Encrypt | None = None) -> bytes:
    """The envelope as changelog bytes, state and outbox encrypted; those that were not opened stay as they are.

    Without `encrypt` the state lies in the open. Raises TypeError where an outbox would.
    """
    if envelope.unopened is not None:
        state, outbox = envelope.unopened
    elif encrypt is not None:
        state = encrypt(envelope.state, STATE) if envelope.state else b""
        outbox = encrypt(_encoder.encode(envelope.outbox), OUTBOX, False) if envelope.outbox else b""
    elif envelope.outbox:
        raise TypeError("an outbox is encrypted")
    else:
        state, outbox = _OPEN + envelope.state if envelope.state else b"", b""
    return _joined(envelope.epoch, envelope.due_ms, _Head(envelope.key, envelope.applied, state)) + outbox


def beside_key(key: bytes, name: str) -> bytes:
    """Where in the table lies what was put beside a key's state. No subject's key begins so."""
    return b"%b%b/%b" % (BESIDE, key, name.encode())


def beside_parts(at: bytes) -> tuple[bytes, str] | None:
    """The subject's key and the name of what lies beside its state; None where this is no such place."""
    if not at.startswith(BESIDE):
        return None
    tenant, hash_, name = at[len(BESIDE) :].split(b"/", 2)
    return b"%b/%b" % (tenant, hash_), name.decode()


def encode_beside(epoch: int, encrypted: bytes) -> bytes:
    """What lies beside a state as changelog bytes, fenced by its owner's epoch as the state is. Empty: nothing."""
    return _joined(epoch, None, _Head(None, {}, encrypted))


def beside_of(data: bytes) -> bytes:
    """What lies beside a state, still encrypted; empty: nothing. Raises EnvelopeError."""
    return _opened_head(data)[3].state


def decode(data: bytes) -> Envelope:
    """The envelope of changelog bytes, not opened where it is encrypted. Raises EnvelopeError where they are something
    else."""
    epoch, due_ms, at, head = _opened_head(data)
    found = Envelope(epoch, due_ms, head.applied, key=head.key)
    if head.state[:1] == _OPEN:
        found.state = head.state[1:]
    else:
        found.unopened = (head.state, data[at:])
    return found


def opened(envelope: Envelope, decrypt: Open) -> Envelope:
    """The envelope with its state and outbox. Raises EnvelopeError, and what `decrypt` raises."""
    if envelope.unopened is not None:
        state, outbox = envelope.unopened
        envelope.state = decrypt(state, STATE) if state else None
        envelope.outbox = _unpacked(decrypt(outbox, OUTBOX)) if outbox else []
        envelope.unopened = None
    return envelope


def settled(data: bytes) -> bytes:
    """The value without its outbox: what is left to keep once the broker has acknowledged all of it."""
    return data[: _FRONT.size + _front(data)[2]]


def _unpacked(data: bytes) -> list[Pending]:
    try:
        return _outbox_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise EnvelopeError(f"not an envelope's outbox: {error}") from error


def _joined(epoch: int, due_ms: int | None, head: _Head) -> bytes:
    """A value without its outbox."""
    body = _encoder.encode(head)
    return _FRONT.pack(_VERSION, head.key is not None, len(body), epoch, -1 if due_ms is None else due_ms) + body


def _opened_head(data: bytes) -> tuple[int, int | None, int, _Head]:
    """Epoch, due time, where the outbox begins, and the head."""
    _, length, epoch, due_ms = _checked_front(data)
    at = _FRONT.size + length
    if at > len(data):
        raise EnvelopeError("not an envelope: its end is missing")
    try:
        head = _head_decoder.decode(memoryview(data)[_FRONT.size : at])
    except msgspec.DecodeError as error:
        raise EnvelopeError(f"not an envelope: {error}") from error
    return epoch, due_ms, at, head


def _checked_front(data: bytes) -> tuple[bool, int, int, int | None]:
    """Whether there is a key, the head's length, epoch, due time."""
    try:
        version, keyed, length, epoch, due_ms = _front(data)
    except struct.error as error:
        raise EnvelopeError(f"not an envelope: {error}") from error
    if version != _VERSION:
        raise EnvelopeError(f"not an envelope of version {_VERSION}, which is what this worker knows, but {version}")
    return bool(keyed), length, epoch, None if due_ms < 0 else due_ms


def due_of(data: bytes) -> int | None:
    """Only the due time, for the index of what is due."""
    return _checked_front(data)[3]


def due_and_keyed(data: bytes) -> tuple[int | None, bool]:
    """The due time, and whether there is a subject's key."""
    keyed, _, _, due_ms = _checked_front(data)
    return due_ms, keyed


def epoch_of(data: bytes) -> int:
    """Only the epoch, for recovery."""
    return _checked_front(data)[2]


def key_of(data: bytes) -> bytes | None:
    """Only the subject's wrapped key, for whoever reads what it encrypts."""
    return _opened_head(data)[3].key if _checked_front(data)[0] else None


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
    epoch record. What it had before is passed over: each record counts once.

    Records of an owner that had lost the partition when the broker took them are passed over and counted; their keys
    are marked (`STALE_MARK`), as the newest record of each is not its value, and compaction keeps the newest.
    """
    found = Recovered({}, offset, epoch)
    writes, marks = found.writes, 0
    for key, value, at in changes:
        if at <= found.offset:
            continue
        found.offset = at
        if value is not None:
            written = epoch_of(value)
            if written != found.epoch or key == EPOCH_KEY:
                if written < found.epoch or (key == EPOCH_KEY and written == found.epoch and value != marker):
                    found.stale += 1
                    if key != EPOCH_KEY:
                        writes[STALE_MARK + key] = b""
                        marks += 1
                    continue
                if key == EPOCH_KEY:
                    marker = value
                else:
                    # Its owner's announcement is gone: a late one of an earlier owner was newer when the log was
                    # compacted.
                    writes[EPOCH_KEY] = marker = encode(Envelope(epoch=written))
                found.epoch = written
        writes[key] = value
        if marks:
            writes.pop(STALE_MARK + key, None)
    return found

"""What the logs hold about somebody, and what is left of it after an erasure. Over records as they are read.

Two readings of the same records: `Dossier` opens everything that is the person's, `Verifier` looks for what should be
gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import msgspec

from pipeline.codecs import avro, encrypted_values, state
from pipeline.codecs.encryption import Cipher, DecryptionError, KeyEncryption
from pipeline.codecs.envelope import Envelope, EnvelopeError, beside_of, beside_parts
from pipeline.codecs.keyring import Keyring
from pipeline.codecs.registry import NEWEST
from pipeline.core.model.bounds import COMPACTED_MS
from pipeline.core.model.records import DecisionReply
from pipeline.core.model.values import unpacked
from pipeline.core.sections.section import State
from pipeline.core.subject import Erased, Person
from pipeline.flow import Record
from topics.catalog import BY_NAME, ERASURE_RECEIPTS, ERASURE_REQUESTS, PURGE_MS

EVIDENCE: Final = frozenset({ERASURE_REQUESTS.name, ERASURE_RECEIPTS.name})


class Kind(StrEnum):
    """What a place means after an erasure."""

    #: Something about the subject can be read, and will not go by itself.
    TRACE = "trace"
    #: It can be read, and the broker removes it by a known time.
    EXPIRES = "expires"
    #: It stays on purpose: that, and when, the subject was erased.
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something lies, what it is, and until when at most (epoch ms)."""

    kind: Kind
    topic: str
    partition: int
    offset: int
    what: str
    until_ms: int | None = None


@dataclass(slots=True)
class Dossier:
    """Everything that can be read about a subject. Feed it the changelog first."""

    key_encryption: KeyEncryption
    changelog: str
    identifiers: frozenset[bytes]
    profiles: dict[str, Any] = field(default_factory=dict)
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    #: By its place in the table: what lies beside a state, not opened yet.
    _beside: dict[bytes, bytes] = field(default_factory=dict)
    _ring: Keyring = field(init=False)

    def __post_init__(self) -> None:
        self._ring = Keyring(self.key_encryption)

    def add(self, record: Record) -> None:
        """Take a record in, if it is the subject's."""
        key = record.key or b""
        if record.topic == self.changelog:
            if not self._ring.follow(record.partition, key, record.value) or not record.value:
                return
            if (parts := beside_parts(key)) is not None and parts[0] in self.identifiers:
                self._beside[key] = record.value
            if key in self.identifiers:
                opened, _ = _opened(self.key_encryption, key, record.value)
                if opened is not None and opened.state is not None:
                    self.profiles[key.decode()] = _plain(state.decode(opened.state))
            return
        topic = BY_NAME[record.topic]
        if key not in self.identifiers and self._ring.subject_of(key) not in self.identifiers:
            return
        try:
            value = _plain(self._ring.value(topic, key, record.value))
        except avro.CodecError as error:
            value = {"unreadable": error.detail}
        self.records.setdefault(topic.name, []).append(
            {"partition": record.partition, "offset": record.offset, "at_ms": record.at_ms, "value": value}
        )

    def document(self) -> dict[str, Any]:
        """All of it as one JSON object."""
        return {
            "identifiers": sorted(name.decode() for name in self.identifiers),
            "profiles": self.profiles,
            "replies": self._replies(),
            "records": self.records,
        }


    def _replies(self) -> list[Any]:
        """The remembered replies that can be opened."""
        found = []
        for at, value in sorted(self._beside.items()):
            subject, _ = beside_parts(at) or (b"", "")
            wrapped, encrypted = self._ring.wrapped.get(subject), beside_of(value)
            if wrapped is None or not encrypted:
                continue
            try:
                reply = self.key_encryption.unwrapped(subject, wrapped).open(encrypted, at)
            except DecryptionError:
                continue  # of somebody who was erased and has begun again
            found.append(msgspec.to_builtins(unpacked(DecisionReply, reply)))
        return found


class Verifier:
    """Looks for what should be gone of erased subjects. Feed it the changelog first, from its beginning."""

    def __init__(self, key_encryption: KeyEncryption, changelog: str, identifiers: Iterable[bytes]) -> None:
        self._key_encryption = key_encryption
        self._changelog = changelog
        self._identifiers = frozenset(identifiers)
        self._hashes = [name.rpartition(b"/")[2] for name in self._identifiers]
        self._ring = Keyring(key_encryption)
        #: What a thief of today's log and of the installation's key could use: the pseudonym of every key that still
        #: lies there, and by when the broker has removed it (epoch ms).
        self._pseudonyms: dict[bytes, int] = {}
        #: By key: what its newest value tells, while no newer one has replaced it, and the pseudonym of its key.
        self._told: dict[bytes, tuple[Place, bytes]] = {}
        self.places: list[Place] = []

    def add(self, record: Record) -> None:
        """Look at one record."""
        if record.topic == self._changelog:
            self._of_changelog(record)
        elif record.topic in EVIDENCE:
            if self._mentions(record.key) or self._mentions(record.value):
                self._note(Kind.KEPT, record, "what was asked for and done: the proof of the erasure")
        elif BY_NAME[record.topic].encrypted:
            self._of_encrypted(record)
        elif self._mentions(record.key) or self._mentions(record.value):
            until_ms = record.at_ms + BY_NAME[record.topic].retention_ms
            self._note(Kind.EXPIRES, record, "a record as it was sent in", until_ms)

    def done(self) -> list[Place]:
        """Every place found, values that nothing has replaced included."""
        places = [*self.places, *(place for place, _ in self._told.values())]
        return sorted(places, key=lambda p: (p.kind, p.topic, p.partition, p.offset))

    def table_value(self, path: str, key: bytes, value: bytes) -> None:
        """Look at one value of a local copy of the table, which has no older ones."""
        found = self._reading(key, value) if key in self._identifiers else None
        if found is not None:
            self.places.append(Place(Kind.KEPT if found[0] is Kind.KEPT else Kind.TRACE, path, 0, 0, found[1]))

    def file_piece(self, path: str, key: bytes, piece: bytes, at_ms: int) -> bool:
        """Look at what stands behind a key in a file of the table, last changed at that time; whether its subject's
        data key is there. That of a subject who can be read anyway is told already."""
        if key not in self._identifiers or not self._key_encryption.finds(key, piece):
            return False
        if not any(place.kind is Kind.TRACE and path.startswith(f"{place.topic}/") for place in self.places):
            what = "the key of what was replaced, not compacted yet by a worker"
            self.places.append(Place(Kind.EXPIRES, path, 0, 0, what, at_ms + COMPACTED_MS))
        return True

    def _of_changelog(self, record: Record) -> None:
        key, value = record.key or b"", record.value
        newest = self._ring.follow(record.partition, key, value)
        purged_ms = record.at_ms + PURGE_MS
        if newest and key in self._told:
            place, pseudonym = self._told.pop(key)
            what = f"{place.what}, replaced and not compacted yet"
            self.places.append(replace(place, kind=Kind.EXPIRES, what=what, until_ms=purged_ms))
            self._pseudonyms[pseudonym] = purged_ms
        found = None if value is None or key.startswith(b"\x00") else self._reading(key, value)
        if found is None:
            return
        kind, what, pseudonym = found
        if kind is not Kind.TRACE:
            self._note(kind, record, what, None if kind is Kind.KEPT else purged_ms)
            return
        self._pseudonyms[pseudonym] = purged_ms
        if newest:
            self._told[key] = Place(kind, record.topic, record.partition, record.offset, what), pseudonym
        else:
            self._note(Kind.EXPIRES, record, f"{what}, written late by a lost owner", purged_ms)

    def _reading(self, key: bytes, value: bytes) -> tuple[Kind, str, bytes] | None:
        """What a value of the table tells about the subject, and the pseudonym that its key opens; None: nothing."""
        opened, cipher = _opened(self._key_encryption, key, value)
        if opened is None or (opened.state is None and not opened.outbox):
            return None
        if key not in self._identifiers:
            return (Kind.TRACE, "somebody else's profile that names it", b"") if self._mentions(opened.state) else None
        if opened.state is not None and not isinstance(state.decode(opened.state), Erased):
            return Kind.TRACE, "a profile that can be read", cipher.pseudonym if cipher is not None else b""
        if {out.topic for pending in opened.outbox for out in pending.outputs} - EVIDENCE:
            return Kind.EXPIRES, "what was still to be sent about the subject", b""
        return Kind.KEPT, "that the subject was erased, and when: keeps old records from coming back", b""

    def _of_encrypted(self, record: Record) -> None:
        topic = BY_NAME[record.topic]
        until_ms = record.at_ms + topic.retention_ms
        purged_ms = self._pseudonyms.get(record.key) if record.key else None
        if purged_ms is not None:
            self._note(Kind.EXPIRES, record, "opens with a key that is not compacted yet", min(until_ms, purged_ms))
        elif self._mentions(record.key) or self._mentions(record.value):
            self._note(Kind.TRACE, record, "names the subject in the open")
        elif self._mentions(self._inside(record)):
            self._note(Kind.EXPIRES, record, "names the subject, encrypted with another key", until_ms)

    def _inside(self, record: Record) -> bytes | None:
        """The opened personal part of an encrypted record."""
        topic = BY_NAME[record.topic]
        try:
            value = avro.decode(topic, record.value)
            purpose = NEWEST[topic.schema or ""].subject.encode()
            return self._ring.opened(record.key or b"", value.encrypted, purpose) if value.encrypted else None
        except (avro.CodecError, DecryptionError):
            return None

    def _mentions(self, data: bytes | None) -> bool:
        return data is not None and any(hash_ in data for hash_ in self._hashes)

    def _note(self, kind: Kind, record: Record, what: str, until_ms: int | None = None) -> None:
        self.places.append(Place(kind, record.topic, record.partition, record.offset, what, until_ms))


def _plain(value: Any) -> Any:
    """A record or a state as JSON has it, with what lies packed in it."""
    return msgspec.to_builtins(value, enc_hook=_plain_state)


def _plain_state(state: Any) -> Any:
    if not isinstance(state, State):
        raise TypeError(f"not told in an export: a {type(state).__name__}")
    told = {name: _plain(value) for name, value in state.held().items()}
    if not isinstance(state, Person):
        return told
    for request_id, one in state.requests.items():
        if one.reply:
            told["requests"][request_id]["reply"] = _plain(unpacked(DecisionReply, one.reply))
    for key, merge in state.merged.items():
        if merge.displaced:
            told["merged"][key]["displaced"] = {
                name: _plain(state.section_of(name, data)) for name, data in merge.displaced.items()}
    return told


def _opened(key_encryption: KeyEncryption, key: bytes, value: bytes) -> tuple[Envelope | None, Cipher | None]:
    """The value and its subject's key; None where it cannot be opened, or is no envelope."""
    try:
        return encrypted_values.opened(key_encryption, key, value)
    except (DecryptionError, EnvelopeError):
        return None, None

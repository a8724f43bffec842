"""Keys of the store's own, for what came in the clear: one per subject and batch, in key files that can be destroyed.

A key file is immutable: to take keys out of it, its next generation is written without them, only if nobody else has
written that one, and every generation before is emptied. An emptied one keeps its name, so that nobody can write it
again: whoever was interrupted for however long cannot bring a destroyed key back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from log_store.objects import Objects
from pipeline.codecs.encryption import Cipher, KeyEncryption, RandomBytes

_TAG_BYTES: Final = 16
_TOKEN_BYTES: Final = 6


class SubjectKey(msgspec.Struct, frozen=True, array_like=True):
    """One subject's key in one batch. `tag`: of the identifier; `wrapped`: by the installation's key."""

    tag: str
    pseudonym: str
    wrapped: bytes


def tag_of(subject: bytes) -> str:
    """The name of an identifier in key files and erasures: a hash of its keyed hash, stable for as long as that is."""
    return hashlib.sha256(b"nextbest log store " + subject).hexdigest()[: 2 * _TAG_BYTES]


def token(random_bytes: RandomBytes) -> str:
    """What tells the files of two writers apart."""
    return random_bytes(_TOKEN_BYTES).hex()


class Sealing:
    """The keys of one batch, each drawn at its subject's first record. `erased`: tags of who gets none."""

    def __init__(self, key_encryption: KeyEncryption, erased: Collection[str]) -> None:
        self._key_encryption = key_encryption
        self._erased = erased
        self._ciphers: dict[str, Cipher] = {}
        self._installation: Cipher | None = None

    def seal(self, tenant: str, subject: bytes, data: bytes, purpose: bytes) -> tuple[str, bytes] | None:
        """The pseudonym in this batch and the encrypted data; None for somebody who was erased: it is lost."""
        tag = tag_of(subject)
        if tag in self._erased:
            return None
        cipher = self._ciphers.get(tag)
        if cipher is None:
            # Its nonces are its own: no other batch has the key.
            cipher = self._key_encryption.new_key(_label(tenant, tag), self._key_encryption.nonces(0))
            self._ciphers[tag] = cipher
        return cipher.pseudonym.decode(), cipher.encrypt(data, purpose)

    def seal_for_nobody(self, data: bytes, purpose: bytes) -> bytes:
        """The data encrypted with the installation's key: of no subject that could be named."""
        if self._installation is None:
            self._installation = self._key_encryption.of_term(self._key_encryption.nonces(0))
        return self._installation.encrypt(data, purpose)

    def keys(self) -> list[SubjectKey]:
        """Every key that was drawn, wrapped."""
        return [
            SubjectKey(tag, cipher.pseudonym.decode(), cipher.wrapped or b"") for tag, cipher in self._ciphers.items()
        ]


def cipher_of(key_encryption: KeyEncryption, key: SubjectKey) -> Cipher:
    """The key at work, for reading. Raises DecryptionError."""
    tenant = key.pseudonym.partition("/")[0]
    return key_encryption.unwrapped(_label(tenant, key.tag), key.wrapped)


def write(objects: Objects, name: str, keys: Iterable[SubjectKey]) -> None:
    """A new key file. `name` must be nobody else's. Raises OSError."""
    objects.put(_generation(name, 1), msgspec.msgpack.encode(list(keys)))


def read(objects: Objects, name: str, names: Collection[str]) -> list[SubjectKey]:
    """The keys that are left in a key file; `names`: what lies in its folder. Raises OSError."""
    newest = _newest(name, names)
    data = objects.get(_generation(name, newest)) if newest else b""
    return msgspec.msgpack.decode(data, type=list[SubjectKey]) if data else []


def destroy(objects: Objects, name: str, tags: Collection[str]) -> int:
    """Take these subjects' keys out of a key file for good; how many there were. Repeatable. Raises OSError."""
    folder = name.rpartition("/")[0]
    while True:
        names = objects.names(folder)
        newest = _newest(name, names)
        if not newest:
            return 0
        try:
            keys = read(objects, name, names)
            left = [key for key in keys if key.tag not in tags]
            if len(left) < len(keys):
                if not objects.put_if_absent(_generation(name, newest + 1), msgspec.msgpack.encode(left)):
                    continue  # somebody else took keys out of it meanwhile: of theirs
                newest += 1
            for older in (one for one in generations(name, names) if one != _generation(name, newest)):
                if objects.get(older):
                    objects.put(older, b"")
        except FileNotFoundError:
            continue  # it is being deleted, with its rows
        return len(keys) - len(left)


def generations(name: str, names: Iterable[str]) -> list[str]:
    """Every object of a key file."""
    return [one for one in names if one.rpartition(".")[0] == name]


def files(names: Iterable[str]) -> list[str]:
    """The key files among a folder's objects."""
    return sorted({one.rpartition(".")[0] for one in names})


def _newest(name: str, names: Iterable[str]) -> int:
    return max((int(one.rpartition(".")[2]) for one in generations(name, names)), default=0)


def _generation(name: str, number: int) -> str:
    return f"{name}.{number}"


def _label(tenant: str, tag: str) -> bytes:
    """What binds a wrapped key to its subject."""
    return f"{tenant}/{tag}".encode()

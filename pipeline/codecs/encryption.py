"""Keys: one per subject, wrapped by the installation's. What is encrypted with them, and how it is opened again.

An encrypted value starts with a byte that says whose key it needs: `BY_SUBJECT`, the key of one subject, found by the
pseudonym that the record carries; `BY_INSTALLATION`, a key of one owner's term, derived from the installation's. Both
are AES-256-GCM of the compressed data; why, and where the nonces come from, is in docs/adr/0016-a-key-per-subject.md.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.codecs.compression import compressed, decompressed, plain

BY_SUBJECT: Final = 1
BY_INSTALLATION: Final = 2

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_ID_BYTES: Final = 4
_SALT_BYTES: Final = 16
#: Drawn and kept with the key, as deriving it anew whenever the key is unwrapped would cost more.
_PSEUDONYM_BYTES: Final = 16
#: A subject's key as it is kept: the wrapping key's id, nonce, key, pseudonym, tag.
WRAPPED_BYTES: Final = _ID_BYTES + NONCE_BYTES + KEY_BYTES + _PSEUDONYM_BYTES + 16
_SUBJECT_MARK: Final = bytes((BY_SUBJECT,))

RandomBytes = Callable[[int], bytes]


class DecryptionError(ValueError):
    """Encrypted bytes that cannot be opened; the text says which key is missing."""


class Nonces:
    """Numbers used once, of one owner's term over one partition: its epoch, two random bytes, a count.

    No other owner has the epoch, so under a subject's key, which only its partition's owner uses, none comes twice; the
    random bytes keep them apart where a changelog is put back from a copy and its epochs are given out again.
    """

    __slots__ = ("_count", "_start")

    def __init__(self, epoch: int, random_bytes: RandomBytes) -> None:
        self._start = epoch.to_bytes(4, "big") + random_bytes(2)
        self._count = 0

    def next(self) -> bytes:
        """The next one."""
        self._count += 1
        return self._start + self._count.to_bytes(6, "big")


class Cipher:
    """One key at work. A subject's has a `pseudonym`, the key of the records encrypted with it and nobody's once it is
    destroyed, and is kept `wrapped`; the installation's has neither."""

    __slots__ = ("_aead", "_mark", "_nonces", "pseudonym", "wrapped")

    def __init__(
        self, key: bytes, mark: bytes, nonces: Nonces | None, pseudonym: bytes = b"", wrapped: bytes | None = None
    ) -> None:
        """`nonces` None: for reading only."""
        self._aead = AESGCM(key)
        self._mark = mark
        self._nonces = nonces
        self.pseudonym = pseudonym
        self.wrapped = wrapped

    def encrypt(self, data: bytes, purpose: bytes, compress: bool = True) -> bytes:
        """The data, readable only with this key and for the same purpose. `compress`: where that makes it smaller;
        what is encrypted already does not get smaller."""
        if self._nonces is None:
            raise TypeError("this cipher is for reading")
        nonce = self._nonces.next()
        return self._mark + nonce + self._aead.encrypt(nonce, compressed(data) if compress else plain(data), purpose)

    def open(self, encrypted: bytes, purpose: bytes) -> bytes:
        """The data again. Raises DecryptionError."""
        start = len(self._mark)
        if encrypted[:start] != self._mark:
            raise DecryptionError("encrypted with another key")
        nonce = encrypted[start : start + NONCE_BYTES]
        try:
            return decompressed(self._aead.decrypt(nonce, encrypted[start + NONCE_BYTES :], purpose))
        except (InvalidTag, ValueError) as error:
            raise DecryptionError("not what was encrypted with this key") from error


class KeyEncryption:
    """The installation's keys, and what is derived from and wrapped by them."""

    def __init__(self, secrets: str, random_bytes: RandomBytes) -> None:
        """`secrets`: the installation's key; after a comma, earlier ones that still open what they have wrapped."""
        keys = [_derived(part.strip().encode(), b"installation") for part in secrets.split(",") if part.strip()]
        if not keys:
            raise DecryptionError("NEXTBEST_PRIVACY_KEY is empty: set a long random text, and keep it")
        self._keys = {_derived(key, b"id")[:_ID_BYTES]: key for key in keys}
        self._newest = next(iter(self._keys))
        self._wraps = {name: AESGCM(_derived(key, b"wrap")) for name, key in self._keys.items()}
        self._random_bytes = random_bytes

    def nonces(self, epoch: int) -> Nonces:
        """Those of a new term."""
        return Nonces(epoch, self._random_bytes)

    def new_key(self, subject: bytes, nonces: Nonces) -> Cipher:
        """A subject's new key."""
        key, nonce = self._random_bytes(KEY_BYTES + _PSEUDONYM_BYTES), self._random_bytes(NONCE_BYTES)
        wrapped = self._newest + nonce + self._wraps[self._newest].encrypt(nonce, key, subject)
        return self._of_subject(subject, key, wrapped, nonces)

    def unwrapped(self, subject: bytes, wrapped: bytes, nonces: Nonces | None = None) -> Cipher:
        """A subject's kept key at work. Raises DecryptionError."""
        name, nonce = wrapped[:_ID_BYTES], wrapped[_ID_BYTES : _ID_BYTES + NONCE_BYTES]
        self._require(name)
        try:
            key = self._wraps[name].decrypt(nonce, wrapped[_ID_BYTES + NONCE_BYTES :], subject)
        except (InvalidTag, ValueError) as error:
            raise DecryptionError("a wrapped key is damaged, or not this subject's") from error
        return self._of_subject(subject, key, wrapped, nonces)

    def finds(self, subject: bytes, data: bytes) -> bool:
        """Whether this subject's wrapped key lies somewhere in the data."""
        for name in self._keys:
            at = data.find(name)
            while at >= 0:
                try:
                    self.unwrapped(subject, data[at : at + WRAPPED_BYTES])
                except DecryptionError:
                    at = data.find(name, at + 1)
                else:
                    return True
        return False

    def of_term(self, nonces: Nonces) -> Cipher:
        """The installation's cipher for one owner's term: for what belongs to no subject with a key."""
        salt = self._random_bytes(_SALT_BYTES)
        return self._of_salt(self._newest, salt, nonces)

    def opened(self, encrypted: bytes, purpose: bytes) -> bytes:
        """What was encrypted by the installation. Raises DecryptionError."""
        name, salt = encrypted[1 : 1 + _ID_BYTES], encrypted[1 + _ID_BYTES : 1 + _ID_BYTES + _SALT_BYTES]
        self._require(name)
        return self._of_salt(name, salt, None).open(encrypted, purpose)

    def _of_salt(self, name: bytes, salt: bytes, nonces: Nonces | None) -> Cipher:
        key = _derived(self._keys[name], b"term" + salt)
        return Cipher(key, bytes((BY_INSTALLATION,)) + name + salt, nonces)

    @staticmethod
    def _of_subject(subject: bytes, key: bytes, wrapped: bytes, nonces: Nonces | None) -> Cipher:
        tenant = subject.partition(b"/")[0]
        pseudonym = b"%b/%b" % (tenant, key[KEY_BYTES:].hex().encode())
        return Cipher(key[:KEY_BYTES], _SUBJECT_MARK, nonces, pseudonym, wrapped)

    def _require(self, name: bytes) -> None:
        if name not in self._keys:
            raise DecryptionError(
                "wrapped by another installation key: put the earlier one after a comma into NEXTBEST_PRIVACY_KEY"
            )


def _derived(key: bytes, label: bytes) -> bytes:
    """A key of its own for each use (the expand step of HKDF, RFC 5869, for one block)."""
    return hmac.digest(key, b"nextbest " + label + b"\x01", "sha256")

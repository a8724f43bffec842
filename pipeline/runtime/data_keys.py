"""One lane's keys: which one encrypts a subject's value and outputs, when a key is made, and when it is let go.

A subject's key lies in the subject's value, wrapped: made with the first state, carried over into every later one, and
missing from the one that says that the subject was erased. So the broker has it before anything else that it encrypts,
and no crash can part the two (docs/adr/0016-a-key-per-subject.md).
"""

from __future__ import annotations

from typing import Final

from pipeline.codecs import encrypted_values
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.encryption import Cipher, DecryptionError, KeyEncryption
from pipeline.codecs.envelope import Envelope
from pipeline.ports import StateStore


class DataKeys:
    """Of one owner's term over one partition."""

    def __init__(self, key_encryption: KeyEncryption, store: StateStore, epoch: int) -> None:
        self._key_encryption = key_encryption
        self._store = store
        self._epoch = epoch
        self._nonces = key_encryption.nonces(epoch)
        #: For what belongs to no subject with a key.
        self.nobody: Final = key_encryption.of_term(self._nonces)

    def load(self, key: bytes) -> tuple[Envelope, Cipher | None]:
        """The key's stored value, opened, and what encrypts it. Raises DecryptionError."""
        data = self._store.get(key)
        if data is None:
            return Envelope(), None
        return encrypted_values.opened(self._key_encryption, key, data, self._nonces)

    def after(self, key: bytes, cipher: Cipher | None, holds_somebody: bool) -> Cipher | None:
        """What encrypts a new state: the key there is, one made now where there is none; none where nothing of the
        subject is in it."""
        if not holds_somebody:
            return None
        return cipher or self._key_encryption.new_key(key, self._nonces)

    def load_beside(self, at: bytes, cipher: Cipher | None) -> bytes | None:
        """What lies beside a state, at this place of the table, opened by the subject's key. None: nothing, or it was
        encrypted with a key that is destroyed."""
        data = self._store.get(at)
        encrypted = b"" if data is None else envelopes.beside_of(data)
        if not encrypted or cipher is None:
            return None
        try:
            return cipher.open(encrypted, at)
        except DecryptionError:
            # A subject's that was erased and has begun again.
            return None

    def encrypted_beside(self, at: bytes, data: bytes, cipher: Cipher | None) -> bytes:
        """What is put there as it goes to the changelog; it opens at no other place."""
        return envelopes.encode_beside(self._epoch, (cipher or self.nobody).encrypt(data, at) if data else b"")

    def lies_beside(self, at: bytes) -> bool:
        """Whether something does."""
        data = self._store.get(at)
        return data is not None and bool(envelopes.beside_of(data))

    def encrypted(self, envelope: Envelope, cipher: Cipher | None) -> bytes:
        """The value as it goes to the changelog."""
        return encrypted_values.encrypted(envelope, cipher or self.nobody)

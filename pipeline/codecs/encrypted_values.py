"""A table's values, encrypted and opened: each carries the key that it needs, wrapped by the installation's."""

from __future__ import annotations

from pipeline.codecs import envelope as envelopes
from pipeline.codecs.encryption import Cipher, KeyEncryption, Nonces
from pipeline.codecs.envelope import Envelope


def encrypted(envelope: Envelope, cipher: Cipher) -> bytes:
    """The value as it goes to the changelog, with the key that opens it."""
    envelope.key = cipher.wrapped
    return envelopes.encode(envelope, cipher.encrypt)


def opened(
    key_encryption: KeyEncryption, subject: bytes, data: bytes, nonces: Nonces | None = None
) -> tuple[Envelope, Cipher | None]:
    """The value of a subject's key, and that key at work; None where the installation's own encrypts it.

    `nonces` None: for reading only. Raises DecryptionError, and EnvelopeError where the bytes are something else.
    """
    found = envelopes.decode(data)
    cipher = None if found.key is None else key_encryption.unwrapped(subject, found.key, nonces)
    return envelopes.opened(found, key_encryption.opened if cipher is None else cipher.open), cipher

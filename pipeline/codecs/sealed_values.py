"""A table's values, sealed and opened: each carries the key that it needs, wrapped by the installation's."""

from __future__ import annotations

from pipeline.codecs import envelope as envelopes
from pipeline.codecs.envelope import Envelope
from pipeline.codecs.vault import Cipher, Nonces, Vault


def sealed(envelope: Envelope, cipher: Cipher) -> bytes:
    """The value as it goes to the changelog, with the key that opens it."""
    envelope.key = cipher.wrapped
    return envelopes.encode(envelope, cipher.seal)


def opened(vault: Vault, subject: bytes, data: bytes, nonces: Nonces | None = None) -> tuple[Envelope, Cipher | None]:
    """The value of a subject's key, and that key at work; None where the installation's own seals it.

    `nonces` None: for reading only. Raises SealError, and EnvelopeError where the bytes are something else.
    """
    found = envelopes.decode(data)
    cipher = None if found.key is None else vault.unwrapped(subject, found.key, nonces)
    return envelopes.opened(found, vault.opened if cipher is None else cipher.open), cipher

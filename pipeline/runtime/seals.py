"""One lane's keys: which one seals a subject's value and outputs, when a key is made, and when it is let go.

A subject's key lies in her value, wrapped: made with the first state, carried over into every later one, and missing
from the one that says that she was erased. So the broker has it before anything else that it seals, and no crash can
part the two (docs/adr/0016-a-key-per-subject.md).
"""

from __future__ import annotations

from typing import Any, Final

from pipeline.codecs import sealed_values
from pipeline.codecs.envelope import Envelope
from pipeline.codecs.vault import Cipher, Vault
from pipeline.ports import StateStore


class Seals:
    """Of one owner's term over one partition."""

    def __init__(self, vault: Vault, store: StateStore, epoch: int) -> None:
        self._vault = vault
        self._store = store
        self._nonces = vault.nonces(epoch)
        #: For what belongs to no subject with a key.
        self.nobody: Final = vault.of_term(self._nonces)

    def load(self, key: bytes) -> tuple[Envelope, Cipher | None]:
        """The key's stored value, opened, and what seals it. Raises SealError."""
        data = self._store.get(key)
        return (Envelope(), None) if data is None else sealed_values.opened(self._vault, key, data, self._nonces)

    def after(self, key: bytes, cipher: Cipher | None, state: Any) -> Cipher | None:
        """What seals a new state: the key there is, one made now where there is none, none where she was erased."""
        if state.suppressed:
            return None
        return cipher or self._vault.new_key(key, self._nonces)

    def sealed(self, envelope: Envelope, cipher: Cipher | None) -> bytes:
        """The value as it goes to the changelog."""
        return sealed_values.sealed(envelope, cipher or self.nobody)

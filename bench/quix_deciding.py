"""What the Quix Streams app does with one record. Of Quix Streams it knows the `State` alone, so tests need no more.

Handlers, codecs and encryption are ours, and so is what is kept: the profile, encrypted with its subject's key, and the
key, wrapped, beside it (docs/adr/0016-a-key-per-subject.md). What makes Nextbest's delivery effectively once, outbox
and applied offsets, is not kept: Quix Streams has checkpoints.
"""

from __future__ import annotations

from typing import Any, Protocol

from bench.quix_topics import STATE
from pipeline.agents import identity, requests
from pipeline.codecs import encrypted_values
from pipeline.codecs import state as state_codec
from pipeline.codecs.encryption import KeyEncryption
from pipeline.codecs.envelope import Envelope
from pipeline.core.model.records import DecisionRequest
from pipeline.flow import Accept, DeadLetter, Forward, Outcome
from pipeline.ports import Outbound
from pipeline.runtime.fates import LaneContext, outbound


class State(Protocol):
    """A Quix Streams state: what is kept under the record's key."""

    def get_bytes(self, key: str) -> bytes | None:
        """What was kept under the name."""

    def set_bytes(self, key: str, value: bytes) -> None:
        """Keep it under the name."""


class Deciding:
    """One record: open the state, call the handler, keep the new state encrypted, hand on what it wants sent."""

    def __init__(self, context: LaneContext, key_encryption: KeyEncryption, term: int) -> None:
        """`term`: a number that no earlier process had, as no nonce may come twice."""
        self._context = context
        self._key_encryption = key_encryption
        self._nonces = key_encryption.nonces(term)
        self._nobody = key_encryption.of_term(self._nonces)

    def __call__(self, event: Any, key: bytes, at_ms: int, headers: Any, state: State) -> tuple[Outbound, ...]:
        """The encoded outputs, in the handler's order. Raises DecryptionError, TypeError for a record without a use."""
        kept, cipher = Envelope(), None
        if (data := state.get_bytes(STATE)) is not None:
            kept, cipher = encrypted_values.opened(self._key_encryption, key, data, self._nonces)
        profile = None if kept.state is None else state_codec.decode(kept.state)
        self._context.now_ms = at_ms
        handle = requests.handle if type(event) is DecisionRequest else identity.handle
        outcome: Outcome = handle(event, profile, self._context)
        if isinstance(outcome, DeadLetter | Forward):
            raise TypeError(f"the benchmark's records are all good, and this one met {outcome}")
        if isinstance(outcome, Accept) and outcome.state is not None:
            cipher = cipher or self._key_encryption.new_key(key, self._nonces)
            envelope = Envelope(state=state_codec.encode(outcome.state))
            state.set_bytes(STATE, encrypted_values.encrypted(envelope, cipher))
        return tuple([outbound(emit, cipher or self._nobody) for emit in outcome.emits])

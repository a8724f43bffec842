"""What lies beside states, for tests that call handlers themselves, without a lane."""

from __future__ import annotations

from pipeline.flow import Accept, Outcome


class Beside:
    """By key and name. Name the key at hand before a handler runs, and say what came of it after."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], bytes] = {}
        self._key = ""

    def at(self, key: str) -> Beside:
        """Read beside this key's state from now on."""
        self._key = key
        return self

    def __call__(self, name: str) -> bytes | None:
        return self._kept.get((self._key, name)) or None

    def put(self, key: str, outcome: Outcome) -> None:
        """What the outcome puts beside the key's state."""
        if isinstance(outcome, Accept) and outcome.beside:
            self._kept.update({(key, name): data for name, data in outcome.beside.items()})

"""A state to and from the bytes that are kept: a format version byte, its kind's tag, then its sections by name.

The format of each version is written down in `schemas/state/`. A field added, removed or changed makes a new version:
a worker that does not know it stops instead of dropping what it cannot read. Older versions are raised step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from pipeline.codecs.registry import SCHEMAS_DIR
from pipeline.core.sections.section import State, UndecodableError
from pipeline.core.subject import Erased, ModelState, Person, Subject, given_up

#: The newest format that is written down; `python -m tests.support.golden --next` writes down one more.
VERSION: Final = max(int(path.suffixes[0][2:]) for path in (SCHEMAS_DIR / "state").glob("subject.v*.json"))

#: Version → what makes the plain value of that version one of the next; none where the next only has more sections.
UPCASTERS: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}

_HEADER: Final = bytes((VERSION,))


class StateError(ValueError):
    """Bytes that are not a state in a version known here. Never bad input: the table holds something else."""


def encode(state: State) -> bytes:
    """The state's bytes; the same state always gives the same bytes. Raises OverflowError past 64-bit numbers."""
    return _HEADER + state.encoded()


def decode(data: bytes) -> Subject:
    """The state; of a large one looking at a section decodes it, and may raise UndecodableError. Raises StateError
    saying what to do."""
    if not data:
        raise StateError("no bytes: not a state")
    if data[0] != VERSION:
        data = _raised(data)
    try:
        return State.decoded(memoryview(data)[1:])  # type: ignore[return-value]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(f"not a state in format {data[0]}: {error}") from error


def decode_whole(data: bytes) -> Subject:
    """The state with every section decoded, also of the states within it: of bytes that came from elsewhere. Raises
    StateError."""
    state = decode(data)
    try:
        _look_at_all(state)
    except UndecodableError as error:
        raise StateError(f"not a state in format {data[0]}: {error}") from error
    return state


def _look_at_all(state: Subject) -> None:
    """Decode everything in a state. Raises UndecodableError."""
    state.held()
    given = given_up(state)
    if given is not None:
        _look_at_all(given.state)
    for merge in state.merged.values() if isinstance(state, Person) else ():
        for name, data in merge.displaced.items():
            if name not in Person.SECTIONS:
                raise UndecodableError(f"a merge put {name} out of force, which is no section")
            Person.section_of(name, data)


def _raised(data: bytes) -> bytes:
    """The bytes of an older version as the newest version has them."""
    version = data[0]
    if not 0 < version < VERSION:
        raise StateError(
            f"state format {version}, this code knows up to {VERSION}: run at least the version that wrote it"
        )
    try:
        plain = msgspec.msgpack.decode(data[2:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(f"not a state in format {version}: {error}") from error
    for step in range(version, VERSION):
        if step in UPCASTERS:
            plain = UPCASTERS[step](plain)
    return _HEADER + data[1:2] + msgspec.msgpack.encode(plain)


class SubjectStates:
    """What lies at subjects' keys, as whoever runs flows knows it; see `ports.States`."""

    undecodable: Final = UndecodableError

    @staticmethod
    def decode(data: bytes) -> Subject:
        """See `decode`."""
        return decode(data)

    @staticmethod
    def encode(state: Subject) -> bytes:
        """See `State.settled`."""
        return _HEADER + state.settled()

    @staticmethod
    def due_ms(state: Subject) -> int | None:
        """The earliest of its timers."""
        return min(state.timers.values(), default=None)

    @staticmethod
    def holds_somebody(state: Subject) -> bool:
        """Of an erased subject nothing is left but that; a model's statistics are nobody's."""
        return not isinstance(state, Erased | ModelState)

"""A profile to and from the bytes that are kept: one format version byte, then MessagePack of its fields by name.

The format of each version is written down in `schemas/state/`. A field added, removed or changed makes a new version:
a worker that does not know it stops instead of dropping what it cannot read. Older versions are raised step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from pipeline.core.profile import Profile

VERSION: Final = 1

#: Version → what makes the plain value of that version one of the next.
UPCASTERS: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}

_HEADER: Final = bytes((VERSION,))
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Profile).decode


class StateError(ValueError):
    """Bytes that are not a profile in a version known here. Never bad input: the table holds something else."""


def encode(profile: Profile) -> bytes:
    """The profile's bytes; the same profile always gives the same bytes. Raises OverflowError past 64-bit numbers."""
    return _HEADER + _encode(profile)


def decode(data: bytes) -> Profile:
    """The profile. Raises StateError saying what to do."""
    if not data:
        raise StateError("no bytes: not a profile")
    try:
        if data[0] == VERSION:
            return _decode(memoryview(data)[1:])
        return _raised(data[0], data[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(f"not a profile in state format {data[0]}: {error}") from error


def _raised(version: int, body: bytes) -> Profile:
    if version not in UPCASTERS:
        raise StateError(
            f"state format {version}, this code knows up to {VERSION}: run at least the version that wrote it"
        )
    plain = msgspec.msgpack.decode(body)
    for step in range(version, VERSION):
        plain = UPCASTERS[step](plain)
    return msgspec.convert(plain, Profile)

"""Frozen values: what records, states and outcomes are made of, and what every request makes by the hundred.

Made, compared and encoded in C: a frozen dataclass takes three to eight times as long to make. Passed over by the
garbage collector, as values of texts, numbers and one another are never part of a cycle.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from msgspec import field as value_field
from msgspec.structs import asdict, astuple
from msgspec.structs import replace as replaced

__all__ = ["NotPacked", "Value", "Working", "asdict", "astuple", "packed", "replaced", "unpacked", "value_field"]

_T = TypeVar("_T")

#: What `unpacked` raises for bytes that are no such value.
NotPacked: Final = msgspec.MsgspecError
_pack: Final = msgspec.msgpack.Encoder().encode


def packed(value: Any) -> bytes:
    """A value put away, for when it is rarely looked at and often carried along: MessagePack of its fields by name."""
    return _pack(value)


def unpacked(type_: type[_T], data: bytes) -> _T:
    """A value that was put away."""
    return msgspec.msgpack.decode(data, type=type_)


class Working(msgspec.Struct, gc=False):
    """What one call works with, and changes in place: made in C as values are, and gone with the call."""


class Value(msgspec.Struct, frozen=True, gc=False):
    """A frozen value of texts, numbers and containers of these; never of anything that could hold it in turn."""

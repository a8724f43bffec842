"""Frozen values that every request makes, and cheap to make.

`@value_type(frozen=True, slots=True)` is `@dataclass(frozen=True, slots=True)` but for one thing: nothing stops an
assignment at run time, which would make each value five times as expensive. mypy stops it, over the whole project.

`Value` is the base of those that a decision makes by the hundred, one for each candidate: made in C, a quarter of the
time again, and passed over by the garbage collector, as values of texts and numbers are never part of a cycle.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from msgspec import field as value_field
from msgspec.structs import replace as replaced

__all__ = ["Value", "packed", "replaced", "unpacked", "value_field", "value_type"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value_type
else:

    def value_type(*, frozen: bool, slots: bool) -> Callable[[type], type]:
        """The class as a dataclass with the equality and hash of a frozen one."""
        return dataclasses.dataclass(slots=slots, unsafe_hash=frozen)


_T = TypeVar("_T")
_pack: Final = msgspec.msgpack.Encoder().encode


def packed(value: Any) -> bytes:
    """A value put away, for when it is rarely looked at and often carried along: MessagePack of its fields by name."""
    return _pack(value)


def unpacked(type_: type[_T], data: bytes) -> _T:
    """A value that was put away."""
    return msgspec.msgpack.decode(data, type=type_)


class Value(msgspec.Struct, frozen=True, gc=False):
    """A frozen value of texts, numbers and containers of these; never of anything that could hold it in turn."""

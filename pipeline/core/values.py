"""Frozen values that every request makes, and cheap to make: frozen to the type checker, plain slots at run time.

`@value_type(frozen=True, slots=True)` is `@dataclass(frozen=True, slots=True)` but for one thing: nothing stops an
assignment at run time, which would make each value five times as dear. mypy stops it, over the whole project.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

__all__ = ["value_type"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value_type
else:

    def value_type(*, frozen: bool, slots: bool) -> Callable[[type], type]:
        """The class as a dataclass with the equality and hash of a frozen one."""
        return dataclasses.dataclass(slots=slots, unsafe_hash=frozen)

"""Types that travel inside Avro as bytes of their own format, by name: how to write and read each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pipeline.codecs import state

OPAQUE: Final[dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]]] = {
    "Profile": (state.encode, state.decode),
}

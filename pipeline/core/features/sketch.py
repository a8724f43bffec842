"""An estimate of how many different values came in a sliding window.

HyperLogLog (Flajolet, Fusy, Gandouet, Meunier, 2007) whose registers keep, for every rank, the latest moment it was
seen, without those that a higher rank at a later moment hides (Chabchoub and Hébrail, "Sliding HyperLogLog", 2010).
With 128 registers its standard error is 1.04 / sqrt(128) = 9.2 %.
"""

from __future__ import annotations

import hashlib
from math import log
from typing import Final

from pipeline.core.model.features import MOMENTS_PER_REGISTER_MAX, REGISTERS

#: Register → ranks and moments in turn, by falling rank.
Sketch = dict[int, list[int]]

_BITS: Final = REGISTERS.bit_length() - 1
_ALPHA: Final = 0.7213 / (1 + 1.079 / REGISTERS)


def hashed(value: object) -> int:
    """64 bits of a scalar: the same for the same value of the same type, everywhere and for ever."""
    text = f"{type(value).__name__}\x1f{value!r}" if not isinstance(value, str) else f"str\x1f{value}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def seen(sketch: Sketch, hash_: int, at_ms: int) -> None:
    """Add one value at a moment (epoch ms), in place."""
    rank = 64 - _BITS + 1 - (hash_ >> _BITS).bit_length()
    _insert(sketch.setdefault(hash_ % REGISTERS, []), rank, at_ms)


def united(a: Sketch, b: Sketch) -> Sketch:
    """Of all that either has seen."""
    result = {register: list(pairs) for register, pairs in a.items()}
    for register, pairs in b.items():
        for place in range(0, len(pairs), 2):
            _insert(result.setdefault(register, []), pairs[place], pairs[place + 1])
    return result


def _insert(pairs: list[int], rank: int, at_ms: int) -> None:
    kept: list[tuple[int, int]] = []
    latest: int | None = None
    for one, at in sorted([(rank, at_ms), *zip(pairs[::2], pairs[1::2], strict=True)], reverse=True):
        if latest is None or at > latest:
            kept.append((one, at))
            latest = at
    pairs[:] = [part for pair in kept[:MOMENTS_PER_REGISTER_MAX] for part in pair]


def estimate(sketch: Sketch, start_ms: int) -> int:
    """How many different values came from a moment on (epoch ms), to the nearest whole number."""
    ranks = [next((rank for rank, at in zip(pairs[::2], pairs[1::2], strict=True) if at >= start_ms), 0)
             for pairs in sketch.values()]
    empty = REGISTERS - sum(1 for rank in ranks if rank)
    raw = _ALPHA * REGISTERS ** 2 / (empty + sum(2.0 ** -rank for rank in ranks if rank))
    if raw <= 2.5 * REGISTERS and empty:
        return round(REGISTERS * log(REGISTERS / empty))
    return round(raw)

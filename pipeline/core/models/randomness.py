"""Random numbers of one decision: bits of NumPy's Philox, and transforms of our own, the same for ever.

NumPy keeps the streams of its bit generators, but not the transforms of `Generator` (its compatibility policy). So a
replay takes only bits from it. Uniform: the upper 53 bits, at the middle of their interval. Normal: Box and Muller, "A
note on the generation of random normal deviates", 1958. Gamma: Marsaglia and Tsang, "A simple method for generating
gamma variables", 2000. Beta: from two gammas.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

#: Each round of gamma draws accepts over 95 % of what is left: that so many do not suffice never happens.
_ROUNDS_MAX: Final = 64


class Chance:
    """A stream of random numbers, given by texts: the same texts give the same numbers in the same order.

    The first half of the texts' SHA-256 is the key of the stream. `two`: numbers in [0, 1) from the second half.
    """

    def __init__(self, *parts: str) -> None:
        seed = hashlib.sha256("\x1f".join(parts).encode()).digest()
        self._key = seed[:16]
        self._bits: Philox | None = None
        self.two: Final = ((int.from_bytes(seed[16:24]) >> 11) / 2**53, (int.from_bytes(seed[24:]) >> 11) / 2**53)

    def uniforms(self, count: int) -> Floats:
        """So many numbers in the open interval (0, 1)."""
        if self._bits is None:
            # Only where it is needed: to make one takes longer than to draw from it.
            self._bits = Philox(key=int.from_bytes(self._key))
        raw = np.asarray(self._bits.random_raw(count), dtype=np.uint64)
        return ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normals(self, count: int) -> Floats:
        """So many standard normal numbers. Takes an even number of uniforms."""
        half = (count + 1) // 2
        uniforms = self.uniforms(2 * half)
        radius = np.sqrt(-2.0 * np.log(uniforms[:half]))
        angle = 2.0 * np.pi * uniforms[half:]
        return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))[:count]

    def gammas(self, shapes: Floats) -> Floats:
        """One gamma number of scale 1 for each shape, which is above 0."""
        small = shapes < 1.0
        d = np.where(small, shapes + 1.0, shapes) - 1.0 / 3.0
        c = 1.0 / np.sqrt(9.0 * d)
        found = d.copy()
        left = np.arange(len(shapes))
        for _ in range(_ROUNDS_MAX):
            if not len(left):
                break
            x, u = self.normals(len(left)), self.uniforms(len(left))
            v = (1.0 + c[left] * x) ** 3
            inside = v > 0.0
            log_v = np.log(np.where(inside, v, 1.0))
            accepted = inside & (np.log(u) < 0.5 * x * x + d[left] * (1.0 - v + log_v))
            found[left[accepted]] = d[left[accepted]] * v[accepted]
            left = left[~accepted]
        if small.any():
            power = self.uniforms(len(shapes)) ** (1.0 / np.where(small, shapes, 1.0))
            found = np.where(small, found * power, found)
        return found

    def betas(self, a: Floats, b: Floats) -> Floats:
        """One beta number for each pair of shapes, which are above 0."""
        both = self.gammas(np.concatenate((a, b)))
        first, second = both[: len(a)], both[len(a) :]
        total = first + second
        # Both may be too small for a number where both shapes are far below 1: then either end is as likely.
        return np.where(total > 0.0, first / np.where(total > 0.0, total, 1.0), a / (a + b))

"""P-values adjusted for how many are read together. Pure.

Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979): any one
false alarm. Benjamini and Yekutieli, Annals of Statistics 29 (2001): the share of false ones among the alarms, however
the tests depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def holm(values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order."""
    adjusted, running = [0.0] * len(values), 0.0
    for rank, index in enumerate(_ascending(values)):
        running = max(running, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = running
    return adjusted


def benjamini_yekutieli(values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order."""
    count = len(values)
    harmonic = math.fsum(1 / rank for rank in range(1, count + 1))
    adjusted, running = [0.0] * count, 1.0
    for rank, index in reversed(list(enumerate(_ascending(values), start=1))):
        running = min(running, values[index] * count * harmonic / rank)
        adjusted[index] = running
    return adjusted


def _ascending(values: Sequence[float]) -> list[int]:
    if not all(0 <= value <= 1 for value in values):
        raise ValueError("p-values lie between 0 and 1")
    return sorted(range(len(values)), key=lambda index: values[index])

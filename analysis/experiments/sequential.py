"""Intervals and p-values that hold at every look: asymptotic confidence sequences. Pure.

Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences", Annals of Statistics 52 (2024), arXiv 2103.06476: theorem 2.2 (the interval), appendix B.2 (the choice of
rho). For two variations, t counts the subjects of both, and t times the variance of the estimate stands for the
variance of their pseudo-outcomes (section 3.1 there).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from analysis.experiments.effects import Estimated

#: Before so many subjects in a variation nothing is concluded: the sequence holds asymptotically.
SUBJECTS_MIN: Final = 100


@dataclass(frozen=True, slots=True)
class Sequence:
    """A confidence sequence of level 1 - alpha, narrowest at `tuned_at` subjects, which is declared beforehand.

    Raises ValueError for what is no level or no number of subjects.
    """

    alpha: float = 0.05
    tuned_at: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or self.tuned_at < 1:
            raise ValueError("alpha between 0 and 1, and tuned at one subject or more")

    @property
    def rho(self) -> float:
        """rho = sqrt((-2 ln alpha + ln(-2 ln alpha + 1)) / t), with t = `tuned_at`."""
        log_term = -2 * math.log(self.alpha)
        return math.sqrt((log_term + math.log(log_term + 1)) / self.tuned_at)

    def half_width(self, deviation: float, t: int) -> float:
        """Half of the interval after t subjects of standard deviation `deviation`."""
        scaled = t * self.rho**2
        return deviation * math.sqrt(2 * (scaled + 1) / (t * scaled) * math.log(math.sqrt(scaled + 1) / self.alpha))

    def interval(self, found: Estimated) -> tuple[float, float]:
        """The interval at this look; over all looks together it leaves out the truth with probability alpha at most."""
        half = self.half_width(math.sqrt(found.variance * found.n), found.n)
        return found.value - half, found.value + half

    def p_value(self, found: Estimated) -> float:
        """The smallest level whose sequence, with this rho, leaves out 0: a p-value that holds at every look."""
        if found.variance <= 0:
            return 1.0 if found.value == 0 else 0.0
        scaled = found.n * self.rho**2
        exponent = found.value**2 / found.variance * scaled / (2 * (scaled + 1))
        return min(1.0, math.exp(0.5 * math.log(scaled + 1) - exponent))

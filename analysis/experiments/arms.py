"""What is known of one variation: one value per subject. Pure; knows no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from analysis.off_policy.log import Floats, Ints


@dataclass(frozen=True, slots=True)
class Arm:
    """One variation, its subjects in the order in which they were complete.

    `outcome` float [n], the subject's total; `exposures` float [n], their decisions (the denominator of a ratio);
    `covariate` float [n], from before the first exposure; `complete_ms` int [n], when all of it was known;
    `segments`: name -> text [n], as at the first exposure. Raises ValueError where the lengths differ.
    """

    name: str
    outcome: Floats
    exposures: Floats
    complete_ms: Ints
    covariate: Floats | None = None
    segments: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = [self.exposures, self.complete_ms, *self.segments.values()]
        if self.covariate is not None:
            given.append(self.covariate)
        if any(len(one) != len(self.outcome) for one in given):
            raise ValueError(f"the columns of {self.name} differ in length")

    def __len__(self) -> int:
        return len(self.outcome)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Arm:
        """The subjects that are chosen [n]."""
        covariate = None if self.covariate is None else self.covariate[chosen]
        segments = {name: values[chosen] for name, values in self.segments.items()}
        return Arm(
            self.name, self.outcome[chosen], self.exposures[chosen], self.complete_ms[chosen], covariate, segments
        )

"""Special functions against SciPy, which is no dependency of what runs."""

from __future__ import annotations

import pytest
from scipy import stats

from analysis.numerics import chi_square_survival, normal_quantile, upper_gamma


@pytest.mark.parametrize("degrees", [1, 2, 3, 10, 99])
@pytest.mark.parametrize("statistic", [0.0, 1e-9, 0.5, 3.84, 9.0, 60.0, 400.0])
def test_the_chi_square_tail_is_that_of_scipy(degrees: int, statistic: float) -> None:
    peer = stats.chi2.sf(statistic, degrees)
    assert chi_square_survival(statistic, degrees) == pytest.approx(peer, rel=1e-10, abs=1e-15)


@pytest.mark.parametrize("probability", [1e-6, 0.025, 0.5, 0.975, 1 - 1e-6])
def test_the_normal_quantile_is_that_of_scipy(probability: float) -> None:
    assert normal_quantile(probability) == pytest.approx(stats.norm.ppf(probability), rel=1e-9, abs=1e-12)


def test_an_infinite_statistic_is_impossible() -> None:
    assert upper_gamma(2.0, float("inf")) == 0.0


@pytest.mark.parametrize(("statistic", "degrees"), [(1.0, 0), (-1.0, 1), (float("nan"), 1)])
def test_what_is_no_chi_square_is_refused(statistic: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="chi-square"):
        chi_square_survival(statistic, degrees)

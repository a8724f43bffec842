"""What is more than an analysis takes is refused or said, never cut in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis import outcomes
from analysis.errors import AnalysisError
from analysis.experiments import assignment, compare, report
from analysis.experiments.assignment import assigned
from analysis.experiments.compare import Declared
from analysis.experiments.report import read_experiment
from analysis.off_policy import intervals, log
from analysis.off_policy.estimators import Method, estimate
from analysis.off_policy.intervals import Bootstrap, bootstrap
from analysis.off_policy.log import Log
from analysis.outcomes import read_outcomes
from tests.analysis.outcome_rows import DAY_MS, row, write


def test_more_outcomes_than_the_bound_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "o.parquet", [row(number, "s", 0) for number in range(4)])
    monkeypatch.setattr(outcomes, "ROWS_MAX", 4)
    assert len(read_outcomes(file)) == 4
    monkeypatch.setattr(outcomes, "ROWS_MAX", 3)
    with pytest.raises(AnalysisError, match="more than 3"):
        read_outcomes(file)


def test_more_cells_than_the_bound_are_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Log(np.array([0, 1] * 30), np.ones(60), np.full(60, 0.5), 2)
    target = np.full((60, 2), 0.5)
    monkeypatch.setattr(log, "CELLS_MAX", 120)
    assert estimate(Method.IPS, data, target, Bootstrap()).value == 1.0
    monkeypatch.setattr(log, "CELLS_MAX", 119)
    made = estimate(Method.IPS, data, target, Bootstrap())
    assert made.value is None and "take fewer rows" in made.reasons[0]


def test_more_draws_than_the_bound_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(10.0)
    monkeypatch.setattr(intervals, "RESAMPLED_MAX", 1_000)
    bootstrap(values, np.ones(10), None, Bootstrap(100))
    with pytest.raises(AnalysisError, match="ask for fewer"):
        bootstrap(values, np.ones(10), None, Bootstrap(101))


@pytest.mark.parametrize("resamples", [99, 100_001])
def test_more_resamples_than_the_bound_are_refused(resamples: int) -> None:
    with pytest.raises(ValueError, match="100 to 100,000"):
        Bootstrap(resamples)


def test_more_segments_than_the_bound_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(10**6, "end", 40, experiments=[])]
    for number in range(800):
        arm = "control" if number % 2 else "new"
        rows.append(row(number, f"s{number}", 0, float(number % 7), channel=f"c{number // 2 % 4}",
                        experiments=[f"checkout:{arm}"]))
    found = read_outcomes(write(tmp_path / "o.parquet", rows))

    def made() -> report.Report:
        dealt = assigned(found, "checkout", None, 7 * DAY_MS, ("channel",))
        return read_experiment(dealt, "checkout", "control", None, 7, Declared())

    everything = {one.value for one in made().segments}
    assert everything == {"c0", "c1", "c2", "c3"}
    for module in (compare, report):
        monkeypatch.setattr(module, "SEGMENTS_MAX", 2)
    cut = made()
    assert len(cut.segments) == 2 and any("no more than the first 2 segments" in note for note in cut.notes)
    monkeypatch.setattr(assignment, "SEGMENT_VALUES_MAX", 1)
    assert len(everything - {one.value for one in made().segments}) == 3

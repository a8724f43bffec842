"""From outcomes to subjects: each counts once, in one variation, by what was known when their window was over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.errors import AnalysisError
from analysis.experiments.assignment import Assigned, assigned
from analysis.outcomes import read_outcomes
from tests.analysis.outcome_rows import DAY_MS, START_MS, row, write

NEW: dict[str, Any] = {"experiments": ["checkout:new", "other:x"]}
NONE: dict[str, Any] = {"experiments": []}
#: Somebody whose outcomes are the last that are known: everybody before is complete.
END = row(99, "end", 30)


def read(tmp_path: Path, *rows: dict[str, Any], outcome: str | None = None, segments: tuple[str, ...] = ()) -> Assigned:
    file = write(tmp_path / "a.parquet", [*rows, END])
    return assigned(read_outcomes(file), "checkout", outcome, 7 * DAY_MS, segments)


def test_a_subject_counts_once_with_all_they_did_in_the_window(tmp_path: Path) -> None:
    ann = row(1, "ann", 0, 1.0), row(2, "ann", 6.9, 2.0), row(3, "ann", 7.0, 40.0)
    made = read(tmp_path, *ann, row(4, "ben", 1, 5.0, **NEW))
    assert list(made.arms["control"].outcome) == [3.0]
    assert list(made.arms["control"].exposures) == [2.0]
    assert list(made.arms["new"].outcome) == [5.0]
    assert made.counts == {"control": 2, "new": 1}


def test_a_subject_seen_in_two_variations_is_left_out_and_said(tmp_path: Path) -> None:
    both: dict[str, Any] = {"experiments": ["checkout:new", "checkout:control"]}
    made = read(tmp_path, row(1, "ann", 0), row(2, "ann", 1, **NEW), row(3, "ben", 0, **NEW), row(4, "cara", 0, **both))
    assert made.counts == {"control": 1, "new": 1}
    assert made.in_two == 2
    assert "2 subjects were seen in two variations and are left out" in made.notes


def test_a_subject_waits_until_their_window_is_over(tmp_path: Path) -> None:
    """Seven days, and one until an outcome is final: by day 31, whoever came before day 23."""
    made = read(tmp_path, row(1, "ann", 23, 1.0, **NEW), row(2, "ben", 23.1, 1.0, **NEW))
    assert len(made.arms["new"]) == 1 and made.counts["new"] == 2
    assert list(made.arms["new"].complete_ms) == [START_MS + 31 * DAY_MS]
    # Ben, and the one at the end.
    assert made.incomplete == 2


def test_the_covariate_is_what_was_final_before_the_first_exposure(tmp_path: Path) -> None:
    """A record that became final afterwards may hold what the exposure caused."""
    made = read(tmp_path, row(1, "ann", 0, 4.0, **NONE), row(2, "ann", 4.5, 8.0, **NONE), row(3, "ann", 5, 1.0))
    covariate = made.arms["control"].covariate
    assert covariate is not None and list(covariate) == [4.0]


def test_segments_are_as_at_the_first_exposure(tmp_path: Path) -> None:
    french: dict[str, Any] = {"context": '{"country": "FR"}', "channel": "app"}
    made = read(
        tmp_path, row(1, "ann", 2, **NEW), row(2, "ann", 1, **NEW, **french), row(3, "ben", 1, **NEW, context=None),
        segments=("channel", "context.country"),
    )
    segments = made.arms["new"].segments
    seen = sorted(zip(segments["channel"], segments["context.country"], strict=True))
    assert seen == [("app", "FR"), ("web", "(unknown)")]


def test_the_outcome_is_named_where_there_are_several(tmp_path: Path) -> None:
    rows = (row(1, "ann", 0, 1.0), row(2, "ann", 0, 7.0, outcome="visit"))
    with pytest.raises(AnalysisError, match="--outcome: order, visit"):
        read(tmp_path, *rows)
    assert list(read(tmp_path, *rows, outcome="visit").arms["control"].outcome) == [7.0]
    with pytest.raises(AnalysisError, match="no outcome click"):
        read(tmp_path, *rows, outcome="click")


def test_an_experiment_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [row(1, "ann", 0, **NEW)])
    with pytest.raises(AnalysisError, match="there are: checkout, other"):
        assigned(read_outcomes(file), "check", None, DAY_MS, ())


@pytest.mark.parametrize("segment", ["age", "context.", "profile.plan"])
def test_a_segment_that_is_not_logged_is_refused(tmp_path: Path, segment: str) -> None:
    with pytest.raises(AnalysisError, match="no segment"):
        read(tmp_path, segments=(segment,))

"""Outcomes as the topic carries them, read from the log store into what analyses work on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis import log_source
from analysis.errors import AnalysisError
from analysis.log_source import finals, outcomes_from, outcomes_in
from analysis.off_policy.policies import evaluated
from analysis.outcomes import COLUMNS, read_outcomes
from log_store import read
from log_store.columns import columns_of
from pipeline.core.model.records import FeedbackKind
from pipeline.settings import Settings
from tests.training.recorded import Run, begun, watched
from topics.catalog import OUTCOMES


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    run = watched(monkeypatch)
    begun(run, tmp_path, "shop/ann", "shop/ben")
    for subject in ("shop/ann", "shop/ben"):
        reply = run.ask("r", subject)
        run.tell(reply, subject, FeedbackKind.CONVERSION, reply.decisions[0].item_id, 7.5)
    run.settle()
    return run


def test_the_topic_has_every_column_that_is_read() -> None:
    topic = columns_of(OUTCOMES)
    assert {*COLUMNS} <= {part.name for part in (*topic.open, *topic.personal)}


def test_final_outcomes_come_with_all_that_is_known_of_them(run: Run) -> None:
    found = outcomes_in(run.store(), "shop")
    told = {one.outcome_id: one for one in run.pipeline.values(OUTCOMES) if one.final}
    assert len(found) == len(told) == 8 and found.notes == ()
    bought = found.where(found.outcome == "purchase")
    assert bought.reward.sum() == 15.0
    assert sorted(bought.profile_id.tolist()) == ["shop/ann"] * 2 + ["shop/ben"] * 2
    assert np.isfinite(found.pscore).all() and set(found.position.tolist()) == {0, 1}
    assert json.loads(found.context[0])["profile.plan"] == "free"
    assert evaluated(found, "uniform", "purchase", None).log.rows == 4


def test_the_view_of_the_store_gives_the_same(run: Run) -> None:
    by_view = read_outcomes(read.connection(Settings(), "shop", run.store()))
    found = outcomes_in(run.store(), "shop")
    order, other = np.argsort(found.profile_id, kind="stable"), np.argsort(by_view.profile_id, kind="stable")
    assert len(by_view) == len(found) == 8
    for name in ("outcome", "action", "reward", "pscore", "position", "decided_ms", "at_ms", "experiments", "context"):
        assert sorted(map(str, getattr(by_view, name)[other])) == sorted(map(str, getattr(found, name)[order])), name


def test_of_another_tenant_nothing_is_read(run: Run) -> None:
    assert len(outcomes_in(run.store(), "club")) == 0


def test_what_stays_closed_is_said(run: Run) -> None:
    found = outcomes_in(replace(run.store(), ring=None), "shop")
    assert len(found) == 0 and "8 outcomes left out" in found.notes[0]


def test_more_than_the_bound_is_refused(run: Run) -> None:
    with pytest.raises(AnalysisError, match="more than 7 final outcomes"):
        finals(run.store(), "shop", ["reward"], 7)


def test_files_or_the_store_are_named_and_not_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXTBEST_LOGS", raising=False)
    with pytest.raises(AnalysisError, match="exclude each other"):
        outcomes_from(tmp_path, "logs", None)
    with pytest.raises(AnalysisError, match="name where outcomes are"):
        outcomes_from(None, None, None)


def test_a_place_that_is_no_store_is_one_sentence() -> None:
    settings = Settings(logs="http://example.org/logs")
    with pytest.raises(AnalysisError, match=r"the log store at http://example"), log_source.store_of(settings):
        pass

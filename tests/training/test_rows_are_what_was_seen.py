"""Training data beside what decisions saw while they were made, over a recorded run in memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.errors import AnalysisError
from analysis.training import write as writing
from analysis.training.columns import Columns
from analysis.training.seen import LeftOut, rows_of
from analysis.training.store import audits, outcomes
from analysis.training.write import FEATURE, Report, Wanted, training_table
from pipeline.core.model.records import FeedbackKind
from pipeline.core.model.values import replaced
from tests.support import shop
from tests.training.recorded import MINUTE, POLICY, Run, begun, watched
from topics.catalog import DECISION_AUDIT, IDENTITY_EVENTS

SUBJECTS = ("shop/ann", "shop/ben", "shop/cem")

ALL = Wanted()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Three subjects who are asked, click, buy, become others and are asked again, under two releases."""
    run = watched(monkeypatch)
    begun(run, tmp_path, *SUBJECTS)
    for turn in range(4):
        for number, subject in enumerate(SUBJECTS):
            reply = run.ask(f"r{turn}", subject)
            run.pipeline.advance(MINUTE)
            if (turn + number) % 2:
                run.tell(reply, subject, FeedbackKind.CLICK, reply.decisions[0].item_id, None)
            if number == 2:
                run.tell(reply, subject, FeedbackKind.CONVERSION, reply.decisions[-1].item_id, 10.0 * turn)
        if turn == 1:
            for subject in SUBJECTS[1:]:
                run.pipeline.send(
                    IDENTITY_EVENTS, subject, shop.traits(subject, run.pipeline.clock.at_ms, plan="pro"))
            changed = POLICY.replace("priority: 10\n", "priority: 10\n    attributes: {value: 2.5}\n")
            run.publish(tmp_path / "policy", changed)
    # What the profiles hold today is none of what was seen.
    for subject in SUBJECTS:
        run.pipeline.send(IDENTITY_EVENTS, subject, shop.traits(subject, run.pipeline.clock.at_ms, plan="gone"))
    run.settle()
    return run


def table(run: Run, wanted: Wanted = ALL, report: Report | None = None) -> pa.Table:
    store, history = run.store(), run.history()
    report = Report() if report is None else report
    return training_table(
        audits(store, "shop", None, None, report), partial(run.live, history), outcomes(store, "shop", None), wanted,
        b"salt", report)


def test_every_row_is_what_the_decision_saw(run: Run) -> None:
    report = Report()
    made = table(run, report=report)
    rows = made.to_pylist()
    assert report.rows == len(rows) > 15 and not report.left_out and not report.waiting
    assert not report.without_decision
    different = 0
    for row in rows:
        facts, items = run.seen[row["decision_id"], row["placement"]]
        seen = facts | items[row["action"]]
        for name in made.column_names:
            if name.startswith(FEATURE):
                wanted = seen.get(name.removeprefix(FEATURE))
                different += row[name] != (list(wanted) if isinstance(wanted, tuple) else wanted)
    assert different == 0
    assert {row["feature.profile.plan"] for row in rows} == {"free", "pro"}
    assert len({row["feature.features.clicked"] for row in rows}) > 1
    assert len({row["feature.candidate.features.liked"] for row in rows}) > 1
    assert {row["feature.candidate.value"] for row in rows if row["action"] == "tips"} == {1.0, 2.5}


def test_rewards_and_propensities_are_those_of_the_outcomes_and_audits(run: Run) -> None:
    rows = table(run).to_pylist()
    assert sum(row["reward.purchase"] for row in rows) == 60.0
    assert sum(row["reward.click"] for row in rows) == 6.0
    assert not any(row["crowded"] for row in rows)
    shown = {
        (audit.decision_id, one.item_id): one.propensity
        for audit in run.pipeline.values(DECISION_AUDIT) for one in audit.decisions if not one.fallback
    }
    assert {(row["decision_id"], row["action"]): row["pscore"] for row in rows} == shown
    assert all(0 < row["pscore"] <= 1 for row in rows)
    for row in rows:
        assert row["action"] in row["candidates"]
    assert len({row["group"] for row in rows}) == 3
    assert not {row["group"] for row in rows} & set(SUBJECTS)


def test_an_item_that_stands_above_could_not_be_shown_below(run: Run) -> None:
    rows = table(run).to_pylist()
    firsts = {row["decision_id"]: row["action"] for row in rows if row["position"] == 0}
    seconds = [row for row in rows if row["position"] == 1]
    assert seconds
    assert all(firsts[row["decision_id"]] not in row["candidates"] for row in seconds)


def test_what_is_said_twice_counts_once(run: Run) -> None:
    store, history, report = run.store(), run.history(), Report()
    told = list(audits(store, "shop", None, None, report))
    finals = outcomes(store, "shop", None)
    made = training_table(
        [*told, *told], partial(run.live, history), pa.concat_tables([finals, finals]), Wanted(), b"salt", report)
    assert made.equals(table(run))


def test_another_placement_or_model_has_no_rows(run: Run) -> None:
    for wanted in (Wanted(placement="side"), Wanted(model="hero")):
        report = Report()
        assert table(run, wanted, report).num_rows == 0
        assert report.not_wanted > 15


def test_what_is_not_final_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = watched(monkeypatch)
    begun(run, tmp_path, "shop/ann")
    run.ask("r1", "shop/ann")
    report = Report()
    assert table(run, report=report).num_rows == 0 and report.waiting == 2


def test_what_cannot_be_made_again_has_no_row_and_is_counted(run: Run) -> None:
    history = run.history()
    audit = run.pipeline.values(DECISION_AUDIT)[0]
    live = run.live(history, audit)
    assert isinstance(rows_of(audit, live), list)
    assert rows_of(replaced(audit, engine="older"), live) is LeftOut.OTHER_ENGINE
    assert rows_of(replaced(audit, profile_before=None), live) is LeftOut.DIFFERS
    report = Report()
    store = run.store()
    lost = [replaced(audit, catalog_digest="0" * 32), replaced(audit, decision_id="other", engine="older")]
    training_table(lost, partial(run.live, history), outcomes(store, "shop", None), Wanted(), b"", report)
    assert report.left_out == {LeftOut.NOT_KEPT: 1, LeftOut.OTHER_ENGINE: 1} and len(report.named) == 2
    closed = Report()
    assert list(audits(replace(store, ring=None), "shop", None, None, closed)) == []
    assert closed.left_out[LeftOut.CLOSED] == 12


def test_audits_come_back_from_the_store_as_they_were_written(run: Run) -> None:
    back = {one.decision_id: one for one in audits(run.store(), "shop", None, None, Report())}
    assert back == {one.decision_id: one for one in run.pipeline.values(DECISION_AUDIT)}


@pytest.mark.parametrize(("first", "second", "kind"), [
    (1, 2, "int64"), (1, 0.5, "double"), (True, False, "bool"), (("a",), (), "list<item: string>"),
    ("a", None, "string"),
])
def test_a_column_has_the_type_of_its_values(first: Any, second: Any, kind: str) -> None:
    columns = Columns()
    columns.add({})
    columns.add({"x": first})
    columns.add({"x": second})
    assert str(columns.table()["x"].type) == kind and columns.table()["x"][0].as_py() is None


@pytest.mark.parametrize("other", ["1", True])
def test_values_of_several_types_are_refused(other: Any) -> None:
    columns = Columns()
    columns.add({"feature.x": 1})
    columns.add({"feature.x": other})
    with pytest.raises(AnalysisError, match="write the times before and after apart"):
        columns.table()


def test_rows_and_columns_are_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROWS_MAX", 3)
    with pytest.raises(AnalysisError, match="more than 3 items were shown"):
        table(run)
    monkeypatch.setattr(writing, "AUDITS_MAX", 1)
    with pytest.raises(AnalysisError, match="more than 1 decisions"):
        table(run)
    columns = Columns()
    columns.add({f"feature.{number}": 1 for number in range(1_001)})
    with pytest.raises(AnalysisError, match="more than 1000 features"):
        columns.table()

"""Figures of models at the worker, and the alarm where a snapshot earns less than the one before."""

from __future__ import annotations

import logging

import pytest

from pipeline import metrics as module
from pipeline.metrics import WorkerMetrics


def figure(metrics: WorkerMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"nextbest_model_{name}", labels)


def close(metrics: WorkerMetrics, snapshot: int, rewarded: int, of: int = 500, model: str = "hero") -> None:
    """So many showings, the rewarded ones first."""
    for number in range(of):
        metrics.earned("shop", model, "click", snapshot, float(number < rewarded), snapshot)


def test_the_writer_says_the_newest_snapshot_and_what_was_learnt() -> None:
    metrics = WorkerMetrics()
    metrics.learnt("shop", "hero", 3, 70)
    metrics.learnt("shop", "hero", 4, 90)
    assert figure(metrics, "snapshot", tenant="shop", model="hero") == 4
    assert figure(metrics, "observations", tenant="shop", model="hero") == 90
    assert (figure(metrics, "update_timestamp_seconds", tenant="shop", model="hero") or 0) > 1e9


def test_the_mean_reward_is_that_of_the_snapshot_that_decided_last() -> None:
    metrics, names = WorkerMetrics(), {"tenant": "shop", "model": "hero", "outcome": "click"}
    close(metrics, 1, 1, of=1)
    close(metrics, 2, 1, of=4)
    assert [figure(metrics, name, **names) for name in (
        "deciding_snapshot", "closed_showings", "mean_reward", "reward_alarm")] == [2, 4, 0.25, 0]


def test_a_snapshot_that_earns_less_is_an_alarm_and_one_line_until_another_decides(
        caplog: pytest.LogCaptureFixture) -> None:
    metrics, names = WorkerMetrics(), {"tenant": "shop", "model": "hero", "outcome": "click"}
    with caplog.at_level(logging.WARNING):
        close(metrics, 1, 250)
        close(metrics, 2, 0, of=499)
        assert figure(metrics, "reward_alarm", **names) == 0 and not caplog.records
        close(metrics, 2, 0, of=100)
        assert figure(metrics, "reward_alarm", **names) == 1
        [line] = caplog.messages
        assert "hero of shop" in line
        assert "0 a showing under snapshot 2 (500 " in line and "0.5 under snapshot 1" in line
        close(metrics, 3, 1, of=1)
        assert figure(metrics, "reward_alarm", **names) == 0
        close(metrics, 4, 400)
        close(metrics, 5, 100)
        assert figure(metrics, "reward_alarm", **names) == 1 and len(caplog.records) == 2


def test_past_the_bound_the_model_that_was_heard_of_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MODELS_MAX", 2)
    metrics = WorkerMetrics()
    for model in ("a", "b", "a", "c"):
        metrics.learnt("shop", model, 1, 1)
        close(metrics, 1, 1, of=1, model=model)
    assert [figure(metrics, "snapshot", tenant="shop", model=model) for model in "abc"] == [1, None, 1]
    assert [figure(metrics, "mean_reward", tenant="shop", model=model, outcome="click") for model in "abc"] == [
        1, None, 1]

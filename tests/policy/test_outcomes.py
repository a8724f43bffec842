"""What a policy may say of outcomes, and what every mistake in it is told as."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.core.model.outcome_rules import Attribution, OutcomeRule, Reward
from pipeline.core.model.problems import DefinitionError
from pipeline.core.release import compile_release
from pipeline.policy.definitions import PolicyDefinition
from pipeline.policy.load import PolicyError, load, release_body
from tests.core.build import BASE
from tests.policy.test_errors import GOOD


def loaded(folder: Path, outcome: str) -> tuple[OutcomeRule, ...]:
    (folder / "policy.yaml").write_text(f"{GOOD}outcomes: {outcome}\n", "utf-8")
    return load(folder).policy.outcomes


@pytest.mark.parametrize(("said", "expected"), [
    ("last", Attribution()), ("view_through", Attribution("view_through")),
    ("{time_decay: {half_life: 2d}}", Attribution("time_decay", 2 * 86_400_000)),
    ("{position: {first: 50, last: 25, between: 25}}", Attribution("position", 0, 0.5, 0.25, 0.25)),
])
def test_an_attribution_is_written_with_or_without_settings(tmp_path: Path, said: str, expected: Attribution) -> None:
    [one] = loaded(tmp_path, f"{{buy: {{event: {{event: conversion}}, window: 7d, attribution: {said}}}}}")
    assert one.attribution == expected


@pytest.mark.parametrize(("said", "expected"), [
    ("-2", Reward(-2.0)), ("event.value", Reward(1.0, "value")),
    ("event.properties.net margin", Reward(1.0, "net margin", True)),
    ("{of: event.value, times: 0.2}", Reward(0.2, "value")),
])
def test_a_reward_is_a_number_or_what_an_event_says(tmp_path: Path, said: str, expected: Reward) -> None:
    [one] = loaded(tmp_path, f"{{buy: {{event: {{event: conversion}}, window: 7d, reward: {said}}}}}")
    assert one.reward == expected


EIGHT_AND_ONE = "{" + ", ".join(f"o{n}: {{event: {{event: click}}, window: 1d}}" for n in range(9)) + "}"


@pytest.mark.parametrize(("said", "finding"), [
    ("{buy: {event: {event: clik}, window: 1d}}", "'clik' is no kind of event"),
    ("{buy: {event: {}, window: 1d}}", "every event would be this outcome"),
    ("{buy: {event: {event: click}}}", "outcomes.buy.window is missing"),
    ("{buy: {event: {event: click}, window: 100d}}", "from 1s to 90d"),
    ("{buy: {event: {event: click}, window: 1d, wait: 2d}}", "waited for up to 1d"),
    ("{buy: {event: {event: click}, window: 1d, attribution: lats}}", "'lats' is no attribution"),
    ("{buy: {event: {event: click}, window: 1d, attribution: time_decay}}", "needs its half-life"),
    ("{buy: {event: {event: click}, window: 1d, attribution: {position: {first: 90}}}}", "together they are 100"),
    ("{buy: {event: {event: click}, window: 1d, attribution: {last: {half_life: 1d}}}}", "last has no settings"),
    ("{buy: {event: {event: click}, window: 1d, reward: revenue}}", "'revenue' is no reward"),
    ("{buy: {event: {event: click}, window: 1d, reward: 2.0e+12}}", "at most 1e12"),
    ("{buy: {event: {event: click}, window: 1d, reward: true}}", "a reward is a number"),
    ("{buy: {event: {event: click}, window: 1d, credit: [item, item]}}", "at most once"),
    ("{buy: {event: {event: click}, window: 1d, credit: [brand]}}", "'brand' is not one of"),
    ("{buy: {event: {event: click, placement: heroo}, window: 1d}}", "no placement 'heroo'"),
    ("{buy: {event: {event: click, item: b}, window: 1d}}", "no item 'b'"),
    (EIGHT_AND_ONE, "8 outcomes at most"),
])
def test_a_mistake_is_one_finding_at_its_place(tmp_path: Path, said: str, finding: str) -> None:
    with pytest.raises(PolicyError) as caught:
        loaded(tmp_path, said)
    assert len(caught.value.findings) == 1, caught.value.findings
    [one] = caught.value.findings
    assert finding in str(one) and ":15:" in str(one)


@pytest.mark.parametrize("said", [
    {"attribution": {"model": "guess"}}, {"attribution": {"model": "time_decay"}},
    {"attribution": {"model": "time_decay", "half_life_ms": 0.5}}, {"attribution": {"model": "position", "first": -1}},
    {"reward": {"factor": 1e13}}, {"reward": {"factor": "x"}}, {"reward": {"field": 7}}, {"credit": "item"},
    {"credit": ["brand"]}, {"credit": []}, {"window_ms": "1d"}, {"window_ms": 1}, {"wait_ms": -1}, {"event": None},
])
def test_a_body_that_nobody_checked_is_refused_by_the_worker_too(said: dict[str, object]) -> None:
    body = json.loads(release_body(PolicyDefinition.model_validate(BASE)))
    body["outcomes"] = {"buy": {"event": {"kinds": ["click"]}, "window_ms": 86_400_000, **said}}
    with pytest.raises(DefinitionError):
        compile_release(json.dumps(body), "r")

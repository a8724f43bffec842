"""The cases of `tests/cases/`: the rules of behaviour, as tables."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from pipeline.core.consent import permission
from pipeline.core.consent.answers import recorded
from pipeline.core.decide.experiments import drawn
from pipeline.core.hashing import fraction
from pipeline.core.model.records import Basis, ConsentGrant, OptIn
from pipeline.core.model.windows import Calendar, bounds, window_of
from pipeline.core.rules.cel.functions import zone
from pipeline.core.rules.facts import CONVERT
from pipeline.core.rules.rule import compile_rule, stop_of
from pipeline.policy.limit_definitions import CapDefinition

from .behaviour_page import PAGE, page
from .build import made
from .stories import Story, millis, rows, tables

TYPES = made().policy.types
DAY_MS = 86_400_000


def _cases(kind: str) -> pytest.MarkDecorator:
    found = list(rows(kind))
    return pytest.mark.parametrize(("group", "row"), [case[1:] for case in found], ids=[case[0] for case in found])


@_cases("rule")
def test_rule(group: dict[str, Any], row: list[Any]) -> None:
    text, given, expected = row
    facts = {}
    for path, value in {**group.get("facts", {}), **given}.items():
        kind = TYPES[path]
        facts[path] = tuple(value) if isinstance(value, list) else CONVERT[kind](value)
        assert facts[path] is not None, f"{value!r} is no {kind}"
    item = {path: value for path, value in facts.items() if path.startswith("candidate.")}
    stop = stop_of(compile_rule(text, TYPES), facts, item)
    outcome: object = True if stop is None else f"unknown:{stop.unknown}" if stop.unknown else False
    assert outcome == expected


@_cases("window")
def test_window(group: dict[str, Any], row: list[Any]) -> None:
    name, now, begin, end = row
    declared = CapDefinition.model_validate({"count": "decision", "per": "all", "limit": 1, "window": group["window"]})
    window = window_of(declared.window.body())
    assert isinstance(window, Calendar)
    local = zone(name) if window.local else UTC
    assert bounds(window, millis(now), local) == (millis(begin), millis(end))
    assert bounds(window, millis(begin), local) == (millis(begin), millis(end))
    assert bounds(window, millis(end) - 1, local) == (millis(begin), millis(end))
    assert bounds(window, millis(end), local)[0] == millis(end)


@_cases("consent")
def test_consent(group: dict[str, Any], row: list[Any]) -> None:
    answers, channel, expected = row
    kept: dict[str, ConsentGrant] = {}
    policy = made({"consent": {"purposes": {"marketing": group.get("policy", "")}}}).policy
    for answer in answers:
        kept = recorded(kept, [statement(answer)], policy.purposes, 1_000_000 * DAY_MS)
    found = permission.found(kept, policy.purposes["marketing"], channel, group.get("day", 10) * DAY_MS)
    assert (found.why if isinstance(expected, str) else found.given) == expected


def statement(answer: list[Any]) -> ConsentGrant:
    """`[purpose, given, day, channel, until day]`; instead of given also a legal basis or a step of double opt-in."""
    purpose, said, day, channel, until = (*answer, None, None)[:5]
    until_ms = None if until is None else until * DAY_MS
    granted = said if isinstance(said, bool) else not said.startswith("no ")
    word = "" if isinstance(said, bool) else said.removeprefix("no ")
    return ConsentGrant(purpose, granted, round(day * DAY_MS), channel, "", until_ms,
                        Basis(word) if word in list(Basis) else Basis.CONSENT,
                        OptIn(word) if word in list(OptIn) else OptIn.SINGLE)


@_cases("hash")
def test_hash(group: dict[str, Any], row: list[Any]) -> None:
    parts, expected = row
    assert f"{fraction(*parts):.12f}" == expected


@_cases("arm")
def test_arm(group: dict[str, Any], row: list[Any]) -> None:
    subject, expected = row
    live = made({"experiments": {"e": {"variations": {name: {"weight": weight}
                                                      for name, weight in group["weights"].items()}}}})
    arm = drawn(live.policy.experiments[0], subject)
    assert (arm.id if arm else None) == expected


@_cases("story")
def test_story(group: dict[str, Any], row: dict[str, Any]) -> None:
    story = Story(group, row)
    for number, step in enumerate(row["steps"], 1):
        came = story.play(step)
        expected = step[2] if len(step) > 2 and isinstance(step[2], str) else None
        if expected is not None:
            assert came == expected, f"step {number}: {step}\n" + "\n".join(map(str, story.audits))
    for item, outcome in row.get("because", {}).items():
        assert {audit.item_id: audit.outcome for audit in story.audits}[item] == outcome
    for item, content in row.get("shows", {}).items():
        assert next(one.content for one in story.chosen if one.item_id == item) == content
    for item, ttl_s in row.get("ttl_s", {}).items():
        assert next(one.ttl_s for one in story.chosen if one.item_id == item) == ttl_s
    for item, score in row.get("scores", {}).items():
        assert {audit.item_id: audit.score for audit in story.audits}[item] == pytest.approx(score)


def test_there_are_enough_cases_and_each_is_said_in_words() -> None:
    found = tables()
    assert sum(len(group["rows"]) for table in found for group in table["groups"]) >= 400
    assert all(group["states"].endswith(".") for table in found for group in table["groups"])


def test_the_page_made_of_the_cases_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run python -m tests.core.behaviour_page"

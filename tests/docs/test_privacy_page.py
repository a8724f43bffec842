"""docs/privacy.md: the times it names are those declared, the files it links to exist, what it shows can be run."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from docs.generate import ROOT
from pipeline.adapters import keys as adapter
from pipeline.cli import privacy
from topics.catalog import DAY_MS, MINUTE_MS, TOPICS

PAGE = (ROOT / "docs/privacy.md").read_text("utf-8")


def test_every_topic_with_people_in_it_is_listed_with_its_retention() -> None:
    for topic in TOPICS:
        if topic.compacted:
            continue
        [row] = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{topic.name}`" in line]
        days = topic.retention_ms / DAY_MS
        said = f"{days:g} day" if days >= 1 else f"{topic.retention_ms // MINUTE_MS} minutes"
        assert (said in row) or ("3 years" in row and days == 1_095), (topic.name, said)
        assert ("their own key" in row) == topic.encrypted, topic.name


def test_its_links_lead_somewhere_and_its_commands_exist() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
    named = set(re.findall(r"nextbest privacy (\w+)", PAGE))
    assert named == {command.callback.__name__ for command in privacy.app.registered_commands if command.callback}


def test_the_program_that_reads_encrypted_records_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Keys:
        def __init__(self, settings: object) -> None:
            asked.append(settings)

        def __enter__(self) -> Keys:
            return self

        def __exit__(self, *error: object) -> None:
            """Nothing is open."""

        def value(self, topic: object, key: bytes, data: bytes) -> object:
            return SimpleNamespace(encrypted=data or None)

    monkeypatch.setattr(adapter, "Keys", Keys)
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(program, names)  # noqa: S102 - the page's own example
    message = SimpleNamespace(key=lambda: b"k", value=lambda: b"")
    assert names["opened"](message) is not None and asked  # type: ignore[operator]

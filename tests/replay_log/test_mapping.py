"""A mapping file is checked whole: every problem at once, each with file, line, field and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay_log.errors import MappingError
from replay_log.mapping_file import Located, load_mapping
from replay_log.rows import read_impression

GOOD = """\
subject: {type: user_id, columns: user}
item: product
placement:
  column: position
  values: {1: left, 2: center}
click: clicked
traits: [country]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "map.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(MappingError) as caught:
        load_mapping(write(folder, text))
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def loaded(folder: Path, text: str = GOOD) -> Located:
    return load_mapping(write(folder, text))


def test_short_forms_mean_columns(tmp_path: Path) -> None:
    mapping = loaded(tmp_path).mapping
    assert mapping.subject.columns == ["user"]
    assert mapping.item.column == "product"
    assert mapping.placement.values == {"1": "left", "2": "center"}
    assert mapping.traits["country"].column == "country"
    assert mapping.channel.constant == "web"


def test_every_problem_is_told_at_once_with_line_and_field(tmp_path: Path) -> None:
    told = problems(tmp_path, "subject: {type: user_id}\nplacment: position\nitem:\n  colum: product\n  prefix: p-\n")
    assert told == [
        "map.yaml:1: subject.columns: missing, and needed",
        "map.yaml:4: item.colum: no such field; did you mean `column`?",
        "map.yaml:1: placement: missing, and needed",
        "map.yaml:2: placment: no such field; did you mean `placement`?",
    ]


def test_a_source_is_a_column_or_a_constant_never_both_or_neither(tmp_path: Path) -> None:
    for item in ("{column: a, constant: b}", "{prefix: a}"):
        told = problems(tmp_path, GOOD.replace("item: product", f"item: {item}"))
        assert told == ["map.yaml:2: item: name exactly one of `column` and `constant`"]


def test_consent_has_exactly_one_source(tmp_path: Path) -> None:
    told = problems(tmp_path, GOOD + "consent: {purpose: ads, granted: true, simulated_missing_share: 0.1}\n")
    assert told == [
        "map.yaml:8: consent: name exactly one of `column`, `granted` and `simulated_missing_share`"
    ]


def test_text_that_is_no_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, "item: product\nsubject: {columns: [a\n")
    assert told.startswith("map.yaml:3: not YAML: ")


@pytest.mark.parametrize("text", ["", "- item\n", "item\n"])
def test_anything_but_fields_is_told_where_to_read_up(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == ["map.yaml:1: a mapping file is `field: column` lines; see docs/replay-log.md"]


def test_a_file_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"none\.yaml: cannot be read"):
        load_mapping(tmp_path / "none.yaml")


def test_a_column_the_log_does_not_have_gets_the_nearest_that_it_has(tmp_path: Path) -> None:
    located = loaded(tmp_path)
    with pytest.raises(MappingError) as caught:
        located.check_columns(["user", "produkt", "position", "click", "country"], Path("log.csv"))
    first, second = caught.value.problems
    assert first == f"{tmp_path}/map.yaml:2: item: log.csv has no column `product`; did you mean `produkt`?"
    assert second.startswith(f"{tmp_path}/map.yaml:6: click: log.csv has no column `clicked`; did you mean `click`")


def test_a_column_like_no_other_gets_the_list_of_columns(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="its columns are xxxx, yyyy"):
        loaded(tmp_path).check_columns(["xxxx", "yyyy"], Path("log.csv"))


def test_a_dotted_column_reaches_into_a_nested_one(tmp_path: Path) -> None:
    located = loaded(tmp_path, "subject: {columns: user.id}\nitem: item\nplacement: {constant: home}\n")
    located.check_columns(["user", "item"], Path("log.jsonl"))


def test_every_field_that_names_a_column_is_checked(tmp_path: Path) -> None:
    text = """\
subject: {columns: [a, b], simulated: {by: c, buckets: 2}}
item: d
placement: e
channel: f
scenario: g
timestamp: h
click: i
conversion: j
dismissal: k
value: l
propensity: m
traits: {one: n, two: {column: o, type: integer}}
attributes: [p]
consent: {purpose: ads, column: q}
"""
    mapping = loaded(tmp_path, text).mapping
    assert sorted(column for _, column in mapping.columns()) == list("abcdefghijklmnopq")


@pytest.mark.parametrize("given", ["0.0125", "{constant: 0.0125}"])
def test_a_propensity_may_be_the_same_in_every_row(tmp_path: Path, given: str) -> None:
    text = f"subject: {{columns: u}}\nitem: i\nplacement: p\npropensity: {given}\n"
    mapping = loaded(tmp_path, text).mapping
    row = {"u": "ann", "i": "a", "p": "home"}
    assert read_impression(1, row, mapping, lambda who: (who, [])).propensity == 0.0125
    assert sorted(column for _, column in mapping.columns()) == ["i", "p", "u"]


@pytest.mark.parametrize("given", ["0", "1.5", "{constant: 0.5, column: p}", "{}", "true"])
def test_a_propensity_that_is_none_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(MappingError, match="propensity"):
        loaded(tmp_path, f"subject: {{columns: u}}\nitem: i\nplacement: p\npropensity: {given}\n")

"""Reads a mapping file: a checked `Mapping`, or every problem at once with file, line, field and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from replay_log.errors import MappingError
from replay_log.mapping import Consent, Csv, Mapping, Propensity, Simulated, Source, Subject, Timestamp


class Located:
    """A checked mapping together with the lines of its file, for errors found later."""

    def __init__(self, path: Path, mapping: Mapping, lines: dict[tuple[str, ...], int]) -> None:
        self.path = path
        self.mapping = mapping
        self._lines = lines

    def problem(self, place: Sequence[str | int], text: str) -> str:
        """`file:line: field: text`."""
        return _problem(self.path, self._lines, place, text)

    def check_columns(self, known: Sequence[str], log: Path) -> None:
        """Raise `MappingError` naming every mapped column that the log does not have, with the nearest that it has."""
        problems = []
        for place, column in self.mapping.columns():
            if column in known or column.split(".", 1)[0] in known:
                continue
            near = difflib.get_close_matches(column, known, n=3, cutoff=0.5)
            hint = f"did you mean {_either(near)}?" if near else f"its columns are {', '.join(known[:20])}"
            problems.append(self.problem(place, f"{log.name} has no column `{column}`; {hint}"))
        if problems:
            raise MappingError(problems)


def load_mapping(path: Path) -> Located:
    """Read and check a mapping file. Raises `MappingError` with every problem, each with file, line and field."""
    try:
        text = path.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise MappingError([f"{path}: cannot be read: {error}"]) from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise MappingError([f"{path}:{line}: not YAML: {error.problem}"]) from error
    if not isinstance(data, dict):
        raise MappingError([f"{path}:1: a mapping file is `field: column` lines; see docs/replay-log.md"])
    lines = dict(_lines_of(root, ()))
    try:
        return Located(path, Mapping.model_validate(data), lines)
    except ValidationError as error:
        problems = [_problem(path, lines, fault["loc"], _say(fault)) for fault in error.errors()]
        raise MappingError(problems) from error


def _lines_of(node: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    yield place, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            yield from _lines_of(value, inner)
            yield inner, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines_of(value, (*place, str(index)))


def _problem(path: Path, lines: dict[tuple[str, ...], int], place: Sequence[str | int], text: str) -> str:
    """The innermost place that stands in the file gives the line: a missing field is reported at its parent."""
    found = tuple(str(part) for part in place)
    while found and found not in lines:
        found = found[:-1]
    name = ".".join(str(part) for part in place) or "the file"
    return f"{path}:{lines.get(found, 1)}: {name}: {text}"


def _say(fault: Any) -> str:
    if fault["type"] == "missing":
        return "missing, and needed"
    if fault["type"] == "extra_forbidden":
        fields = _fields_beside(fault["loc"])
        near = difflib.get_close_matches(str(fault["loc"][-1]), fields, n=1, cutoff=0.5)
        return "no such field; " + (f"did you mean `{near[0]}`?" if near else f"there are {', '.join(fields)}")
    return str(fault["msg"]).removeprefix("Value error, ")


def _fields_beside(place: Sequence[str | int]) -> list[str]:
    """The names that could have stood where an unknown one stands."""
    if len(place) == 1:
        return list(Mapping.model_fields)
    parts: dict[str, type[BaseModel]] = {
        "subject": Subject, "simulated": Simulated, "consent": Consent, "csv": Csv, "timestamp": Timestamp,
        "propensity": Propensity,
    }
    return list(parts.get(str(place[-2]), Source).model_fields)


def _either(names: list[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)

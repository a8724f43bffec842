"""A folder of YAML files as one definition that remembers where every part stands: file, line and column."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.problems import Path as DefinitionPath


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem as shown to whoever wrote the file."""

    place: Place
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f" — {self.suggestion}" if self.suggestion else "")


@dataclass(slots=True)
class Source:
    """The folder's content: `data` put together, and the node of every path."""

    data: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    #: Whether some file could not be read.
    unread: bool = False
    _nodes: dict[DefinitionPath, tuple[str, yaml.Node]] = field(default_factory=dict)
    _texts: dict[str, list[str]] = field(default_factory=dict)
    _folder: str = ""

    def place(self, path: DefinitionPath, at: int | None = None) -> Place:
        """Where a path stands; the nearest part that was written where it was not. `at`: offset in its text."""
        for length in range(len(path), 0, -1):
            found = self._nodes.get(tuple(path[:length]))
            if found is not None:
                file, node = found
                offset = at if length == len(path) else None
                return self._within(file, node, offset)
        return Place(self._folder, 1, 1)

    def written(self, path: DefinitionPath) -> DefinitionPath:
        """The part of a path that somebody wrote: a list of one may stand as the one alone."""
        for length in range(len(path), 0, -1):
            if tuple(path[:length]) in self._nodes:
                return tuple(path[:length])
        return path

    def _within(self, file: str, node: yaml.Node, at: int | None) -> Place:
        mark = node.start_mark
        if at is None or not isinstance(node, yaml.ScalarNode):
            return Place(file, mark.line + 1, mark.column + 1)
        if node.style in ("|", ">"):
            return self._in_block(file, node, at)
        before = node.value[:at]
        if "\n" in before or node.end_mark.line > mark.line:
            return Place(file, mark.line + 1, mark.column + 1)
        return Place(file, mark.line + 1, mark.column + 1 + at + (1 if node.style else 0))

    def _in_block(self, file: str, node: yaml.ScalarNode, at: int) -> Place:
        """Block scalars begin on the line after their sign; folded ones keep one character per line break."""
        lines = self._texts[file]
        line, left = node.start_mark.line + 1, at
        while line < len(lines) and not lines[line].strip():
            line += 1
        indent = len(lines[line]) - len(lines[line].lstrip()) if line < len(lines) else 0
        while line < len(lines) and left > len(lines[line]) - indent:
            left -= max(0, len(lines[line]) - indent) + 1
            line += 1
        return Place(file, line + 1, indent + left + 1)

    def add_file(self, file: str, text: str) -> None:
        """Add one file's sections. Bad YAML and names given twice become findings."""
        self._texts[file] = text.splitlines()
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
            self.unread = True
            hint = "look at the indentation of this line and the one before" if "block" in str(error.problem) else ""
            self.findings.append(Finding(place, f"not YAML: {error.problem or error.context}", hint))
            return
        except yaml.YAMLError as error:
            self.unread = True
            self.findings.append(Finding(Place(file, 1, 1), f"not YAML: {error}"))
            return
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            self.findings.append(Finding(Place(file, 1, 1), "a policy file holds sections, as `segments:`"))
            return
        seen: set[str] = set()
        for key, child in node.value:
            if str(key.value) in seen:
                self._twice(file, key, (str(key.value),))
            else:
                seen.add(str(key.value))
                self._add_section(file, key, child)

    def _add_section(self, file: str, key: yaml.ScalarNode, child: yaml.Node) -> None:
        section = str(key.value)
        value = self._build(file, (section,), child)
        present = self.data.get(section)
        if isinstance(present, dict) and isinstance(value, dict):
            _join(present, value)
        elif section in self.data:
            self._twice(file, key, (section,))
        else:
            self.data[section] = value

    def _build(self, file: str, path: DefinitionPath, node: yaml.Node) -> Any:
        known = self._nodes.get(path)
        if known is None:
            self._nodes[path] = (file, node)
        if isinstance(node, yaml.MappingNode):
            result: dict[str, Any] = {}
            for key, child in node.value:
                name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
                below = (*path, name)
                if name in result or (below in self._nodes and not isinstance(child, yaml.MappingNode)):
                    self._twice(file, key, below)
                elif below in self._nodes and len(below) > 2:
                    self._twice(file, key, below)
                elif below in self._nodes and not _container(below):
                    self._twice(file, key, below)
                else:
                    result[name] = self._build(file, below, child)
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self._build(file, (*path, index), child) for index, child in enumerate(node.value)]
        return _scalar(node)

    def _twice(self, file: str, key: yaml.Node, path: DefinitionPath) -> None:
        first = self.place(path)
        place = Place(file, key.start_mark.line + 1, key.start_mark.column + 1)
        name = ".".join(str(part) for part in path)
        self.findings.append(Finding(place, f"{name} is given twice", f"the first one is at {first}"))


def _container(path: DefinitionPath) -> bool:
    """Sections below a section that several files may add to."""
    return path[0] == "attributes" and len(path) == 2


def _join(present: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(present.get(name), dict) and isinstance(value, dict):
            _join(present[name], value)
        else:
            present[name] = value


def _scalar(node: yaml.Node) -> Any:
    if node.tag == "tag:yaml.org,2002:timestamp":
        return node.value
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def read(folder: Path) -> Source:
    """Every *.yaml and *.yml below the folder, in the order of their paths. Raises FileNotFoundError for none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml") and path.is_file())
    if not files:
        raise FileNotFoundError(f"no policy files (*.yaml) in {folder}: give the folder that holds them")
    source = Source()
    source._folder = str(folder)
    for path in files:
        source.add_file(str(path), path.read_text("utf-8"))
    return source

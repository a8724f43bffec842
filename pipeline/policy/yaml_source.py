"""YAML files as one definition that remembers where every part stands: file, line and column."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from pipeline.core.model.problems import Path as DefinitionPath
from pipeline.policy.yaml_text import EXPANDED_MAX, Unreadable, composed, decoded, scalar


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
    #: Where a value stands that could not be read, and is said.
    wrong: set[DefinitionPath] = field(default_factory=set)
    _nodes: dict[DefinitionPath, tuple[str, yaml.Node]] = field(default_factory=dict)
    _texts: dict[str, list[str]] = field(default_factory=dict)
    folder: str = ""
    #: Values so far, aliases written out; and the nodes that are being built.
    _expanded: int = 0
    _open: set[int] = field(default_factory=set)

    def place(self, path: DefinitionPath, at: int | None = None) -> Place:
        """Where a path stands; the nearest part that was written where it was not. `at`: offset in its text."""
        for length in range(len(path), 0, -1):
            found = self._nodes.get(tuple(path[:length]))
            if found is not None:
                file, node = found
                offset = at if length == len(path) else None
                return self._within(file, node, offset)
        return Place(self.folder, 1, 1)

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

    def add_file(self, file: str, content: bytes) -> None:
        """Add one file's sections. What cannot be read, and names given twice, become findings."""
        try:
            text = decoded(content)
            self._texts[file] = text.splitlines()
            node = composed(text)
        except Unreadable as error:
            self.unread = True
            self.findings.append(Finding(Place(file, error.line, error.column), str(error), error.suggestion))
            return
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            self.findings.append(Finding(Place(file, 1, 1), "a policy file holds sections, as `segments:`"))
            return
        seen: set[str] = set()
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._no_key(file, key)
            elif key.value in seen:
                self._twice(file, key, (key.value,))
            else:
                seen.add(key.value)
                self._add_section(file, key, child)

    def missing(self, file: str, why: str) -> None:
        """Note a file that is there and cannot be read."""
        self.unread = True
        self.findings.append(Finding(Place(file, 1, 1), why))

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
        if self._expanded > EXPANDED_MAX:
            return None
        if id(node) in self._open:
            self.wrong.add(path)
            self._note(file, node, "an alias within what it stands for has no end", "write the value out")
            return None
        self._expanded += 1 + (len(node.value) // 64 if isinstance(node, yaml.ScalarNode) else 0)
        if self._expanded > EXPANDED_MAX:
            self._note(file, node, f"with its aliases written out, the policy has over {EXPANDED_MAX:,} values",
                       "use fewer aliases (*name)")
            return None
        known = self._nodes.get(path)
        if known is None:
            self._nodes[path] = (file, node)
        self._open.add(id(node))
        try:
            return self._built(file, path, node)
        finally:
            self._open.discard(id(node))

    def _built(self, file: str, path: DefinitionPath, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            result: dict[str, Any] = {}
            for key, child in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    self.wrong.add(path)
                    self._no_key(file, key)
                    continue
                name = key.value
                if _HALF.search(name):
                    self.wrong.add(path)
                    self._note(file, key, *_SAID_OF_HALF)
                    continue
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
        if _HALF.search(node.value):
            self.wrong.add(path)
            self._note(file, node, *_SAID_OF_HALF)
            return None
        try:
            return scalar(node, shown="content" in path)
        except Unreadable as error:
            self.wrong.add(path)
            self._note(file, node, str(error), error.suggestion)
            return None

    def _note(self, file: str, node: yaml.Node, message: str, suggestion: str = "") -> None:
        mark = node.start_mark
        self.unread = True
        self.findings.append(Finding(Place(file, mark.line + 1, mark.column + 1), message, suggestion))

    def _no_key(self, file: str, key: yaml.Node) -> None:
        self._note(file, key, "a list or a map cannot be a name here", "write a plain name before the colon")

    def _twice(self, file: str, key: yaml.Node, path: DefinitionPath) -> None:
        first = self.place(path)
        place = Place(file, key.start_mark.line + 1, key.start_mark.column + 1)
        name = ".".join(str(part) for part in path)
        self.findings.append(Finding(place, f"{name} is given twice", f"the first one is at {first}"))


#: Escapes (`"\\uD800"`) can say what no UTF-8 can.
_HALF: Final = re.compile("[\ud800-\udfff]")
_SAID_OF_HALF: Final = ("holds half a surrogate pair, which is no character", "write the character itself")


def _container(path: DefinitionPath) -> bool:
    """Sections below a section that several files may add to."""
    return path[0] == "attributes" and len(path) == 2


def _join(present: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(present.get(name), dict) and isinstance(value, dict):
            _join(present[name], value)
        else:
            present[name] = value

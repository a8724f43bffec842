"""What is wrong with the shape of a policy's files, and what is left of it to be checked for meaning.

A part that is wrong is taken out, so that the rest can be checked in the same go.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from pipeline.core.model.problems import Path, Problem
from pipeline.core.rules.cel.build import nearest
from pipeline.policy.definitions import PolicyDefinition
from pipeline.policy.values import Definition
from pipeline.policy.yaml_source import Finding, Source

_ROUNDS_MAX = 10

#: Sections of sections: one part of one of them is taken out.
_NESTED = ("attributes", "consent")
#: What was wanted, in a marketer's words, by pydantic's kind of error.
_WANTED = {
    "string_type": "text", "int_type": "whole number", "int_from_float": "whole number", "float_type": "number",
    "bool_type": "true or false", "list_type": "list", "dict_type": "group of names (name: …)",
    "model_type": "group of names (name: …)", "model_attributes_type": "group of names (name: …)",
}


@dataclass(slots=True)
class Shape:
    """`definition`: what has the right shape (None: too little is left); `removed`: the parts taken out."""

    definition: PolicyDefinition | None
    findings: list[Finding]
    removed: list[Path] = field(default_factory=list)
    #: Whether a file could not be read: what is declared nowhere may stand in it.
    unread: bool = False

    def caused(self, problem: Problem) -> bool:
        """Whether a problem only comes from a part that was taken out, and is said already."""
        names = {str(path[-1]) for path in self.removed}
        quoted = {part for index, part in enumerate(problem.message.split("'")) if index % 2}
        if problem.missing and self.unread:
            return True
        return any(part in names or not names.isdisjoint(part.split(".")) for part in quoted)


def shaped(source: Source) -> Shape:
    """Check the shape of everything; take out what is wrong until the rest is right."""
    shape = Shape(None, list(source.findings), unread=source.unread)
    data = copy.deepcopy(source.data)
    for path in sorted(set(_empty(PolicyDefinition, data, ())), key=str):
        if path not in source.wrong:
            shape.findings.append(Finding(source.place(path), f"{'.'.join(map(str, path))} is empty",
                                          "write a value, or leave it out"))
        _take_out(data, path)
    for _ in range(_ROUNDS_MAX):
        try:
            shape.definition = PolicyDefinition.model_validate(data)
            return shape
        except ValidationError as error:
            problems = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
        for one in problems:
            path = _written(one["loc"])
            finding = _finding(source, path, one)
            # Something is always said.
            said = bool(shape.findings) and _said(source, shape, path, one, problems)
            if finding not in shape.findings and not said:
                shape.findings.append(finding)
            cut = path if one["type"] == "extra_forbidden" else path[:3 if path[:1] and path[0] in _NESTED else 2]
            if one["type"] == "missing" and cut == path:
                cut = path[:-1]
            if len(cut) < 2 and one["type"] != "extra_forbidden":
                return shape
            if one["type"] != "extra_forbidden":
                shape.removed.append(cut)
            _take_out(data, cut)
    return shape


def _said(source: Source, shape: Shape, path: Path, one: Any, problems: Iterable[Any]) -> bool:
    """Whether it only comes from something that is said already: one cause is one finding."""
    if any(path[:len(wrong)] == wrong or (len(path) > 1 and wrong[:len(path)] == path) for wrong in source.wrong):
        return True
    if one["type"] != "missing":
        return False
    # A section that seems to be missing may stand in the file that could not be read.
    if len(path) == 1 and source.findings:
        return True
    if any(cut[:len(path)] == path for cut in shape.removed):
        return True
    unknown = [_written(other["loc"]) for other in problems if other["type"] == "extra_forbidden"]
    return any(other[:-1] == path[:-1] and nearest(str(other[-1]), [str(path[-1])]) for other in unknown)


def _empty(model: Any, data: Any, path: Path) -> Iterator[Path]:
    """What may be left out, and is written without a value."""
    if _is_definition(model):
        for name, field in model.model_fields.items() if isinstance(data, dict) else ():
            below = (*path, field.alias or name)
            if below[-1] not in data:
                continue
            if data[below[-1]] is not None:
                yield from _empty(field.annotation, data[below[-1]], below)
            elif not field.is_required():
                yield below
    elif get_origin(model) is dict and isinstance(data, dict):
        for name, one in data.items():
            yield from _empty(get_args(model)[1], one, (*path, name))
    elif get_origin(model) is list and isinstance(data, list):
        for index, one in enumerate(data):
            yield from _empty(get_args(model)[0], one, (*path, index))
    elif get_origin(model) in (UnionType, Union, Annotated):
        for part in get_args(model):
            yield from _empty(part, data, path)


def _written(loc: tuple[int | str, ...]) -> Path:
    """The path as the author wrote it, without the names of our own types in it."""
    return tuple(part for part in loc if not (isinstance(part, str) and part.endswith(("Definition", "]"))))


def _take_out(data: Any, path: Path) -> None:
    for part in path[:-1]:
        if not isinstance(data, dict) or part not in data:
            return
        data = data[part]
    if isinstance(data, dict):
        data.pop(path[-1], None)


def _finding(source: Source, path: Path, error: Any) -> Finding:
    name = str(path[-1]) if path else ""
    where = ".".join(map(str, path))
    place = source.place(path)
    kind = error["type"]
    if kind == "extra_forbidden":
        return Finding(place, f"{name!r} is not known here", nearest(name, _fields(path[:-1])))
    if kind == "missing":
        return Finding(place, f"{where} is missing")
    if kind == "literal_error":
        known = [part.strip("'") for part in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        given = error["input"]
        hint = nearest(given, known) if isinstance(given, str) else ""
        return Finding(place, f"{where}: {given!r} is not one of {', '.join(known)}", hint)
    if kind == "string_pattern_mismatch":
        return Finding(place, f"{where}: {name!r} cannot be a name", "use letters, digits and _, a letter first")
    if kind in _WANTED and error["input"] is None:
        return Finding(place, f"{where} is empty")
    if kind in _WANTED:
        return Finding(place, f"{where}: {_given(error['input'])} is no {_WANTED[kind]}", _quoted(kind, error["input"]))
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return Finding(place, f"{where}: {message[0].lower()}{message[1:]}")


def _given(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "a group of names" if isinstance(value, dict) else "a list"
    return repr(value) if isinstance(value, str) else str(value).lower()


def _quoted(kind: str, value: Any) -> str:
    if kind == "string_type" and isinstance(value, (bool, int, float)):
        return f'write it in quotes: "{_given(value)}"'
    if kind == "bool_type" and isinstance(value, str):
        return "write true or false, without quotes"
    return ""


def _fields(path: tuple[str | int, ...]) -> list[str]:
    """What may be written at a path, for suggestions."""
    model: Any = PolicyDefinition
    for part in path:
        if _is_definition(model):
            fields = model.model_fields.items()
            model = next((one.annotation for name, one in fields if part in (name, one.alias)), None)
        else:
            model = next((one for one in reversed(get_args(model)) if _is_definition(one) or get_args(one)), None)
        model = _plain(model)
    if not _is_definition(model):
        return []
    return [one.alias or name for name, one in model.model_fields.items()]


def authored(path: Path) -> Path:
    """A path into a release's body as the author writes it: `caps.x.reach.tags` is `caps.x.for.tag`."""
    model: Any = PolicyDefinition
    result: list[str | int] = []
    for part in path:
        if _is_definition(model):
            field = model.model_fields.get(part)
            result.append(part if field is None else field.alias or part)
            model = None if field is None else field.annotation
        else:
            result.append(part)
            model = next((one for one in reversed(get_args(model)) if _is_definition(one) or get_args(one)), None)
        model = _plain(model)
    return tuple(result)


def _plain(model: Any) -> Any:
    """A type without what is said of it; of several the first."""
    while get_origin(model) in (Annotated, UnionType, Union):
        model = next((one for one in get_args(model) if one is not NoneType), NoneType)
    return model


def _is_definition(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, Definition)

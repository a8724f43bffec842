"""Late binding: `{{ … }}` in content holds a CEL expression over facts and the item, typed and checked at publish time.

Nothing but declared attributes and CEL's functions can be reached from a template, so there is nothing to escape from.
`{{ profile.name | 'friend' }}` says what stands there when the name is unknown; without it the variant is dropped.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Final
from urllib.parse import quote

from pipeline.core.cel.build import Builder, Facts
from pipeline.core.cel.cost import check_cost
from pipeline.core.cel.functions import UNCOMPUTABLE, UNKNOWN
from pipeline.core.cel.syntax import Call, RuleError, parse
from pipeline.core.definitions import Escape, Slot, Template, Variant
from pipeline.core.rules import reads_of
from pipeline.core.words import Scalar

_GAP: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_TEXT_MAX: Final = 20_000
_TYPES: Final = ("string", "int", "double", "bool")

ESCAPES: Final[dict[Escape, Callable[[str], str]]] = {
    "html": lambda text: html.escape(text, quote=True),
    "url": lambda text: quote(text, safe=""),
    "json": lambda text: json.dumps(text, ensure_ascii=True)[1:-1].replace("<", "\\u003c").replace("/", "\\/"),
    "none": lambda text: text,
}


class UnboundError(ValueError):
    """A gap that has no value and no default; `missing` names what was not there."""

    def __init__(self, field: str, missing: str) -> None:
        super().__init__(f"{field}: {missing}")
        self.field = field
        self.missing = missing


def compile_template(text: str, types: Mapping[str, str]) -> Template | None:
    """The template of a text; None where it has no gap. Raises RuleError (offset in the text)."""
    if "{{" not in text:
        return None
    if len(text) > _TEXT_MAX:
        raise RuleError(f"longer than {_TEXT_MAX} characters", _TEXT_MAX)
    parts: list[str | Slot] = []
    reads: list[str] = []
    at = 0
    for match in _GAP.finditer(text):
        if match.start() > at:
            parts.append(text[at:match.start()])
        parts.append(_slot(match.group(1), match.start(1), types, reads))
        at = match.end()
    if "{{" in text[at:]:
        raise RuleError("{{ is never closed", text.index("{{", at), "close it with }}")
    if at < len(text):
        parts.append(text[at:])
    return Template(text, tuple(parts), tuple(dict.fromkeys(reads)))


def _slot(text: str, offset: int, types: Mapping[str, str], reads: list[str]) -> Slot:
    expression, bar, default = _split(text)
    try:
        fn, kind = _compiled(expression, types, reads)
    except RuleError as error:
        raise RuleError(error.message, offset + error.at, error.suggestion, error.missing) from error
    if not bar:
        return Slot(fn)
    try:
        other, other_kind = _compiled(default, types, reads)
    except RuleError as error:
        at = offset + len(expression) + 1 + error.at
        raise RuleError(error.message, at, error.suggestion, error.missing) from error
    if other_kind != kind:
        raise RuleError(f"the default is a {other_kind}, the value a {kind}", offset + len(expression) + 1)
    return Slot(fn, other)


def _split(text: str) -> tuple[str, str, str]:
    """Expression and default: the first single | outside quotes."""
    quote_mark = ""
    for at, character in enumerate(text):
        if quote_mark:
            if character == quote_mark and text[at - 1] != "\\":
                quote_mark = ""
        elif character in "'\"":
            quote_mark = character
        elif character == "|" and "|" not in (text[at - 1:at], text[at + 1:at + 2]):
            return text[:at], "|", text[at + 1:]
    return text, "", ""


def _compiled(text: str, types: Mapping[str, str], reads: list[str]) -> tuple[Any, str]:
    if not text.strip():
        raise RuleError("nothing stands here", 0, "write an attribute, as {{ profile.name | 'friend' }}")
    tree = parse(text)
    check_cost(tree)
    if isinstance(tree, Call) and tree.name == "||" and not tree.method:
        sides = [Builder(types).build(arg).type for arg in tree.args]
        if "bool" not in sides:
            raise RuleError("|| joins conditions", tree.mark, "write a single | before what stands there by default")
    built = Builder(types).build(tree)
    if built.type not in _TYPES:
        raise RuleError(f"a {built.type} cannot be shown", 0, "show a string, a number or a bool")
    reads += reads_of(tree, types)
    return built.fn, built.type


def bind(variant: Variant, facts: Facts, item: Facts, escape: Escape) -> dict[str, Scalar]:
    """The variant's content with every gap filled. Raises UnboundError for one that cannot be."""
    if not variant.templates:
        return variant.content
    content = dict(variant.content)
    cleaned = ESCAPES[escape]
    for name, template in variant.templates:
        try:
            content[name] = "".join([
                part if isinstance(part, str) else cleaned(_shown(_value(part, name, facts, item)))
                for part in template.parts
            ])
        except UnboundError:
            raise
        except UNCOMPUTABLE as error:
            raise UnboundError(name, str(error)) from error
        except Exception as defect:
            defect.add_note(f"template {template.text!r} of {name!r}")
            raise
    return content


def _value(slot: Slot, name: str, facts: Facts, item: Facts) -> Any:
    try:
        return slot.fn(facts, item)
    except UNKNOWN as error:
        if slot.default is None:
            raise UnboundError(name, str(error.args[0])) from error
    try:
        return slot.default(facts, item)
    except UNKNOWN as error:
        raise UnboundError(name, str(error.args[0])) from error


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError("not a finite number")
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, (datetime, timedelta)):
        raise TypeError("moments and durations are refused when the template is compiled")
    return str(value)

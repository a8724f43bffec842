"""Late binding: `{{ … }}` in content holds a CEL expression over facts and the item, typed and checked at publish time.

Nothing but declared attributes and CEL's functions can be reached from a template, so there is nothing to escape from.
`{{ profile.name | 'friend' }}` says what stands there when the name is unknown or empty; without it the variant is
dropped.
`{{ candidate.price | money('EUR', 'de') }}` shows a value as a locale does (`pipeline.core.rules.formats`).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Final, TypeVar
from urllib.parse import quote

from babel import Locale

from pipeline.core.model.definitions import Escape, Form, Slot, Template, Variant
from pipeline.core.model.words import Scalar
from pipeline.core.rules.cel.build import Builder, Facts
from pipeline.core.rules.cel.constants import check_constants
from pipeline.core.rules.cel.cost import COST_MAX, check_cost
from pipeline.core.rules.cel.functions import UNCOMPUTABLE, UNKNOWN
from pipeline.core.rules.cel.syntax import Call, Literal, RuleError, parse
from pipeline.core.rules.formats import FORMATS, LOCALE, locale_of
from pipeline.core.rules.rule import reads_of

_GAP: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_TEXT_MAX: Final = 20_000
_SHOWN: Final = ("string", "int", "double", "bool")
#: Shown in a format only.
_FORMATTED: Final = ("timestamp", "date")
_FORMAT: Final = re.compile(rf"\s*({'|'.join(FORMATS)})\s*(?:\(([^()]*)\))?\s*")
_LITERAL: Final = re.compile(r"(['\"])(.*)\1")
_T = TypeVar("_T")

ESCAPES: Final[dict[Escape, Callable[[str], str]]] = {
    "html": lambda text: html.escape(text, quote=True),
    "url": lambda text: quote(text, safe=""),
    "json": lambda text: json.dumps(text, ensure_ascii=True)[1:-1].replace("<", "\\u003c").replace("/", "\\/"),
    "none": lambda text: text,
}


_DEFAULT: Final = Locale(LOCALE)


class UnboundError(ValueError):
    """A gap that has no value and no default; `missing` names what was not there."""

    def __init__(self, field: str, missing: str) -> None:
        super().__init__(f"{field}: {missing}")
        self.field = field
        self.missing = missing


@dataclass(slots=True)
class _Found:
    """What the gaps of one text read, and cost at worst, together."""

    reads: list[str] = field(default_factory=list)
    cost: float = 0.0
    certain: bool = True


def compile_template(text: str, types: Mapping[str, str]) -> Template | None:
    """The template of a text; None where it has no gap. Raises RuleError (offset in the text)."""
    if "{{" not in text:
        return None
    if len(text) > _TEXT_MAX:
        raise RuleError(f"longer than {_TEXT_MAX} characters", _TEXT_MAX)
    parts: list[str | Slot] = []
    found = _Found()
    at = 0
    for match in _GAP.finditer(text):
        if match.start() > at:
            parts.append(text[at:match.start()])
        parts.append(_slot(match.group(1), match.start(1), types, found))
        at = match.end()
        if found.cost > COST_MAX:
            raise RuleError(f"all up to here may take {found.cost:,.0f} operations, more than {COST_MAX:,}",
                            match.start(), "work less out within one text")
    if "{{" in text[at:]:
        raise RuleError("{{ is never closed", text.index("{{", at), "close it with }}")
    if at < len(text):
        parts.append(text[at:])
    return Template(text, tuple(parts), tuple(dict.fromkeys(found.reads)), found.cost, found.certain)


def _slot(text: str, offset: int, types: Mapping[str, str], found: _Found) -> Slot:
    """One gap: an expression, a format, a default; the last two may be left out."""
    (expression, _), *more = _split(text)
    fn, kind = _at(offset, _compiled, expression, types, found, (*_SHOWN, *_FORMATTED))
    form: Form | None = None
    if more and (call := _FORMAT.fullmatch(more[0][0])) is not None:
        said, at = more.pop(0)
        form = _at(offset + at, _form, call, said, kind, types, found)
    elif kind not in _SHOWN:
        raise RuleError(f"a {kind} cannot be shown", offset, "show a string, a number or a bool; a time with | date")
    if not more:
        found.certain = False
        return Slot(fn, form=form)
    if len(more) > 1:
        raise RuleError("a value has one format and one default", offset + more[1][1], "take the last | away")
    default, at = more[0]
    # A formatted value is a text, and so is its default.
    other, other_kind = _at(offset + at, _compiled, default, types, found, _SHOWN)
    found.certain = found.certain and isinstance(parse(default), Literal)
    if other_kind != ("string" if form is not None else kind):
        raise RuleError(f"the default is a {other_kind}, the value a {'string' if form else kind}", offset + at)
    return Slot(fn, other, form)


def _at(offset: int, compile_: Callable[..., _T], *args: Any) -> _T:
    """What is compiled, its errors where they stand in the whole text."""
    try:
        return compile_(*args)
    except RuleError as error:
        raise RuleError(error.message, offset + error.at, error.suggestion, error.missing) from error


def _form(call: re.Match[str], said: str, kind: str, types: Mapping[str, str], found: _Found) -> Form:
    name, arguments = call.group(1), call.group(2)
    form = FORMATS[name]
    if kind not in form.of:
        raise RuleError(f"{name} shows a {' or '.join(sorted(form.of))}, this is a {kind}", 0)
    parts = [part.strip() for part in arguments.split(",")] if arguments and arguments.strip() else []
    argument, locale = "", ""
    if parts and parts[0].isascii() and parts[0].isdigit():
        argument = parts.pop(0)
    elif parts and (literal := _LITERAL.fullmatch(parts[0])) is not None and (form.allows(literal.group(2)) or not (
            locale_of(literal.group(2)))):
        argument = literal.group(2)
        parts.pop(0)
    if name == "money" and not argument:
        raise RuleError("money of which currency?", 0, "write | money('EUR')")
    if not form.allows(argument):
        raise RuleError(f"{argument!r} is nothing that {name} knows", said.find("("), form.argument)
    if len(parts) > 1:
        raise RuleError(f"{name} takes {form.argument or 'nothing'}, and a locale", 0)
    read_locale = None
    if parts:
        literal = _LITERAL.fullmatch(parts[0])
        if literal is None:
            read_locale = _compiled(parts[0], types, found, ("string",))[0]
        elif locale_of(literal.group(2)) is None:
            raise RuleError(f"there is no locale {literal.group(2)!r}", said.find(parts[0]), "write it as de or de_CH")
        else:
            locale = literal.group(2)
    return Form(name, argument, locale, read_locale)


def _split(text: str) -> list[tuple[str, int]]:
    """The parts between single | outside quotes, and where each begins."""
    parts, begin, quote_mark = [], 0, ""
    for at, character in enumerate(text):
        if quote_mark:
            if character == quote_mark and text[at - 1] != "\\":
                quote_mark = ""
        elif character in "'\"":
            quote_mark = character
        elif character == "|" and "|" not in (text[at - 1:at], text[at + 1:at + 2]):
            parts.append((text[begin:at], begin))
            begin = at + 1
    return [*parts, (text[begin:], begin)]


def _compiled(text: str, types: Mapping[str, str], found: _Found, kinds: tuple[str, ...]) -> tuple[Any, str]:
    if not text.strip():
        raise RuleError("nothing stands here", 0, "write an attribute, as {{ profile.name | 'friend' }}")
    tree = parse(text)
    if isinstance(tree, Call) and tree.name == "||" and not tree.method:
        sides = [Builder(types).build(arg).type for arg in tree.args]
        if "bool" not in sides:
            raise RuleError("|| joins conditions", tree.mark, "write a single | before what stands there by default")
    built = Builder(types).build(tree)
    if built.type not in kinds:
        raise RuleError(f"a {built.type} cannot be shown", 0, "show a string, a number or a bool")
    found.cost += check_cost(tree, types)
    check_constants(tree)
    found.reads += reads_of(tree, types)
    return built.fn, built.type


def bind(variant: Variant, facts: Facts, item: Facts, escape: Escape, locale: str = LOCALE) -> dict[str, Scalar]:
    """The variant's content with every gap filled. Raises UnboundError for one that cannot be.

    :param escape: how what is filled in is escaped, in fields that do not say it themselves.
    :param locale: of formats that do not name one.
    """
    if not variant.templates:
        return variant.content
    content = dict(variant.content)
    for name, template in variant.templates:
        cleaned = ESCAPES[variant.escapes.get(name, escape)]
        try:
            content[name] = "".join([
                part if isinstance(part, str) else cleaned(_filled(part, name, facts, item, locale))
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


def _filled(slot: Slot, name: str, facts: Facts, item: Facts, locale: str) -> str:
    """What stands in the gap; the default also where the value is an empty text."""
    try:
        text = _formed(slot.form, slot.fn(facts, item), facts, item, locale)
        if text or slot.default is None:
            return text
    except (*UNKNOWN, *UNCOMPUTABLE) as error:
        if slot.default is None:
            raise UnboundError(name, str(error.args[0])) from error
    try:
        return _shown(slot.default(facts, item))
    except (*UNKNOWN, *UNCOMPUTABLE) as error:
        raise UnboundError(name, str(error.args[0])) from error


def _formed(form: Form | None, value: Any, facts: Facts, item: Facts, locale: str) -> str:
    if form is None:
        return _shown(value)
    own = form.locale or locale
    if form.read_locale is not None:
        own = form.read_locale(facts, item)
    return FORMATS[form.name].show(value, form.argument, locale_of(own) or _DEFAULT)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError("not a finite number")
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, (datetime, timedelta)):
        raise TypeError("timestamps and durations are refused when the template is compiled")
    return str(value)

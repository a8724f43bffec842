"""The worst case of a rule's cost in elementary operations, about a tenth of a microsecond each: one for each node, and
what a function reads and makes besides, by the length of its texts and lists. As CEL's own estimate, with weights of
our functions as measured.

Every cost grows with lengths as a sum of products does, never slower: a list of texts that together are so long then
costs most where one of them has all the characters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pipeline.core.model.bounds import TEXT_CHARS_MAX
from pipeline.core.rules import patterns
from pipeline.core.rules.cel.functions import PARTS_MAX
from pipeline.core.rules.cel.functions import TEXT_CHARS_MAX as MADE_CHARS_MAX
from pipeline.core.rules.cel.syntax import MACROS, Call, ListOf, Literal, Name, Node, RuleError, parts_of

#: Elements of a list attribute; a longer value is unknown to rules.
LIST_ITEMS_MAX: Final = 256

#: Operations that one evaluation of a rule may take at worst: tens of milliseconds, and a few MB.
COST_MAX: Final = 250_000

#: The same of all that one event makes a worker evaluate about a subject, and of all that one decision does on one
#: placement, the former included: on a slow core 50 and 100 ms, so that neither keeps those behind it waiting.
EVENT_COST_MAX: Final = 500_000
DECISION_COST_MAX: Final = 1_000_000

#: Lists of fewer elements are taken to have the longest of them at every place.
_FEW: Final = 8
#: For what a condition over a list sets up.
_SCOPE: Final = 10.0
#: Of a pattern that is put together, whose program is not looked at.
_PROGRAM_MAX: Final = 10_000
#: For a character that is made and kept, compared, looked at, and for one of each that is searched and searched for.
_MADE, _COMPARED, _READ, _SEARCHED = 0.1, 0.001, 0.05, 0.007
#: Characters of a number or moment as text.
_SHOWN_CHARS: Final = 32
_NAME_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class Size:
    """How large a value may be: its characters, with all that is in it; a list's elements, and the largest of them."""

    chars: float = 0.0
    items: int = 0
    of: Size | None = None
    #: Values in it, at every level.
    leaves: float = 1.0


_SCALAR: Final = Size()
_TEXT: Final = Size(TEXT_CHARS_MAX)
_LIST: Final = Size(TEXT_CHARS_MAX, LIST_ITEMS_MAX, _TEXT, LIST_ITEMS_MAX)
#: Lists that are not one text of an attribute.
_NAMES: Final = Size(_NAME_CHARS * LIST_ITEMS_MAX, LIST_ITEMS_MAX, Size(_NAME_CHARS), LIST_ITEMS_MAX)

Sizes = tuple[Size, ...]

#: Operations beside the one of the node, of functions whose work depends on no length, as measured.
_FLAT: Final[Mapping[str, float]] = {
    "versionAtLeast": 150, "inNetwork": 250, "timestamp": 50, "duration": 300, "date": 20, "int": 20, "string": 50,
    "daysSince": 50, "getFullYear": 50, "getMonth": 50, "getDate": 50, "getDayOfMonth": 50, "getDayOfWeek": 50,
    "getDayOfYear": 50, "getHours": 50, "getMinutes": 50, "getSeconds": 50,
}


def check_cost(tree: Node, types: Mapping[str, str] = MappingProxyType({})) -> float:
    """The cost. Raises RuleError, at the outermost condition over a list, where the rule may cost too much."""
    cost = cost_of(tree, types)
    if cost > COST_MAX:
        raise RuleError(
            f"may take {cost:,.0f} operations for each candidate, more than {COST_MAX:,}", _costly(tree, types),
            f"lists may have {LIST_ITEMS_MAX} elements, texts {TEXT_CHARS_MAX:,} characters: put fewer conditions over "
            "lists into one another, and what works on long texts outside of them",
        )
    return cost


def cost_of(node: Node, types: Mapping[str, str] = MappingProxyType({})) -> float:
    """Operations of one evaluation at worst; of one far past the bound, any number past it."""
    cost, size = _measured(node, types, {})
    # What is left of it is kept or shown.
    return cost + _MADE * size.chars if not isinstance(node, Literal | Name) else cost


def _measured(node: Node, types: Mapping[str, str], local: Mapping[str, Size]) -> tuple[float, Size]:
    if isinstance(node, Literal):
        return 1.0, Size(len(node.value)) if isinstance(node.value, str) else _SCALAR
    if isinstance(node, Name):
        return 1.0, local[node.path] if node.path in local else _declared(node.path, types)
    if isinstance(node, Call) and node.method and node.name in MACROS and len(node.args) == 3:
        return _over_list(node, types, local)
    costs, sizes = [1.0], []
    for part in parts_of(node):
        cost, size = _measured(part, types, local)
        costs.append(cost)
        sizes.append(size)
    if isinstance(node, ListOf):
        return sum(costs), _list_of(sizes)
    work, made = _work(node, tuple(sizes))
    return sum(costs) + work, made


def _declared(path: str, types: Mapping[str, str]) -> Size:
    kind = types.get(path)
    if path == "segments":
        return _NAMES
    return _LIST if kind == "list(string)" else _TEXT if kind == "string" else _SCALAR


def _list_of(sizes: list[Size]) -> Size:
    return Size(sum(one.chars for one in sizes), len(sizes), _largest(*sizes), sum(one.leaves for one in sizes))


def _largest(*sizes: Size) -> Size:
    inner = [one.of for one in sizes if one.of is not None]
    return Size(max((one.chars for one in sizes), default=0.0), max((one.items for one in sizes), default=0),
                _largest(*inner) if inner else None, max((one.leaves for one in sizes), default=1.0))


def _over_list(node: Call, types: Mapping[str, str], local: Mapping[str, Size]) -> tuple[float, Size]:
    source, name, body = node.args
    cost, many = _measured(source, types, local)
    element = many.of or _SCALAR
    bound = name.path if isinstance(name, Name) else ""
    each, made = _measured(body, types, {**local, bound: element})
    cost += 1.0 + _SCOPE
    if many.items <= _FEW or many.items * each > 1e12:
        total, chars, leaves = many.items * each, many.items * made.chars, many.items * made.leaves
    else:
        # All characters in one element, none in the others.
        least, small = _measured(body, types, {**local, bound: _emptied(element)})
        others = many.items - 1
        total = each + others * least
        chars, leaves = made.chars + others * small.chars, made.leaves + others * small.leaves
    if node.name == "map":
        return cost + total, Size(chars, many.items, made, leaves)
    return cost + total, many if node.name == "filter" else _SCALAR


def _emptied(size: Size) -> Size:
    return _SCALAR if size.of is None else Size(0.0, 0, _emptied(size.of), 0.0)


def _work(node: Call, sizes: Sizes) -> tuple[float, Size]:
    """What a call costs beside its arguments and the one operation that it is, and what it makes."""
    found = _WORK.get(node.name)
    if found is not None and sizes:
        return found(node, sizes)
    return _FLAT.get(node.name, 0.0), Size(_SHOWN_CHARS) if node.name == "string" else _SCALAR


def _compare(node: Call, sizes: Sizes) -> tuple[float, Size]:
    left, right = sizes[0], sizes[-1]
    return _COMPARED * (left.chars + right.chars) + 0.5 * (left.leaves if left.items else 0.0), _SCALAR


def _member(node: Call, sizes: Sizes) -> tuple[float, Size]:
    return _COMPARED * (sizes[0].chars + sizes[-1].chars) + 0.5 * sizes[-1].leaves, _SCALAR


def _sum(node: Call, sizes: Sizes) -> tuple[float, Size]:
    made = Size(sum(one.chars for one in sizes))
    return _MADE * made.chars, made


def _search(node: Call, sizes: Sizes) -> float:
    return _READ * sizes[0].chars + _SEARCHED * sizes[0].chars * sum(one.chars for one in sizes[1:2])


def _contains(node: Call, sizes: Sizes) -> tuple[float, Size]:
    return _search(node, sizes), _SCALAR


def _replace(node: Call, sizes: Sizes) -> tuple[float, Size]:
    made = Size(sizes[0].chars + MADE_CHARS_MAX)
    return _search(node, sizes) + 0.2 * sizes[0].chars + _MADE * made.chars, made


def _split(node: Call, sizes: Sizes) -> tuple[float, Size]:
    text = sizes[0]
    made = Size(text.chars, PARTS_MAX, Size(text.chars), PARTS_MAX)
    return _search(node, sizes) + _MADE * text.chars + PARTS_MAX, made


def _matches(node: Call, sizes: Sizes) -> tuple[float, Size]:
    pattern = node.args[1] if len(node.args) > 1 else None
    program = _PROGRAM_MAX
    if isinstance(pattern, Literal) and isinstance(pattern.value, str):
        try:
            program = patterns.compiled(pattern.value).programsize
        except patterns.PatternError:
            program = 1  # which is a finding of its own
    return 20.0 + 0.1 * program * sizes[0].chars, _SCALAR


def _cased(node: Call, sizes: Sizes) -> tuple[float, Size]:
    return sizes[0].chars, sizes[0]


def _cut(node: Call, sizes: Sizes) -> tuple[float, Size]:
    return _MADE * sizes[0].chars, sizes[0]


def _string(node: Call, sizes: Sizes) -> tuple[float, Size]:
    return _FLAT["string"], Size(sizes[0].chars + _SHOWN_CHARS)


def _number(node: Call, sizes: Sizes) -> tuple[float, Size]:
    return 20.0 + _READ * sizes[0].chars, _SCALAR


def _either(node: Call, sizes: Sizes) -> tuple[float, Size]:
    return 0.0, Size(sum(one.chars for one in sizes[1:]), *_shape(sizes[1:]))


def _shape(sizes: Sizes) -> tuple[int, Size | None, float]:
    largest = _largest(*sizes)
    return largest.items, largest.of, largest.leaves


def _element(node: Call, sizes: Sizes) -> tuple[float, Size]:
    return 0.0, sizes[0].of or _SCALAR


_WORK: Final[Mapping[str, Callable[[Call, Sizes], tuple[float, Size]]]] = {
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "startsWith", "endsWith"), _compare), "in": _member,
    "+": _sum, "contains": _contains, "replace": _replace, "split": _split, "matches": _matches,
    "lowerAscii": _cased, "upperAscii": _cased, "trim": _cut, "substring": _cut, "string": _string, "double": _number,
    "?:": _either, "[]": _element,
}


def _costly(tree: Node, types: Mapping[str, str]) -> int:
    """Where the outermost condition over a list stands, or the costliest call."""
    found = _first_macro(tree)
    while found < 0:
        parts = [part for part in parts_of(tree) if isinstance(part, Call)]
        worst = max(parts, key=lambda part: cost_of(part, types), default=None)
        if worst is None or 2 * cost_of(worst, types) < cost_of(tree, types):
            found = tree.mark if isinstance(tree, Call) else tree.at
        else:
            tree = worst
    return found


def _first_macro(node: Node) -> int:
    if isinstance(node, Call) and node.method and node.name in MACROS:
        return node.mark
    return next((at for part in parts_of(node) if (at := _first_macro(part)) >= 0), -1)

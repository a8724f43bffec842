"""One YAML file as nodes and values: YAML 1.2's core types, and a bound on everything that a file can make of itself.

A value is read as it is written, or refused: YAML 1.1 reads `NO` as false, `010` as 8 and `12:30` as 750.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import yaml

FILE_BYTES_MAX: Final = 2 << 20
DEPTH_MAX: Final = 40
#: Values of a whole policy with all aliases written out; a long text counts as several.
EXPANDED_MAX: Final = 200_000

_KEY_CHARS_MAX: Final = 1_024

_INT: Final = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_OTHER_BASE: Final = re.compile(r"[-+]?0[xob][0-9a-fA-F_]+\Z")
_NULL: Final = re.compile(r"(~|null|Null|NULL|)\Z")
_BOOL: Final = re.compile(r"(true|True|TRUE|false|False|FALSE)\Z")
_CORE: Final = "tag:yaml.org,2002:"
_T = TypeVar("_T")


class Unreadable(ValueError):
    """What cannot be read: where, and what to do. Line and column from 1."""

    def __init__(self, message: str, suggestion: str = "", line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.suggestion = suggestion
        self.line = line
        self.column = column


class _Loader(yaml.SafeLoader):
    """Tags plain scalars by YAML 1.2's core schema (section 10.3); refuses what is nested too deep."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  # the library's own name
    _depth = 0

    def compose_sequence_node(self, anchor: Any) -> yaml.SequenceNode:
        return self._within(super().compose_sequence_node, anchor)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        return self._within(super().compose_mapping_node, anchor)

    def _within(self, compose: Callable[[Any], _T], anchor: Any) -> _T:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise Unreadable(f"nested deeper than {DEPTH_MAX} levels", "no policy needs that",
                             mark.line + 1, mark.column + 1)
        node = compose(anchor)
        self._depth -= 1
        return node


for _tag, _pattern, _first in (
    ("null", _NULL, [*"~nN", ""]), ("bool", _BOOL, [*"tTfF"]), ("int", _INT, [*"-+0123456789"]),
    ("float", _FLOAT, [*"-+.0123456789"]), ("float", _NOT_FINITE, [*"-+."]), ("int", _OTHER_BASE, [*"-+0"]),
):
    _Loader.add_implicit_resolver(_CORE + _tag, _pattern, _first)


def decoded(content: bytes) -> str:
    """The file's text. Raises Unreadable."""
    if len(content) > FILE_BYTES_MAX:
        raise Unreadable(f"the file is too large: of its bytes, at most {FILE_BYTES_MAX:,} are read",
                         "split it; keep pictures and long texts elsewhere")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Unreadable("the file is UTF-16", "save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[:error.start]
        line_start = before.rfind(b"\n") + 1
        raise Unreadable(
            f"the byte 0x{content[error.start]:02x} is no UTF-8", "save the file as UTF-8", before.count(b"\n") + 1,
            len(before[line_start:].decode("utf-8", "replace")) + 1) from error


def composed(text: str) -> yaml.Node | None:
    """The document's nodes; None for an empty one. Raises Unreadable."""
    try:
        return _read(text, _Loader.get_single_node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if mark and (key := _long_name(text[max(0, mark.index - mark.column):mark.index])):
            raise Unreadable(f"not YAML: a name of {key:,} characters, at most {_KEY_CHARS_MAX:,} can stand before a "
                             "colon", "shorten it", line, 1) from error
        hint = "look at the indentation of this line and the one before" if "block" in str(error.problem) else ""
        raise Unreadable(f"not YAML: {error.problem or error.context}", hint, line, column) from error
    except yaml.reader.ReaderError as error:
        before = text[:error.position]
        code = ord(error.character) if isinstance(error.character, str) else error.character
        raise Unreadable(f"not YAML: the character U+{code:04X} may not stand in it", "remove it",
                         before.count("\n") + 1, error.position - before.rfind("\n")) from error
    except yaml.YAMLError as error:
        raise Unreadable(f"not YAML: {error}") from error


def _long_name(before: str) -> int:
    """The characters of what stands before a colon, where they are more than the library takes there; else 0."""
    chars = len(before.rstrip().rstrip(":").split(": ")[-1].strip(" {,-?'\""))
    return chars if chars > _KEY_CHARS_MAX else 0


def _read(text: str, read: Callable[[_Loader], _T]) -> _T:
    """What is read with a loader of its own. Raises Unreadable also where the library's own conversions fail: of an
    escape (`"\\U00110000"`), of a version (`%YAML 1.…`)."""
    loader = _Loader(text)
    try:
        return read(loader)
    except (yaml.YAMLError, Unreadable):
        raise
    except (ValueError, OverflowError) as error:
        mark = loader.get_mark()
        line, column = mark.line + 1, mark.column + 1
        if text[:mark.index].endswith("\\U"):
            digits = text[mark.index:mark.index + 8]
            raise Unreadable(f"not YAML: \\U{digits} is no character, the last one is U+10FFFF",
                             "write the character itself", line, column - 2) from error
        raise Unreadable(f"not YAML: {str(error).lower()}", "", line, column) from error
    finally:
        loader.dispose()


def scalar(node: yaml.Node, shown: bool = False) -> Any:
    """The value of a scalar. Raises Unreadable for one that two readers would read differently.

    :param shown: whether it is shown to people as it is: then a number has to be written as it will be shown.
    """
    text, tag = node.value, node.tag.removeprefix(_CORE)
    if not node.tag.startswith(_CORE):
        raise Unreadable(f"the tag {node.tag} means nothing here", "write the value itself")
    if tag == "str":
        return text
    if tag == "null" and _NULL.match(text):
        return None
    if tag == "bool" and _BOOL.match(text):
        return text.lower() == "true"
    if tag in ("int", "float"):
        return _number(text, tag, shown)
    raise Unreadable(f"{text[:40]!r} is no {tag}", "leave the tag (!!) out, or mend the value")


def _number(text: str, tag: str, shown: bool) -> int | float:
    quoted = f'to mean the text, quote it: "{text[:40]}"'
    if re.match(r"[-+]?0[0-9]", text) or _OTHER_BASE.match(text):
        raise Unreadable(f"{text[:40]} is read as one number here and as another elsewhere",
                         f"write it in decimal, without leading zeros; {quoted}")
    if _NOT_FINITE.match(text):
        raise Unreadable(f"{text} is no number that anything can be counted with", quoted)
    if tag == "int" and _INT.match(text):
        # Longer ones would take quadratic time to read.
        if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
            raise Unreadable(f"{text[:40]} does not fit in 64 bits", quoted)
        value: int | float = int(text)
    elif _FLOAT.match(text):
        value = float(text)
        if not math.isfinite(value):
            raise Unreadable(f"{text[:40]} is larger than any number here", quoted)
    else:
        raise Unreadable(f"{text[:40]!r} is no {tag}", "leave the tag (!!) out, or mend the value")
    if shown and str(value) != text:
        raise Unreadable(f"{text[:40]} would be shown as {value}", quoted)
    return value

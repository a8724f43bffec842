"""One mutant as mutmut makes it: where it is, what it changes, and whether that is only a text for people."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mutmut.__main__ import get_diff_for_mutant

#: Calls whose string arguments are texts for people, whatever they say.
_TEXT_CALLS: Final = frozenset({"print", "debug", "info", "warning", "error", "exception"})


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutant by mutmut's name, with the lines it removes and adds (stripped, joined by newlines)."""

    name: str
    path: str
    removed: str
    added: str

    @property
    def function(self) -> str:
        """The dotted name of the function it changes: `pipeline.core.decide.caps.uses`, `pipeline.x.Class.method`."""
        module, _, mangled = self.name.rpartition(".")
        plain = mangled.rpartition("__mutmut_")[0]
        return f"{module}.{plain.removeprefix('xǁ').replace('ǁ', '.') if 'ǁ' in plain else plain.removeprefix('x_')}"


def read(name: str, path: Path) -> tuple[Mutant, bool]:
    """The mutant of that name in the file, and whether it changes only a text for people."""
    diff = get_diff_for_mutant(name, path=path).splitlines()
    lines = [line for line in diff if not line.startswith(("---", "+++", "@@"))]
    removed = "\n".join(line[1:].strip() for line in lines if line.startswith("-"))
    added = "\n".join(line[1:].strip() for line in lines if line.startswith("+"))
    return Mutant(name, str(path), removed, added), _is_text(lines)


def _is_text(lines: list[str]) -> bool:
    before = _parsed("\n".join(line[1:] for line in lines if not line.startswith("+")))
    after = _parsed("\n".join(line[1:] for line in lines if not line.startswith("-")))
    if before is None or after is None:
        # A hunk cuts functions anywhere: then the changed line by itself.
        removed, added = ("\n".join(line[1:] for line in lines if line.startswith(sign)) for sign in "-+")
        before, after = _parsed(removed), _parsed(added)
    if before is None or after is None:
        return _reads_as_text(removed)
    return only_text(before, after)


def _parsed(code: str) -> ast.AST | None:
    """The code as a tree; None for a fragment."""
    try:
        return ast.parse(textwrap.dedent(code))
    except SyntaxError:
        return None


def _reads_as_text(removed: str) -> bool:
    """Whether a changed line that is no statement by itself is one of a text's lines: a string with words in it."""
    tree = _parsed(removed.strip().rstrip(",)"))
    return tree is not None and any(_is_words(node) for node in ast.walk(tree))


def only_text(before: ast.AST, after: ast.AST) -> bool:
    """Whether the first difference of two trees lies in a string with words, or leaves out an argument that is one."""
    pair = next(_differences(before, after), None)
    if pair is None:
        return False
    old, new = pair
    if isinstance(old, ast.Call) and isinstance(new, ast.Call):
        gone = [arg for arg in _arguments(old) if ast.dump(arg) not in {ast.dump(kept) for kept in _arguments(new)}]
        return any(_is_words(node) for arg in gone for node in ast.walk(arg)) or _called(old) in _TEXT_CALLS
    return any(_is_words(node) for node in ast.walk(old))


def _differences(old: ast.AST, new: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """The innermost pairs of nodes that differ, in order; a call that lost an argument is one by itself."""
    if ast.dump(old) == ast.dump(new):
        return
    pairs = list(zip(ast.iter_child_nodes(old), ast.iter_child_nodes(new), strict=False))
    same_shape = type(old) is type(new) and len(pairs) == len(list(ast.iter_child_nodes(old)))
    lost = isinstance(old, ast.Call) and isinstance(new, ast.Call) and len(_arguments(old)) != len(_arguments(new))
    inner = [found for a, b in pairs for found in _differences(a, b)] if same_shape and not lost else []
    yield from inner or [(old, new)]


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _is_words(node: ast.AST) -> bool:
    """A string constant with a space between words: identifiers, keys and patterns of ours have none."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip()

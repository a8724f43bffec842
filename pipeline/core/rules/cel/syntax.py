"""CEL text to a syntax tree that remembers where everything stood. Knows no types and evaluates nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: Nesting past this is refused: nobody reads such a rule, and it would exhaust the interpreter's stack.
DEPTH_MAX: Final = 30

#: The same for the tree as a whole, where a row of operators (1 + 1 + …) is as deep as it is long.
TREE_DEPTH_MAX: Final = 120

LENGTH_MAX: Final = 4_000

#: Methods that take a name and a condition, or an expression, over a list.
MACROS: Final = ("exists", "all", "exists_one", "filter", "map")


class RuleError(ValueError):
    """A rule that cannot be used: what is wrong, where (offset in the text), and what was probably meant.

    `missing`: the name that is not declared, where that is what is wrong.
    """

    def __init__(self, message: str, at: int, suggestion: str = "", missing: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.suggestion = suggestion
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Literal:
    value: bool | int | float | str | None
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class Name:
    """A name or a path of names (`profile.plan`)."""

    path: str
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple[Node, ...]
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    """An operator, function or method; a method's receiver is the first argument."""

    name: str
    args: tuple[Node, ...]
    at: int
    end: int
    method: bool = False
    #: Where the operator or function name itself stands: errors point there.
    mark: int = 0


Node = Literal | Name | ListOf | Call

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
      | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
      | (?P<int>0[xX][0-9a-fA-F]+|\d+)
      | (?P<string>[rR]?(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<op>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]])""",
    re.VERBOSE | re.ASCII,
)
_HINTS: Final = {
    "=": "write == to compare", "&": "write && for and", "|": "write || for or", "'": "this quote is never closed",
    '"': "this quote is never closed", "{": "rules have no maps: declare an attribute for each value",
}
#: What CEL has and rules do not: unsigned numbers (3u) and bytes (b'x').
_LEFT_OUT: Final = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)[uU]\b|[rR]?[bB][rR]?['\"]")
_WORDS: Final = {"and": "write &&", "or": "write ||", "not": "write !"}
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)
_SIMPLE: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
                  "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?"}
_BINARY: Final = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3,
                  "+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
_INT_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def end(self) -> int:
        return self.at + len(self.text)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            character = text[at]
            raise RuleError(f"{character!r} is not understood here", at, _HINTS.get(character, ""))
        if match.lastgroup in ("int", "name") and _LEFT_OUT.match(text, at):
            kind, instead = ("unsigned numbers", match.group()) if match.lastgroup == "int" else ("bytes", "'text'")
            raise RuleError(f"rules have no {kind}", at, f"write {instead}")
        if match.lastgroup != "space":
            yield _Token(match.lastgroup or "op", match.group(), at)
        at = match.end()
    yield _Token("end", "", len(text))


def _unquote(token: _Token) -> str:
    text = token.text
    if text[0] in "rR":
        return text[2:-1]

    def replace(match: re.Match[str]) -> str:
        code = match.group(1)
        if code in _SIMPLE:
            return _SIMPLE[code]
        number = int(code[1:], 16) if len(code) > 1 and code[0] in "xuU" else int(code, 8) if len(code) == 3 else None
        if number is None:
            raise RuleError(f"\\{code} is not an escape CEL knows", token.at + 1 + match.start(),
                            "write \\\\ for a backslash; numbers are \\x41, \\u0041 or \\U00000041")
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise RuleError(f"\\{code} is no character", token.at + 1 + match.start())
        return chr(number)

    return _ESCAPE.sub(replace, text[1:-1])


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._ternary()
        if self._peek().kind != "end":
            token = self._peek()
            raise RuleError(f"unexpected {token.text!r}", token.at, _WORDS.get(token.text.lower(), ""))
        return node

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _accept(self, text: str) -> _Token | None:
        token = self._peek()
        if token.kind in ("op", "name") and token.text == text:
            return self._take()
        return None

    def _expect(self, text: str) -> _Token:
        token = self._accept(text)
        if token is None:
            found = self._peek()
            what = "the end of the rule" if found.kind == "end" else repr(found.text)
            raise RuleError(f"expected {text!r} but found {what}", found.at)
        return token

    def _ternary(self) -> Node:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise RuleError(f"nested deeper than {DEPTH_MAX} levels", self._peek().at, "split it into segments")
        condition = self._binary(1)
        mark = self._accept("?")
        if mark is not None:
            yes = self._binary(1)
            self._expect(":")
            no = self._ternary()
            condition = Call("?:", (condition, yes, no), condition.at, no.end, mark=mark.at)
        self._depth -= 1
        return condition

    def _binary(self, level: int) -> Node:
        left = self._unary()
        while True:
            token = self._peek()
            strength = _BINARY.get(token.text, 0) if token.kind in ("op", "name") else 0
            if strength < level:
                return left
            if token.text in ("&&", "||"):
                left = self._chain(left, token, strength)
                continue
            self._take()
            right = self._binary(strength + 1)
            left = Call(token.text, (left, right), left.at, right.end, mark=token.at)

    def _chain(self, first: Node, token: _Token, strength: int) -> Node:
        """A row of one logical operator, as a balanced tree: a long row is then not deep."""
        operands, marks = [first], []
        while self._peek().kind == "op" and self._peek().text == token.text:
            marks.append(self._take().at)
            operands.append(self._binary(strength + 1))
        return _balanced(token.text, operands, marks)

    def _unary(self) -> Node:
        token = self._peek()
        if token.kind != "op" or token.text not in "!-":
            return self._postfix(self._primary())
        self._take()
        following = self._peek()
        if token.text == "-" and following.kind in ("int", "float") and following.at == token.end:
            number = self._take()
            return self._postfix(_number(number, token.at, negative=True))
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise RuleError(f"nested deeper than {DEPTH_MAX} levels", token.at)
        operand = self._unary()
        self._depth -= 1
        return Call("-_" if token.text == "-" else "!", (operand,), token.at, operand.end, mark=token.at)

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._accept("."):
                name = self._take()
                if name.kind != "name":
                    raise RuleError("expected a name after '.'", name.at)
                if self._accept("("):
                    args, end = self._arguments()
                    node = Call(name.text, (node, *args), node.at, end, method=True, mark=name.at)
                elif isinstance(node, Name):
                    node = Name(f"{node.path}.{name.text}", node.at, name.end)
                else:
                    raise RuleError(f"{name.text!r} is not a field of this", name.at)
            elif self._accept("["):
                index = self._ternary()
                end = self._expect("]").end
                node = Call("[]", (node, index), node.at, end, mark=index.at)
            else:
                return node

    def _arguments(self, close: str = ")") -> tuple[tuple[Node, ...], int]:
        args: list[Node] = []
        while (token := self._accept(close)) is None:
            if args:
                self._expect(",")
                if close == "]" and (token := self._accept(close)) is not None:
                    break
            args.append(self._ternary())
        return tuple(args), token.end

    def _primary(self) -> Node:
        token = self._take()
        if token.kind in ("int", "float"):
            return _number(token, token.at)
        if token.kind == "string":
            return Literal(_unquote(token), token.at, token.end)
        if token.kind == "name":
            if token.text in ("true", "false"):
                return Literal(token.text == "true", token.at, token.end)
            if token.text == "null":
                return Literal(None, token.at, token.end)
            if self._accept("("):
                args, end = self._arguments()
                return Call(token.text, args, token.at, end, mark=token.at)
            return Name(token.text, token.at, token.end)
        if token.text == "(":
            inner = self._ternary()
            self._expect(")")
            return inner
        if token.text == "[":
            items, end = self._arguments("]")
            return ListOf(items, token.at, end)
        what = "the rule ends here" if token.kind == "end" else f"unexpected {token.text!r}"
        raise RuleError(f"{what}: a value is missing", token.at)


def _balanced(name: str, operands: list[Node], marks: list[int]) -> Node:
    if len(operands) == 1:
        return operands[0]
    half = len(operands) // 2
    left = _balanced(name, operands[:half], marks[: half - 1])
    right = _balanced(name, operands[half:], marks[half:])
    return Call(name, (left, right), left.at, right.end, mark=marks[half - 1])


def _check_depth(tree: Node) -> None:
    """Raises RuleError where the tree is deeper than what walks it may be."""
    level, nodes = 0, [tree]
    while nodes:
        level += 1
        if level > TREE_DEPTH_MAX:
            raise RuleError(f"more than {TREE_DEPTH_MAX} operations within one another", nodes[0].at,
                            "split it into segments")
        nodes = [part for node in nodes for part in parts_of(node)]


def parts_of(node: Node) -> tuple[Node, ...]:
    """The nodes directly below one."""
    if isinstance(node, ListOf):
        return node.items
    return node.args if isinstance(node, Call) else ()


def _number(token: _Token, at: int, negative: bool = False) -> Literal:
    if token.kind == "float":
        real = float(token.text)
        return Literal(-real if negative else real, at, token.end)
    whole = int(token.text, 0 if token.text[:2] in ("0x", "0X") else 10)
    whole = -whole if negative else whole
    if not -_INT_MAX - 1 <= whole <= _INT_MAX:
        raise RuleError(f"{whole} does not fit in 64 bits", at)
    return Literal(whole, at, token.end)


def parse(text: str) -> Node:
    """The rule's tree. Raises RuleError with the offset of what is not understood."""
    if len(text) > LENGTH_MAX:
        raise RuleError(f"longer than {LENGTH_MAX} characters", LENGTH_MAX, "split it into segments")
    if not text.strip():
        raise RuleError("the rule is empty", 0, "write true to let everything pass")
    tree = _Parser(text).parse()
    _check_depth(tree)
    return tree


def conjuncts(node: Node) -> Iterator[Node]:
    """The clauses of a rule: what its outermost && joins."""
    if isinstance(node, Call) and node.name == "&&":
        yield from conjuncts(node.args[0])
        yield from conjuncts(node.args[1])
    else:
        yield node

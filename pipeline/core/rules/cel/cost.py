"""The worst case of a rule's cost, in elementary operations, as CEL's own estimate counts them: one for each node.

Only lists make a rule costly: a condition over a list is counted for as many elements as the list may have.
"""

from __future__ import annotations

from typing import Final

from pipeline.core.rules.cel.syntax import Call, ListOf, Node, RuleError, parts_of

#: Elements of a list attribute; a longer value is unknown to rules.
LIST_ITEMS_MAX: Final = 256

#: Operations that one evaluation of a rule may take at worst: tens of milliseconds.
COST_MAX: Final = 200_000

_MACROS: Final = ("exists", "all", "exists_one", "filter", "map")


def check_cost(tree: Node) -> None:
    """Raises RuleError, at the outermost condition over a list, where the rule may cost too much."""
    cost = cost_of(tree)
    if cost > COST_MAX:
        raise RuleError(
            f"may take {cost:,} operations for each candidate, more than {COST_MAX:,}", _first_macro(tree),
            f"lists may have {LIST_ITEMS_MAX} elements: put fewer conditions over lists into one another",
        )


def cost_of(node: Node) -> int:
    """Operations of one evaluation at worst."""
    if isinstance(node, Call) and node.method and node.name in _MACROS:
        source, *inner = node.args
        elements = len(source.items) if isinstance(source, ListOf) else LIST_ITEMS_MAX
        return 1 + cost_of(source) + elements * sum(cost_of(part) for part in inner[1:])
    return 1 + sum(cost_of(part) for part in parts_of(node))


def _first_macro(node: Node) -> int:
    if isinstance(node, Call) and node.method and node.name in _MACROS:
        return node.mark
    return next((at for part in parts_of(node) if (at := _first_macro(part)) >= 0), -1)

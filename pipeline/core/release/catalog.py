"""A catalog item's canonical body to the compiled item, against the release whose attributes its rules read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final

from pipeline.core.hashing import item_digest
from pipeline.core.model.bounds import TEXT_CHARS_MAX
from pipeline.core.model.definitions import Item, Policy, Variant
from pipeline.core.model.problems import DefinitionError, Path, Problem, Problems
from pipeline.core.release import thresholds
from pipeline.core.release.book import RuleBook
from pipeline.core.rules.cel.cost import LIST_ITEMS_MAX
from pipeline.core.rules.cel.syntax import RuleError, parse
from pipeline.core.rules.facts import BUILT_IN_CANDIDATE

#: The three levels of rules: may it, does it fit now, should it.
LEVELS: Final = ("eligibility", "applicability", "suitability")


class ItemCompiler:
    """Compiles the items of one release: rules with the same text are shared between items."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._problems = Problems()
        self._book = RuleBook(policy.types, self._problems, policy.sensitive)

    @property
    def texts(self) -> Mapping[str, Path]:
        """Every rule of the items compiled so far, and where it stands first."""
        return self._book.texts

    def compile(self, item_id: str, body: str) -> Item:
        """The compiled item. Raises DefinitionError with every problem of this item."""
        self._problems.found.clear()
        try:
            item = self._item(item_id, _shaped(json.loads(body)), item_digest(item_id, body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            message = f"not an item this engine understands: {type(error).__name__}: {error}"
            raise DefinitionError([Problem(("items", item_id), message)]) from error
        self._problems.stop()
        return item

    def _item(self, item_id: str, one: Mapping[str, Any], digest: str) -> Item:
        path: Path = ("items", item_id)
        policy, problems = self._policy, self._problems
        for where, part in ((path, one), *(((*path, "variants", name), one) for name, one in one["variants"].items())):
            self._book.all_known(where, part, "placements", policy.placements)
            self._book.all_known(where, part, "channels", policy.channels)
        for index, cap in enumerate(one.get("bypass", ())):
            known = (*(cap.id for cap in policy.caps), "quiet_hours", "do_not_contact")
            problems.known((*path, "bypass", index), cap, known, "cap")
        rules = {level: self._book.rule((*path, level), one.get(level))
                 for level in LEVELS}
        problems.found += thresholds.decided(
            {rule.text: (*path, level) for level, rule in rules.items() if rule is not None}, policy.signals)
        return Item(
            item_id, one["kind"], one.get("priority", 0), self._facts(item_id, one),
            tuple(self._variant((*path, "variants", name), name, one["variants"][name])
                  for name in one.get("order", sorted(one["variants"]))),
            tuple(one.get("tags", ())), one.get("campaign", ""), frozenset(one.get("placements", ())),
            frozenset(one.get("channels", ())), rules["eligibility"], rules["applicability"], rules["suitability"],
            one.get("valid_from_ms"), one.get("valid_until_ms"), frozenset(one.get("bypass", ())),
            one.get("inventory"), one.get("instead", ""), digest,
        )

    def _variant(self, path: Path, name: str, one: Mapping[str, Any]) -> Variant:
        content = one.get("content", {})
        templates = tuple(
            (field, template) for field, value in content.items() if isinstance(value, str)
            and (template := self._book.template((*path, "content", field), value)) is not None
        )
        return Variant(name, frozenset(one.get("channels", ())), frozenset(one.get("placements", ())), content,
                       templates, self._book.rule((*path, "rule"), one.get("rule")), one.get("escape", {}))

    def _facts(self, item_id: str, one: Mapping[str, Any]) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "candidate.id": item_id, "candidate.kind": one["kind"], "candidate.priority": one.get("priority", 0),
            "candidate.tags": tuple(one.get("tags", ())), "candidate.campaign": one.get("campaign", ""),
        }
        for declared in self._policy.candidate.values():
            if declared.default is not None:
                facts[declared.path] = declared.default
        for name, value in one.get("attributes", {}).items():
            path = ("items", item_id, "attributes", name)
            if not self._problems.known(path, name, self._policy.candidate, "candidate attribute"):
                continue
            declared = self._policy.candidate[name]
            converted = declared.convert(value)
            if converted is None:
                self._problems.add(path, f"{value!r} is no {declared.type}")
            facts[declared.path] = converted
        for fact, value in facts.items():
            self._check_length(item_id, fact, value)
        return facts

    def _check_length(self, item_id: str, path: str, value: Any) -> None:
        """Note what is longer than the cost of rules counts with."""
        space, _, name = path.partition(".")
        own = (name,) if f"{space}.{name}" in BUILT_IN_CANDIDATE else ("attributes", name)
        texts = (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()
        if len(texts) > LIST_ITEMS_MAX:
            self._problems.add(("items", item_id, *own), f"has {len(texts)} parts, at most {LIST_ITEMS_MAX} are read")
        elif (chars := sum(map(len, texts))) > TEXT_CHARS_MAX:
            self._problems.add(("items", item_id, *own), f"has {chars:,} characters, at most {TEXT_CHARS_MAX:,} can be",
                               "keep what is shown in `content`")


def _whole(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _moment(value: Any) -> bool:
    # Of a time that has a date.
    return type(value) is int and -62_135_596_800_000 <= value < 253_402_300_800_000


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _scalars(value: Any) -> bool:
    return isinstance(value, dict) and all(
        one is None or isinstance(one, bool | str) or _whole(one) or (isinstance(one, float) and isfinite(one))
        for one in value.values())


def _variants(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(
        isinstance(one, dict) and _fits(one, _VARIANT) for one in value.values())


#: What may stand in an item's body, and in a variant's: whoever publishes it, deciding relies on it.
_VARIANT: Final[Mapping[str, Callable[[Any], bool]]] = {
    "content": _scalars, "channels": _texts, "placements": _texts, "rule": _text,
    "escape": lambda value: isinstance(value, dict) and set(value.values()) <= {"html", "url", "json", "none"},
}
_ITEM: Final[Mapping[str, Callable[[Any], bool]]] = {
    "kind": lambda value: value in ("action", "offer", "content"), "variants": _variants, "order": _texts,
    "priority": _whole, "tags": _texts, "campaign": _text, "placements": _texts, "channels": _texts,
    "attributes": _scalars, "eligibility": _text, "applicability": _text, "suitability": _text,
    "valid_from_ms": _moment, "valid_until_ms": _moment, "bypass": _texts, "instead": _text,
    "inventory": lambda value: _whole(value) and value >= 0,
}


def _fits(one: Mapping[str, Any], fields: Mapping[str, Callable[[Any], bool]]) -> bool:
    for name, value in one.items():
        if name in fields and value is not None and not fields[name](value):
            raise ValueError(f"{name} is not what it has to be")
    return True


def _shaped(one: Any) -> dict[str, Any]:
    """The body, if it has an item's shape. Raises ValueError, KeyError or TypeError naming what has not."""
    if not isinstance(one, dict):
        raise TypeError("it is no object")
    _fits(one, _ITEM)
    if set(one.get("order") or one["variants"]) != set(one["variants"]) or not isinstance(one["kind"], str):
        raise ValueError("order names other variants than there are")
    return {name: value for name, value in one.items() if value is not None}


def item_reads(item: Item) -> frozenset[str]:
    """The facts that an item's rules and templates read."""
    rules = [item.eligibility, item.applicability, item.suitability, *(variant.rule for variant in item.variants)]
    reads = {name for rule in rules if rule is not None for name in rule.reads}
    return frozenset(reads.union(*(template.reads for one in item.variants for _, template in one.templates)))


def check_shape(item_id: str, body: str) -> None:
    """Raises DefinitionError unless the body has an item's shape and its rules are readable CEL."""
    problems = Problems()
    path: Path = ("items", item_id)
    try:
        one = _shaped(json.loads(body))
        for level in LEVELS:
            if one.get(level) is not None:
                try:
                    parse(one[level])
                except RuleError as error:
                    problems.rule((*path, level), error)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problems.add(path, f"not an item this engine understands: {type(error).__name__}: {error}")
    problems.stop()

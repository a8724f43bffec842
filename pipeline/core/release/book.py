"""The rules of a release: compiled against its declared attributes, each text once, so that outcomes can be shared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from pipeline.core.model.definitions import Reach, Template
from pipeline.core.model.problems import Path, Problems
from pipeline.core.rules.cel.syntax import RuleError
from pipeline.core.rules.rule import Number, Rule, compile_number, compile_rule
from pipeline.core.rules.templates import compile_template

Body = Mapping[str, Any]

#: What a rule about the subject alone may not read.
MOMENTARY = ("context.", "candidate.")
CANDIDATE = ("candidate.",)


def _hint(name: str, barred: tuple[str, ...]) -> str:
    if name.startswith("journey."):
        return "journeys follow segments: let the journey read the segment"
    return "only what is kept about the subject may be" if len(barred) > 1 else "no item is looked at here"


class RuleBook:
    """Compiles texts and notes what is wrong with them; `reads` grows with every attribute they read."""

    def __init__(
        self, types: Mapping[str, str], problems: Problems, sensitive: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.problems = problems
        self.reads: set[str] = set()
        self._types = types
        self._sensitive = sensitive
        self._rules: dict[str, Rule] = {}
        self._templates: dict[str, Template | None] = {}
        #: Every text that compiled, and where it stands first: what a second opinion is asked about.
        self.texts: dict[str, Path] = {}

    def rule(self, path: Path, text: str | None, barred: tuple[str, ...] = ()) -> Rule | None:
        """The compiled condition; None where there is none, or where it is wrong (noted)."""
        if text is None:
            return None
        if text not in self._rules:
            try:
                self._rules[text] = compile_rule(text, self._types, self._sensitive)
                self.texts.setdefault(text, path)
            except RuleError as error:
                self.problems.rule(path, error)
                return None
        rule = self._rules[text]
        for name in sorted(rule.reads):
            if barred and name.startswith(barred):
                hint = _hint(name, barred)
                self.problems.add(path, f"{name!r} may not be read here", hint, text.find(name))
                return None
        self.reads |= rule.reads
        return rule

    def number(self, path: Path, text: str) -> Number | None:
        """The compiled formula; None where it is wrong (noted)."""
        try:
            number = compile_number(text, self._types)
        except RuleError as error:
            self.problems.rule(path, error)
            return None
        if self.shows(path, number.reads):
            return None
        self.reads.update(number.reads)
        self.texts.setdefault(text, path)
        return number

    def template(self, path: Path, text: str) -> Template | None:
        """The compiled template; None where the text has no gap or is wrong (noted)."""
        if text not in self._templates:
            try:
                self._templates[text] = compile_template(text, self._types)
            except RuleError as error:
                self.problems.rule(path, error)
                return None
        template = self._templates[text]
        if template is not None and self.shows(path, template.reads):
            return None
        if template is not None:
            self.reads.update(template.reads)
        return template

    def shows(self, path: Path, reads: Iterable[str]) -> bool:
        """Whether it would show what is sensitive (noted): its own value tells what it was made of."""
        for name in reads:
            if name in self._sensitive:
                self.problems.add(path, f"{name!r} is sensitive ({self._sensitive[name]}): conditions may read it, "
                                  "nothing may show it", "ask for it in a rule or a segment")
                return True
        return False

    def all_known(self, path: Path, one: Body, part: str, known: Iterable[str], what: str = "") -> None:
        """Note every name in a list that is not declared."""
        for index, value in enumerate(one.get(part, ())):
            self.problems.known((*path, part, index), value, known, what or part.removesuffix("s"))

    def reach(self, path: Path, one: Body, data: Body) -> Reach:
        """What a cap, suppression, experiment or holdout is about."""
        reach = one.get("reach", {})
        self.all_known((*path, "reach"), reach, "placements", data["placements"])
        self.all_known((*path, "reach"), reach, "channels", data["channels"])
        self.all_known((*path, "reach"), reach, "kinds", ("action", "offer", "content"), "kind of item")
        return Reach(**{name: frozenset(values) for name, values in reach.items()})

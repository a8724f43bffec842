"""What is wrong with a definition, all of it at once: where (a path into the definition), what, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.rules.cel.build import nearest
from pipeline.core.rules.cel.syntax import RuleError

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """`at`: offset in the text of a rule, where the path names one. `missing`: the name that is declared nowhere."""

    path: Path
    message: str
    suggestion: str = ""
    at: int | None = None
    missing: str = ""

    def __str__(self) -> str:
        where = ".".join(str(part) for part in self.path)
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{where}: {self.message}{hint}"


class DefinitionError(ValueError):
    """A release or item that cannot be used, with every problem found.

    `partial`: what could be made of it nevertheless, good for nothing but finding more problems.
    """

    def __init__(self, problems: Iterable[Problem], partial: Any = None) -> None:
        self.problems = tuple(problems)
        self.partial = partial
        super().__init__("; ".join(str(problem) for problem in self.problems))


@dataclass(slots=True)
class Problems:
    """Collects while compiling goes on."""

    found: list[Problem] = field(default_factory=list)

    def add(self, path: Path, message: str, suggestion: str = "", at: int | None = None) -> None:
        """Note one problem."""
        self.found.append(Problem(path, message, suggestion, at))

    def rule(self, path: Path, error: RuleError) -> None:
        """Note what is wrong with a rule's text."""
        self.found.append(Problem(path, error.message, error.suggestion, error.at, error.missing))

    def known(self, path: Path, name: str, names: Iterable[str], what: str) -> bool:
        """Whether a name is one of those declared; notes it, with the nearest one, where it is not."""
        names = list(names)
        if name in names:
            return True
        hint = nearest(name, names) or (f"declared: {', '.join(sorted(names)[:8])}" if names else "")
        self.found.append(Problem(path, f"there is no {what} {name!r}", hint, missing=name))
        return False

    def stop(self, partial: Any = None) -> None:
        """Raise DefinitionError if anything was noted."""
        if self.found:
            raise DefinitionError(self.found, partial)

"""What can be wrong with a log, its mapping or the pipeline it is replayed through. Every message says what to do."""

from __future__ import annotations


class ReplayError(Exception):
    """The replay cannot start or go on; the message is for the person at the keyboard."""


class MappingError(ReplayError):
    """The mapping file, or its fit to the log, is wrong: one line per problem, each with file, line and field."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RowError(Exception):
    """One row of the log cannot be read as an impression; the replay counts it and goes on."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem

"""A model that was trained elsewhere: how facts become its inputs, and the scores of a batch of candidates.

Pure: what runs the model is a `Session`, given by the caller. `pipeline.onnx_models` has the one for ONNX files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.models.learner import CANDIDATE, Feature
from pipeline.core.rules.cel.build import Facts

#: Bytes of a model's file at most: as text it is a third longer, and part of the release's record.
CONTENT_BYTES_MAX: Final = 700_000
#: Numbers and texts that one candidate's inputs may have.
INPUT_COLUMNS_MAX: Final = 256

#: Models of a release that were trained elsewhere.
TRAINED_MAX: Final = 32

#: Types of tensors that facts can fill, and what each is in NumPy.
DTYPES: Final[Mapping[str, Any]] = {
    "float": np.float32, "double": np.float64, "int64": np.int64, "bool": np.bool_, "string": np.object_,
}
_FLOAT_MAX: Final = float(np.finfo(np.float32).max)
#: A score keeps so many significant digits: the last ones of a float depend on the processor.
_DIGITS: Final = 6
#: Operations of scoring one candidate (`core/rules/cel/cost.py`): so many, some for each column, and one for so many
#: bytes of the file. Twice what was measured of boosted trees, whose files are the largest.
_OPERATIONS: Final = 20.0
_COLUMN_OPERATIONS: Final = 3.0
_BYTES_AN_OPERATION: Final = 2_000.0


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output as the file declares it. `type`: one of `DTYPES`, or another name; None in `shape`: free."""

    name: str
    type: str
    shape: tuple[int | None, ...]


class Session(Protocol):
    """A model that is ready to run, by several threads."""

    @property
    def inputs(self) -> tuple[Tensor, ...]: ...

    @property
    def outputs(self) -> tuple[Tensor, ...]: ...

    def run(self, output: str, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
        """The output for a batch, its rows first; None where the model cannot take these values."""
        ...

    def row_us(self, output: str, columns: Mapping[str, NDArray[Any]]) -> float:
        """Microseconds that a row of this batch takes, the best of several runs. Of a batch that `run` takes."""
        ...


class ContentError(ValueError):
    """A file that cannot be run; `suggestion` says what to do."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        self.suggestion = suggestion
        super().__init__(message)


#: A file's bytes to its session. Raises ContentError.
OpenSession = Callable[[bytes], Session]


@dataclass(frozen=True, slots=True)
class Input:
    """One input tensor and the facts that fill its columns. `flat`: its shape is (rows), else (rows, columns)."""

    name: str
    type: str
    features: tuple[Feature, ...]
    flat: bool = False

    @property
    def columns(self) -> int:
        """Columns of a row."""
        return sum(one.columns for one in self.features)

    def cells(self, facts: Facts, its: Facts) -> list[Any] | str:
        """A row of it; the path of the first fact that is unknown, or that the type cannot hold."""
        found: list[Any] = []
        for one in self.features:
            value: Any = (its if one.path.startswith(CANDIDATE) else facts).get(one.path)
            if value is None:
                value = one.default
            if value is None or not _fits(value, self.type):
                return one.path
            found += [value == each for each in one.values] if one.values else [value]
        return found

    def array(self, rows: Sequence[Sequence[Any]]) -> NDArray[Any]:
        """The tensor of so many rows."""
        found = np.empty((len(rows), self.columns), DTYPES[self.type])
        for index, row in enumerate(rows):
            found[index] = row
        return found.reshape(len(rows)) if self.flat else found


def _fits(value: Any, type_: str) -> bool:
    return not isinstance(value, float) or (abs(value) <= _FLOAT_MAX if type_ == "float" else math.isfinite(value))


def operations(size_bytes: int, columns: int) -> float:
    """What scoring one candidate is taken to cost, in the operations of `core/rules/cel/cost.py`."""
    return _OPERATIONS + _COLUMN_OPERATIONS * columns + size_bytes / _BYTES_AN_OPERATION


@dataclass(frozen=True, slots=True)
class Trained:
    """One model of a release that was trained elsewhere.

    `digest`: SHA-256 of the file. `column`: of an output (rows, columns). `session`: None where the release was only
    compiled to be checked; such a model cannot score. `row_us`: microseconds a row took when it was measured here.
    """

    id: str
    digest: str
    size_bytes: int
    inputs: tuple[Input, ...]
    output: str
    column: int = -1
    session: Session | None = None
    row_us: float = 0.0

    @property
    def reads(self) -> frozenset[str]:
        """The facts that a decision reads for it."""
        return frozenset(one.path for each in self.inputs for one in each.features)

    @property
    def operations(self) -> float:
        """What scoring one candidate costs at most."""
        return operations(self.size_bytes, sum(one.columns for one in self.inputs))

    def scores(self, facts: Facts, items: Sequence[Facts]) -> list[float | str]:
        """A score for each candidate, by one run of the model: `facts` of subject and context, `items` of each.

        A text instead of a score is what is unknown: the path of a fact, or what became of the model's answer. Raises
        TypeError where the release was compiled without sessions.
        """
        if self.session is None:
            raise TypeError(f"the model {self.id} has no session: compile the release with one to decide by it")
        rows = [self._row(facts, its) for its in items]
        known = [row for row in rows if not isinstance(row, str)]
        answers = iter(self._answers(self.session, known))
        return [row if isinstance(row, str) else next(answers) for row in rows]

    def _row(self, facts: Facts, its: Facts) -> list[list[Any]] | str:
        found: list[list[Any]] = []
        for one in self.inputs:
            cells = one.cells(facts, its)
            if isinstance(cells, str):
                return cells
            found.append(cells)
        return found

    def _answers(self, session: Session, rows: Sequence[Sequence[Sequence[Any]]]) -> list[float | str]:
        if not rows:
            return []
        answer = session.run(self.output, self.batch(rows))
        if answer is None and len(rows) > 1:
            # One that the model cannot take keeps no other one from its score.
            return [score for row in rows for score in self._answers(session, [row])]
        column = None if answer is None else column_of(answer, len(rows), self.column)
        if column is None:
            return ["the model's answer"] * len(rows)
        return [rounded(value) if math.isfinite(value) else "a finite score" for value in column]

    def batch(self, rows: Sequence[Sequence[Sequence[Any]]]) -> dict[str, NDArray[Any]]:
        """The input tensors of some rows, by name. `rows`: by row, then by input, its cells."""
        return {one.name: one.array([row[index] for row in rows]) for index, one in enumerate(self.inputs)}


def column_of(answer: NDArray[Any], rows: int, column: int) -> list[float] | None:
    """A number for each row; None where the answer's shape has none."""
    if answer.shape == (rows,):
        answer = answer.reshape(rows, 1)
    if answer.ndim != 2 or answer.shape[0] != rows or not -answer.shape[1] <= column < answer.shape[1]:
        return None
    found: list[float] = answer[:, column].astype(np.float64).tolist()
    return found


def rounded(score: float) -> float:
    """The score as it counts: the same on every processor, but for a hair's breadth at the end of its digits."""
    return float(f"{score:.{_DIGITS}g}")

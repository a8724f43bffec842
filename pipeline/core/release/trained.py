"""Models of a release that were trained elsewhere: inputs against facts by name, type and shape, and a trial run."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from pipeline.core.model.problems import Path, Problems
from pipeline.core.models.learner import Feature
from pipeline.core.models.trained import (
    CONTENT_BYTES_MAX,
    DTYPES,
    INPUT_COLUMNS_MAX,
    TRAINED_MAX,
    ContentError,
    Input,
    OpenSession,
    Session,
    Tensor,
    Trained,
    column_of,
)
from pipeline.core.release.book import Body

#: The types of facts that a tensor's type takes: what would lose digits or is no number is refused.
_TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "float": ("int", "double", "bool"), "double": ("int", "double", "bool"), "int64": ("int", "bool"),
    "bool": ("bool",), "string": ("string",),
}
#: Rows of the batch that is measured, and of the one that shows whether the output follows the batch.
_MEASURED_ROWS: Final = 64
_ROWS: Final = 3
#: A row may take so many times what its operations stand for, a tenth of a microsecond each.
_SLOWER_MAX: Final = 10.0
_OPERATION_US: Final = 0.1

Shows = Callable[[Path, frozenset[str]], bool]


def from_files(declared: Body) -> tuple[Body, Body]:
    """The models that learn, and those that were trained elsewhere."""
    return ({name: one for name, one in declared.items() if "onnx" not in one},
            {name: one for name, one in declared.items() if "onnx" in one})


def trained(
    problems: Problems, declared: Body, types: Mapping[str, str], shows: Shows, open_session: OpenSession | None
) -> dict[str, Trained | None]:
    """The models by name; None for one with something wrong, which is noted.

    :param shows: whether a path would show something sensitive, which it notes.
    :param open_session: None: the file is not opened, and the models cannot score.
    """
    found: dict[str, Trained | None] = {}
    if len(declared) > TRAINED_MAX:
        problems.add(("models",), f"{len(declared)} models were trained elsewhere, at most {TRAINED_MAX} are kept",
                     "let placements share models")
        return dict.fromkeys(declared)
    for name, one in sorted(declared.items()):
        before = len(problems.found)
        model = _trained(problems, name, one, types, open_session)
        if model is not None:
            shows(("models", name, "inputs"), model.reads)
        found[name] = model if len(problems.found) == before else None
    return found


def _trained(
    problems: Problems, name: str, one: Body, types: Mapping[str, str], open_session: OpenSession | None
) -> Trained | None:
    path: Path = ("models", name)
    content = _content(problems, (*path, "onnx"), one["onnx"])
    features = {each: tuple(_feature(problems, (*path, "inputs", each, index), said, types)
                            for index, said in enumerate(facts)) for each, facts in sorted(one["inputs"].items())}
    columns = sum(0 if said is None else said.columns for facts in features.values() for said in facts)
    if columns > INPUT_COLUMNS_MAX:
        problems.add((*path, "inputs"), f"have {columns} columns, at most {INPUT_COLUMNS_MAX} can be",
                     "train with fewer")
        return None
    if content is None or any(said is None for facts in features.values() for said in facts):
        return None
    known = {each: tuple(said for said in facts if said is not None) for each, facts in features.items()}
    digest = hashlib.sha256(content).hexdigest()
    plain = Trained(name, digest, len(content), tuple(Input(each, "float", facts) for each, facts in known.items()),
                    one["output"], one.get("column", -1))
    if open_session is None:
        return plain
    try:
        session = open_session(content)
    except ContentError as error:
        problems.add((*path, "onnx"), str(error), error.suggestion)
        return None
    inputs = _inputs(problems, (*path, "inputs"), session, known, types)
    if not _output_known(problems, (*path, "output"), session, plain.output) or inputs is None:
        return None
    return _tried(problems, path, replace(plain, inputs=inputs, session=session), session)


def _content(problems: Problems, path: Path, text: str) -> bytes | None:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        problems.add(path, "is no base64 text", "publish it by `nextbest policy publish`")
        return None
    if not content:
        problems.add(path, "the file is empty", "export the model again")
        return None
    if len(content) > CONTENT_BYTES_MAX:
        problems.add(path, f"the file has {len(content):,} bytes, at most {CONTENT_BYTES_MAX:,} can be: it goes with "
                     "the release, in one record", "train a smaller model: fewer trees, leaves or units")
        return None
    return content


def _feature(problems: Problems, path: Path, one: Body, types: Mapping[str, str]) -> Feature | None:
    fact, values, default = one["fact"], tuple(one.get("values", ())), one.get("default")
    usable = [name for name, kind in types.items() if kind in ("int", "double", "bool", "string")]
    if not problems.known(path, fact, usable, "number, boolean or string attribute"):
        return None
    kind = types[fact]
    if values and kind != "string":
        problems.add(path, f"{fact!r} is no string, and a number by itself", "leave out `values`")
    elif len(set(values)) < len(values):
        problems.add(path, "a value is named twice")
    elif default is not None and not _is_a(default, kind):
        problems.add(path, f"the default {default!r} is no {kind}")
    else:
        return Feature(fact, values, default)
    return None


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "bool"
    if isinstance(value, int):
        return kind in ("int", "double")
    return kind == ("double" if isinstance(value, float) else "string")


def _inputs(
    problems: Problems, path: Path, session: Session, declared: Mapping[str, tuple[Feature, ...]],
    types: Mapping[str, str],
) -> tuple[Input, ...] | None:
    """The inputs in the order of the file; None where some are missing or do not fit (noted)."""
    names = [one.name for one in session.inputs]
    before = len(problems.found)
    for name in declared:
        problems.known((*path, name), name, names, "input of the file")
    for tensor in session.inputs:
        if tensor.name not in declared:
            problems.add(path, f"the file has an input {tensor.name!r} that no fact is named for",
                         f"add {tensor.name}: <fact>")
        else:
            _check_input(problems, (*path, tensor.name), tensor, declared[tensor.name], types)
    if len(problems.found) > before:
        return None
    return tuple(Input(one.name, one.type, declared[one.name], len(one.shape) == 1) for one in session.inputs)


def _check_input(
    problems: Problems, path: Path, tensor: Tensor, features: tuple[Feature, ...], types: Mapping[str, str]
) -> None:
    if tensor.type not in DTYPES:
        problems.add(path, f"the file wants {tensor.type} here, which no fact is", f"one of {', '.join(DTYPES)}")
        return
    columns = sum(one.columns for one in features)
    if len(tensor.shape) not in (1, 2) or (len(tensor.shape) == 1 and columns != 1):
        problems.add(path, f"the file wants the shape {_said(tensor)} here, and {columns} columns are named",
                     "export it with one row for each case")
    elif tensor.shape[0] is not None:
        problems.add(path, f"the file takes {tensor.shape[0]} rows and no other number: its shape is {_said(tensor)}",
                     "export it with a first dimension that is free")
    elif len(tensor.shape) == 2 and tensor.shape[1] not in (None, columns):
        problems.add(path, f"the file wants {tensor.shape[1]} columns here, {columns} are named",
                     "name the facts in the order that it was trained with")
    for index, one in enumerate(features):
        kind = "bool" if one.values else types[one.path]
        if kind not in _TAKES[tensor.type]:
            hint = "name its `values`: each becomes a column" if kind == "string" else (
                f"the file's {tensor.type} takes {', '.join(_TAKES[tensor.type])}")
            problems.add((*path, index), f"{one.path!r} is a {kind}, the file wants {tensor.type}", hint)


def _said(tensor: Tensor) -> str:
    return f"[{', '.join('rows' if one is None else str(one) for one in tensor.shape)}]"


def _output_known(problems: Problems, path: Path, session: Session, output: str) -> bool:
    """Whether the output is there and a tensor of numbers; notes it where it is not."""
    if not problems.known(path, output, [one.name for one in session.outputs], "output of the file"):
        return False
    kind = next(one.type for one in session.outputs if one.name == output)
    if kind in ("float", "double", "int64"):
        return True
    hint = "convert it with zipmap=False" if kind.startswith("seq") else "name an output of numbers"
    problems.add(path, f"the output {output!r} is {kind}, and no tensor of numbers", hint)
    return False


def _tried(problems: Problems, path: Path, model: Trained, session: Session) -> Trained | None:
    """The model, measured; None where a trial run fails or takes too long (noted)."""
    row = [[_stand_in(one, each.type) for one in each.features for _ in range(one.columns)] for each in model.inputs]
    for count in (1, _ROWS):
        answer = session.run(model.output, model.batch([row] * count))
        if answer is None:
            problems.add((*path, "onnx"), "a trial run with the defaults of its inputs fails",
                         "run it by onnxruntime with a batch of these types, and export it again")
            return None
        if column_of(answer, count, model.column) is None:
            last = f" with a column {model.column}" if model.column >= 0 else ""
            problems.add((*path, "output"), f"{model.output!r} has the shape {list(answer.shape)} for {count} rows, "
                         f"which is no number for each row{last}", "name another output or column")
            return None
    row_us = session.row_us(model.output, model.batch([row] * _MEASURED_ROWS))
    limit_us = model.operations * _OPERATION_US * _SLOWER_MAX
    if row_us > limit_us:
        problems.add((*path, "onnx"), f"scoring one candidate takes {row_us:,.0f} microseconds here, at most "
                     f"{limit_us:,.0f} can be for a file of {model.size_bytes:,} bytes", "train a simpler model")
        return None
    return replace(model, row_us=row_us)


def _stand_in(one: Feature, type_: str) -> Any:
    if one.values or one.default is None:
        return "" if type_ == "string" else 0
    return one.default

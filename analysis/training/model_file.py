"""Learnt models and their evaluations as JSON files. A model's id is the hash of its content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from analysis.errors import AnalysisError
from analysis.off_policy.log import Floats
from analysis.training.learning import NUMBERS_MAX, Learnt, Model
from analysis.training.vectors import VECTOR_MAX, Feature

_FORMAT: Final = 1
#: Of a model's file: every number of the largest model, written out.
BYTES_MAX: Final = 30 * NUMBERS_MAX


@dataclass(frozen=True, slots=True)
class Trained:
    """By what a model learnt: the first and last decision (epoch ms), rows, and the file's hash."""

    from_ms: int
    until_ms: int
    rows: int
    data_sha256: str


def written(model: Model, trained: Trained) -> dict[str, Any]:
    """A model as JSON."""
    told = {
        "format": _FORMAT, "kind": model.kind, "outcome": model.outcome, "placement": model.placement,
        "features": [asdict(one) for one in model.features], "ridge": model.ridge, "prior": model.prior.tolist(),
        "items": {
            item: {"rows": one.rows, "weights": one.weights.tolist()}
            | ({} if one.a is None or one.b is None else {"a": one.a.tolist(), "b": one.b.tolist()})
            for item, one in model.items.items()
        },
        "trained": asdict(trained),
    }
    return {"id": _hash(told), **told}


def read_model(file: Path) -> tuple[Model, Trained, str]:
    """A model, by what it learnt, and its id. Raises AnalysisError where the file is none, or was changed."""
    try:
        if file.stat().st_size > BYTES_MAX:
            raise AnalysisError(f"{file} has more than {BYTES_MAX} bytes: this is no model")
        told = json.loads(file.read_text("utf-8"))
        name = told.pop("id")
        if told["format"] != _FORMAT:
            raise AnalysisError(f"{file} has the format {told['format']}, and this version reads {_FORMAT}")
        if _hash(told) != name:
            raise AnalysisError(f"{file} was changed since it was written: train it again")
        return _model(told), Trained(**told["trained"]), name
    except OSError as error:
        raise AnalysisError(f"the model {file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnalysisError(f"{file} is no model that `nextbest models train` wrote") from error


def write_json(file: Path, told: dict[str, Any]) -> None:
    """Write it, all or nothing. Raises AnalysisError."""
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", "utf-8")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise AnalysisError(f"{file} cannot be written: {error.strerror}") from error


def digest_of(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _model(told: dict[str, Any]) -> Model:
    features = tuple(Feature(str(one["fact"]), float(one["divide_by"])) for one in told["features"])
    width = 1 + len(features)
    if width > VECTOR_MAX or told["kind"] not in ("linucb", "logistic"):
        raise ValueError
    items = {
        str(item): Learnt(
            int(one["rows"]), _numbers(one["weights"], width),
            _numbers(one["a"], width, width) if "a" in one else None, _numbers(one["b"], width) if "b" in one else None)
        for item, one in told["items"].items()
    }
    return Model(told["kind"], str(told["outcome"]), str(told["placement"]), features, float(told["ridge"]),
                 _numbers(told["prior"], width), items)


def _numbers(given: Any, *shape: int) -> Floats:
    found = np.array(given, np.float64)
    if found.shape != shape or not np.isfinite(found).all():
        raise ValueError
    return found


def _hash(told: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

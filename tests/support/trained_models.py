"""Models that other libraries train, as ONNX files, with what the libraries themselves predict."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

#: The subjects' facts: spent, orders, plan; and an item's value.
Row = tuple[float, int, str, float]
PLANS = ("free", "plus", "pro")


@dataclass(frozen=True)
class TrainedFile:
    """`content`: the file. `predicted`: the library's probability of buying for each row."""

    content: bytes
    predicted: Callable[[Sequence[Row]], list[float]]


def some_rows(count: int, seed: int = 1) -> list[Row]:
    """Made by chance, of the seed."""
    chance = np.random.default_rng(seed)
    return [(round(float(chance.gamma(2.0, 60.0)), 2), int(chance.poisson(4)), PLANS[int(chance.integers(3))],
             round(float(chance.uniform(0.0, 10.0)), 1)) for _ in range(count)]


def _bought(rows: Sequence[Row]) -> list[int]:
    chance = np.random.default_rng(7)
    return [int(spent / 60 + orders / 4 + (plan == "pro") - value / 3 + chance.normal() > 1.0)
            for spent, orders, plan, value in rows]


@cache
def pipeline_of_scikit_learn(zipmap: bool = False) -> TrainedFile:
    """Scaled numbers and a string in categories into a logistic regression; an input for each column."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType, StringTensorType
        from sklearn.compose import ColumnTransformer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        rows = some_rows(400)
        model = Pipeline([
            ("columns", ColumnTransformer([("numbers", StandardScaler(), [0, 1, 2]),
                                           ("plan", OneHotEncoder(handle_unknown="ignore"), [3])])),
            ("regression", LogisticRegression())])
        model.fit(_objects(rows), _bought(rows))
        names = [("spent", FloatTensorType([None, 1])), ("orders", FloatTensorType([None, 1])),
                 ("value", FloatTensorType([None, 1])), ("plan", StringTensorType([None, 1]))]
        file = to_onnx(model, initial_types=names, options={"zipmap": zipmap}, target_opset=17)
    return TrainedFile(file.SerializeToString(), lambda some: model.predict_proba(_objects(some))[:, 1].tolist())


@cache
def trees_of_lightgbm(trees: int = 20) -> TrainedFile:
    """Boosted trees over one tensor: spent, orders, value, and a column for each plan but the last."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightgbm import LGBMClassifier
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        rows = some_rows(400)
        model = LGBMClassifier(n_estimators=trees, num_leaves=15, verbose=-1, num_threads=1, random_state=3)
        model.fit(_numbers(rows), _bought(rows))
        file = convert_lightgbm(model, initial_types=[("features", FloatTensorType([None, 5]))], zipmap=False,
                                target_opset=15)
    return TrainedFile(file.SerializeToString(), lambda some: np.asarray(
        model.booster_.predict(_numbers(some))).tolist())


def file_of(nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], **more: Any) -> bytes:
    """A file of a graph made by `onnx.helper`."""
    from onnx import helper

    made = helper.make_model(helper.make_graph(list(nodes), "g", list(inputs), list(outputs), **more),
                             opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)])
    made.ir_version = 8
    return bytes(made.SerializeToString())


def tensor_of(name: str, kind: str, shape: Sequence[int | None]) -> Any:
    """An input or output. `kind`: as onnx has it, in capitals."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, getattr(TensorProto, kind), list(shape))


def _objects(rows: Sequence[Row]) -> Any:
    return np.array([[spent, orders, value, plan] for spent, orders, plan, value in rows], dtype=object)


def _numbers(rows: Sequence[Row]) -> Any:
    return np.array([[spent, orders, value, plan == "free", plan == "plus"] for spent, orders, plan, value in rows],
                    dtype=np.float32)

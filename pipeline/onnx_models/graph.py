"""What an ONNX file makes a machine do, read before anything runs it: its operators, and whether it names other files.

Reads the few fields of `onnx.proto` that it needs by the wire format of Protocol Buffers. Operators whose work grows
with nothing but rows and the file are allowed; loops, branches, chance and what makes values of any size are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pipeline.core.models.trained import ContentError

#: Of the domain ai.onnx.
_PLAIN: Final = frozenset((
    "Abs Add And ArgMax ArgMin BatchNormalization Cast Ceil Clip Concat Constant Div Dropout Elu Equal Erf Exp Flatten "
    "Floor Gather GatherElements Gemm Greater GreaterOrEqual HardSigmoid Identity IsInf IsNaN LayerNormalization "
    "LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max Mean Min Mul Neg Not Or Pow Reciprocal ReduceL1 ReduceL2 "
    "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round "
    "Selu Shape Sigmoid Sign Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where "
    "Xor").split())
#: Of the domain ai.onnx.ml.
_LEARNT: Final = frozenset((
    "ArrayFeatureExtractor Binarizer CategoryMapper FeatureVectorizer Imputer LabelEncoder LinearClassifier "
    "LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier "
    "TreeEnsembleRegressor ZipMap").split())
_ALLOWED: Final = {"": _PLAIN, "ai.onnx": _PLAIN, "ai.onnx.ml": _LEARNT}
NODES_MAX: Final = 2_000

#: Numbers of fields: of ModelProto, GraphProto, NodeProto, AttributeProto and TensorProto.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_ATTRIBUTE, _NODE_OPERATOR, _NODE_DOMAIN = 5, 4, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14

_NO_FILE: Final = "is no ONNX file"
_EXPORT: Final = "export the model again, and check that the whole file was copied"


def check(content: bytes) -> None:
    """Raises ContentError for what is no ONNX file, and for one that workers should not run."""
    nodes = 0
    graphs = [value for number, value in _fields(content) if number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise ContentError(_NO_FILE, _EXPORT)
    if any(number == _MODEL_FUNCTIONS for number, _ in _fields(content)):
        raise ContentError("has functions of its own", "export it with its functions inlined")
    for number, value in _fields(_message(graphs[0])):
        if number == _GRAPH_NODE:
            nodes += 1
            _check_node(_message(value))
        elif number == _GRAPH_INITIALIZER:
            _check_tensor(_message(value))
        elif number == _GRAPH_SPARSE:
            raise ContentError("has sparse tensors", "export it with dense ones")
    if not 0 < nodes <= NODES_MAX:
        raise ContentError(f"has {nodes:,} operators, 1 to {NODES_MAX:,} can be", "train a simpler model")


def _check_node(node: bytes) -> None:
    operator = domain = ""
    for number, value in _fields(node):
        if number == _NODE_OPERATOR:
            operator = _message(value).decode("utf-8", "replace")
        elif number == _NODE_DOMAIN:
            domain = _message(value).decode("utf-8", "replace")
        elif number == _NODE_ATTRIBUTE:
            _check_attribute(_message(value))
    if operator not in _ALLOWED.get(domain, ()):
        named = f"{domain}.{operator}" if domain else operator
        raise ContentError(f"uses the operator {named[:80]!r}, whose work is not known to be bounded",
                           "train another kind of model; docs/models.md has the operators that can be")


def _check_attribute(attribute: bytes) -> None:
    for number, value in _fields(attribute):
        if number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            raise ContentError("has a graph within a graph: a loop or branch", "train another kind of model")
        if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _check_tensor(_message(value))


def _check_tensor(tensor: bytes) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise ContentError("names another file that holds its numbers", "save it as one file")


def _message(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ContentError(_NO_FILE, _EXPORT)
    return value


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field: an integer, or bytes. Raises ContentError where the message ends too early."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind not in (1, 2, 5):
            raise ContentError(_NO_FILE, _EXPORT)
        length, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        if at + length > len(message):
            raise ContentError(_NO_FILE, _EXPORT)
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while shift < 70 and at < len(message):
        byte = message[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at
        shift += 7
    raise ContentError(_NO_FILE, _EXPORT)

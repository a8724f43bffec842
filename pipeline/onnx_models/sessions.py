"""Sessions of onnxruntime: one thread, one for each file, kept while releases that have it come and go."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.core.models.trained import ContentError, Session, Tensor
from pipeline.onnx_models import graph

#: Sessions that are kept, by content: those of the live release, and of some before it.
_KEPT: Final = 32
_RUNS: Final = 5
#: Memory of all sessions of a process together, for their numbers and for a run: a run that wants more fails.
ARENA_BYTES_MAX: Final = 64 * 1_048_576
_CHUNK_BYTES: Final = 1_048_576
_AS_ASKED: Final = 1
#: Nothing is logged but what ends the process: what is wrong is said by whoever asked.
_FATAL: Final = 4


@dataclass(frozen=True, slots=True)
class OnnxSession:
    """One file, ready to run. See `pipeline.core.models.trained.Session`."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    _session: Any
    _failures: tuple[type[Exception], ...]

    def run(self, output: str, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
        """The output for a batch; None where the model cannot take these values."""
        try:
            found = self._session.run([output], dict(columns))[0]
        except self._failures:
            return None
        return found if isinstance(found, np.ndarray) else None

    def row_us(self, output: str, columns: Mapping[str, NDArray[Any]]) -> float:
        """Microseconds that a row of the batch takes, the best of five runs after one to warm up."""
        rows = len(next(iter(columns.values())))
        self.run(output, columns)
        return min(self._timed_us(output, columns) for _ in range(_RUNS)) / rows

    def _timed_us(self, output: str, columns: Mapping[str, NDArray[Any]]) -> float:
        begin_ns = time.perf_counter_ns()
        self.run(output, columns)
        return (time.perf_counter_ns() - begin_ns) / 1_000.0


@lru_cache(maxsize=_KEPT)
def opened(content: bytes) -> Session:
    """The file's session, made once. Raises ContentError for a file that cannot be run, or should not be."""
    graph.check(content)
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ContentError("onnxruntime is not installed, which runs ONNX files",
                           "pip install 'nextbest[onnx]', here and wherever a worker or bridge runs") from error
    _bound_memory(runtime)
    failures: tuple[type[Exception], ...] = (*_failures(), ValueError)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise ContentError(f"onnxruntime {runtime.__version__} does not take it: {_short(error)}",
                           "export it for an older opset, or install a newer onnxruntime") from error
    return OnnxSession(tuple(map(_tensor, session.get_inputs())), tuple(map(_tensor, session.get_outputs())), session,
                       failures)


@lru_cache(maxsize=1)
def _bound_memory(runtime: Any) -> None:
    """Once for a process: one arena for all sessions, which does not grow past its bound."""
    runtime.set_default_logger_severity(_FATAL)
    kind = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    runtime.create_and_register_allocator(kind, runtime.OrtArenaCfg({
        "max_mem": ARENA_BYTES_MAX, "arena_extend_strategy": _AS_ASKED, "initial_chunk_size_bytes": _CHUNK_BYTES}))


def _failures() -> tuple[type[Exception], ...]:
    """What onnxruntime raises of a file or of values. They have no class in common below Exception."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return tuple(one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception))


def _tensor(declared: Any) -> Tensor:
    """`tensor(float)` is float; what is no tensor keeps its name."""
    kind = str(declared.type)
    inner = kind.removeprefix("tensor(").removesuffix(")") if kind.startswith("tensor(") else kind
    shape = tuple(one if isinstance(one, int) else None for one in declared.shape or ())
    return Tensor(str(declared.name), inner, shape)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

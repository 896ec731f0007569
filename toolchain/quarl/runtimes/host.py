"""Runtimes of this machine: LiteRT, ONNX Runtime and the NumPy reference, one thread each, any
batch.

In: a model file's bytes and the graph's integers. Out: the model's outputs, the same for every
batch size and thread count.
LiteRT runs with its default delegate, and a model of which a weighted layer is left to another
kernel is refused: those kernels follow another arithmetic (decision 0001).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quarl.errors import DeviceError, InputError
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import quantize_observations, step_results

BATCH_SIZES = (1, 2, 4, 8, 16, 32)  # larger batches fall out of the cache on convolutions
CHUNK = 256  # observations quantised at once while many are evaluated
_STDERR = Lock()  # one thread at a time may turn it away
WEIGHTED_OPERATORS = {"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"}


class Runtime(Protocol):
    """One model, loaded. Not for use by two threads at once."""

    def run(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the model's outputs [n, count] for its inputs [n, ...], any n."""
        ...

    def infer(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs of one call of the runtime: what the profile times. inputs contiguous
        [batch, ...].
        """
        ...


@dataclass(frozen=True, slots=True)
class _Input:
    """An input of a model: its name or index, its shape without the batch, its element type."""

    place: Any
    shape: tuple[Any, ...]
    dtype: Any


_ELEMENTS = {"tensor(int8)": np.int8, "tensor(int16)": np.int16}


def _columns(inputs: NDArray[Any], sources: Sequence[_Input]) -> list[NDArray[Any]]:
    """Return what each input of a model is given: of several, each has its columns of the rows."""
    if len(sources) == 1:
        return [inputs]
    ends = np.cumsum([math.prod(source.shape) for source in sources])
    if inputs.shape[1:] != (ends[-1],):
        raise ValueError(f"the model's inputs have {ends[-1]} values together")
    return [
        np.ascontiguousarray(part.reshape(-1, *source.shape), source.dtype)
        for source, part in zip(sources, np.split(inputs, ends[:-1], axis=1), strict=True)
    ]


def _joined(outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return several outputs as the columns of one array, of a type that holds them all exactly."""
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=1)


class NumpyRuntime:
    """The integer reference, the judge of the others."""

    def __init__(self, policy: QuantPolicy) -> None:
        self._policy = policy

    def run(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the results for the integers [n, ...] of one step each."""
        return _in_batches(inputs, self.infer)

    def infer(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return one batch's results, as `step_results` gives them."""
        return step_results(self._policy, inputs.astype(np.int32))


class LitertRuntime:
    """LiteRT with its default delegate. Each batch size has its own interpreter, since resizing one
    packs the weights again.
    """

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._interpreters: dict[int, Any] = {}
        self._interpreter(1)

    def run(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs [n, count] for inputs [n, ...] of the model's own type."""
        return _in_batches(inputs, self.infer)

    def infer(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs of one invocation; the first of each batch size loads an interpreter.

        Raises:
            DeviceError: the model takes another shape or type, or fails.
        """
        interpreter, sources, targets = self._interpreter(len(inputs))
        try:
            for source, part in zip(sources, _columns(inputs, sources), strict=True):
                interpreter.set_tensor(source.place, part)
            interpreter.invoke()
            outputs = [interpreter.get_tensor(target) for target in targets]
        except (ValueError, RuntimeError) as error:
            raise DeviceError(
                f"LiteRT cannot run the model on {inputs.dtype} {inputs.shape}: {error}"
            ) from error
        return _joined(outputs)

    def _interpreter(self, batch: int) -> Any:
        if batch not in self._interpreters:
            from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]

            try:
                with _muted_stderr():
                    interpreter = Interpreter(model_content=self._model, num_threads=1)
                    sources = [
                        _Input(found["index"], tuple(found["shape"][1:].tolist()), found["dtype"])
                        for found in interpreter.get_input_details()
                    ]
                    targets = [found["index"] for found in interpreter.get_output_details()]
                    if batch != 1:
                        for source in sources:
                            interpreter.resize_tensor_input(source.place, [batch, *source.shape])
                    interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise DeviceError(f"LiteRT cannot load the model: {error}") from error
            check_delegation(interpreter)
            self._interpreters[batch] = interpreter, sources, targets
        return self._interpreters[batch]


class OnnxRuntime:
    """ONNX Runtime on the CPU, one thread."""

    def __init__(self, model: bytes) -> None:
        import onnxruntime  # type: ignore[import-untyped]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the package raises its own classes, one per status code
            raise DeviceError(f"ONNX Runtime cannot load the model: {error}") from error
        self._inputs = [
            _Input(found.name, tuple(found.shape[1:]), _ELEMENTS.get(found.type, np.float32))
            for found in self._session.get_inputs()
        ]

    def run(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs [n, count] for inputs [n, ...] of the model's own type."""
        return _in_batches(inputs, self.infer)

    def infer(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs of one run of the session.

        Raises:
            DeviceError: the model takes another shape or type, or fails.
        """
        try:
            parts = _columns(inputs, self._inputs)
            feed = {one.place: part for one, part in zip(self._inputs, parts, strict=True)}
            outputs = self._session.run(None, feed)
        except Exception as error:  # as above
            raise DeviceError(
                f"ONNX Runtime cannot run the model on {inputs.dtype} {inputs.shape}: {error}"
            ) from error
        return _joined(outputs)


PACKAGES = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime"}
RUNTIMES: dict[str, Callable[[bytes], Runtime]] = {
    "litert": LitertRuntime,
    "onnxruntime": OnnxRuntime,
}
FILE_FORMAT = {"litert": "tflite", "onnxruntime": "onnx"}


def open_runtime(name: str, model: bytes) -> Runtime:
    """Return the model loaded by the runtime of that name.

    Raises:
        InputError: no runtime has that name.
        DeviceError: the runtime refuses the model.
    """
    if name not in RUNTIMES:
        raise InputError(f"no runtime is called {name!r}: use one of {', '.join(RUNTIMES)}")
    return RUNTIMES[name](model)


def preload(name: str) -> None:
    """Import a runtime, so that what is measured afterwards is the model's alone."""
    import_module("ai_edge_litert.interpreter" if name == "litert" else name)


def runtime_version(name: str) -> str:
    """Return the installed version of a runtime's package."""
    return version(PACKAGES[name])


def model_inputs(policy: QuantPolicy, obs: NDArray[Any]) -> NDArray[Any]:
    """Return one step's integers, int8 or int16, for rows (`quarl.graph.rows`) in environment
    units: [n, *graph_shape], or [n, features + state values] of a recurrent policy.
    """
    if policy.state:
        return quantize_observations(policy, obs).astype(policy.input_dtype)
    quantizer = policy.observation
    values = policy.contract.observation.to_graph(obs)
    if quantizer.is_pixels:
        pixels: NDArray[np.uint8] = np.ascontiguousarray(values, np.uint8)
        return (pixels ^ np.uint8(0x80)).view(np.int8)
    return quantizer.quantize(values).astype(np.int8 if quantizer.tensor.is_int8 else np.int16)


def evaluate(runtimes: Sequence[Runtime], policy: QuantPolicy, obs: NDArray[Any]) -> NDArray[Any]:
    """Return the outputs [n, count] for many observations [n, *shape], shared among the runtimes,
    one thread for each.

    Observations are quantised in small parts, so memory does not grow with them; `obs` may be a
    memory map.
    """
    starts = range(0, len(obs), CHUNK)

    def share(turn: int) -> list[NDArray[Any]]:
        runtime = runtimes[turn]
        return [
            runtime.run(model_inputs(policy, obs[at : at + CHUNK]))
            for at in starts[turn :: len(runtimes)]
        ]

    with ThreadPoolExecutor(len(runtimes)) as pool:
        shares = list(pool.map(share, range(len(runtimes))))
    parts = [shares[i % len(runtimes)][i // len(runtimes)] for i in range(len(starts))]
    return np.concatenate(parts) if parts else runtimes[0].run(model_inputs(policy, obs))


def check_delegation(interpreter: Any) -> None:
    """Check that LiteRT's default delegate took every weighted layer.

    Raises:
        DeviceError: a layer is left to the built-in kernels, whose rounding differs; names it.
    """
    operators = interpreter._get_ops_details()
    delegated = {int(i) for op in operators if op["op_name"] == "DELEGATE" for i in op["inputs"]}
    packed_by = {
        int(op["outputs"][0]): int(op["inputs"][0])
        for op in operators
        if op["op_name"] == "DEQUANTIZE"
    }
    for op in operators:
        if op["op_name"] in WEIGHTED_OPERATORS:
            weights = int(op["inputs"][1])
            if not {weights, packed_by.get(weights, weights)} & delegated:
                raise DeviceError(
                    f"LiteRT left {op['op_name']} (operator {op['index']}) to its built-in "
                    "kernels, which round differently: "
                    "the default delegate must take every weighted layer; use ai-edge-litert "
                    "2.3 with its default delegate"
                )


@contextmanager
def _muted_stderr() -> Iterator[None]:
    """LiteRT announces its delegate on standard error and has no switch for it; its errors come as
    exceptions as well.
    """
    with _STDERR:
        kept = os.dup(2)
        try:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _in_batches(inputs: NDArray[Any], run: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    """Run inputs [n, ...] in batches of BATCH_SIZES; one of which more than three quarters are
    there is filled up with copies of its last row.
    """
    if len(inputs) in BATCH_SIZES:
        return run(np.ascontiguousarray(inputs))
    if not len(inputs):
        return run(np.zeros((1, *inputs.shape[1:]), inputs.dtype))[:0]
    results, at = [], 0
    while at < len(inputs):
        left = len(inputs) - at
        size = max(size for size in BATCH_SIZES if 3 * size < 4 * left)
        part = inputs[at : at + size]
        if len(part) < size:
            part = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        results.append(run(np.ascontiguousarray(part))[:left])
        at += size
    return np.concatenate(results)

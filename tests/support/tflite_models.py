"""int8 `.tflite` files of others: Keras models through TensorFlow's converter, and single operators
written by hand.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]
from numpy.typing import NDArray

from quarl.emitters import tflite_layers as layers
from quarl.emitters.tflite_file import TfliteFile
from quarl.emitters.tflite_layers import OPS, Value, Window
from quarl.graph.quant_policy import QuantTensor
from tests.conftest import need


def keras_and_tensorflow() -> tuple[Any, Any]:
    """Return both packages, quiet and on the CPU."""
    need("tensorflow", "keras")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import keras  # type: ignore[import-untyped]
    import tensorflow  # type: ignore[import-untyped]

    keras.utils.set_random_seed(7)
    return keras, tensorflow


def shaken(model: Any) -> Any:
    """Return the model with random biases, so that none is zero."""
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, 0.3, layer.bias.shape).astype(np.float32))
    return model


def convert(
    model: Any, frames: NDArray[np.float32] | None, ends: str | None = "int8", *, kind: str = "INT8"
) -> bytes:
    """Return what TFLiteConverter makes of a Keras model.

    Args:
        frames: representative inputs [n, ...]; None: dynamic-range quantisation.
        ends: type of input and output; None: float32.
        kind: INT8, INT16 (16-bit activations) or FLOAT.
    """
    _, tf = keras_and_tensorflow()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind != "FLOAT":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if frames is not None:

        def rows() -> Iterator[list[NDArray[np.float32]]]:
            for frame in frames:
                yield [frame[None]]

        sets = {
            "INT8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            "INT16": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        }
        converter.representative_dataset = rows
        converter.target_spec.supported_ops = [sets[kind]]
        if ends is not None:
            converter.inference_input_type = converter.inference_output_type = getattr(tf, ends)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses statistics that it has just been given
        return bytes(converter.convert())


class HandMade(TfliteFile):
    """A file written operator by operator, with random weights."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def value(self, shape: tuple[int, ...], tensor: QuantTensor) -> Value:
        """Return a new int8 tensor."""
        return Value(self.activation("t", shape, np.int8, tensor), shape, np.int8, tensor)

    def dense(
        self, x: Value, count: int, tensor: QuantTensor, fused: str = "NONE", **weights: Any
    ) -> Value:
        """Return a fully connected layer."""
        w, b = self._parameters((count, x.shape[0]), 0, x, tensor, **weights)
        return layers.dense(self, x, (w, b), self.value((count,), tensor), fused)

    def conv(
        self,
        x: Value,
        result: Value,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: str,
        *,
        depthwise: bool,
    ) -> Value:
        """Return a convolution with TensorFlow's own padding."""
        assert result.tensor is not None
        channels = result.shape[2]
        shape = (1, *kernel, channels) if depthwise else (channels, *kernel, x.shape[2])
        w, b = self._parameters(shape, 3 if depthwise else 0, x, result.tensor)
        explicit = ((0, 0), (0, 0))  # VALID; SAME is asked for below, whatever it means here
        layers.convolution(self, x, (w, b), Window(kernel, stride, explicit, depthwise), result)
        self._graph.operators[-1].builtinOptions.padding = getattr(schema.Padding, padding)
        return result

    def apply(
        self, name: str, x: Value, tensor: QuantTensor | None, version: int = 2, options: Any = None
    ) -> Value:
        """Return an elementwise operator's result."""
        y = self.value(x.shape, tensor or x.tensor)  # type: ignore[arg-type]
        self.operator(getattr(OPS, name), version, [x.index], y.index, options)
        return y

    def add(self, a: Value, b: Value, tensor: QuantTensor, fused: str = "NONE") -> Value:
        """Return the sum of two tensors."""
        options = schema.AddOptionsT()
        options.fusedActivationFunction = getattr(schema.ActivationFunctionType, fused)
        y = self.value(a.shape, tensor)
        self.operator(OPS.ADD, 2, [a.index, b.index], y.index, options)
        return y

    def write(self, path: Path, x: Value | int, *outputs: int) -> Path:
        """Write the file as another tool would have, and return its path."""
        start = x if isinstance(x, int) else x.index
        self.finish(start, outputs[0], {})
        return write(path, self.finish_with(start, outputs))

    def finish_with(self, start: int, outputs: tuple[int, ...]) -> bytes:
        """Return the file with several outputs."""
        model = schema.ModelT.InitFromPackedBuf(self.finish(start, outputs[0], {}), 0)
        model.subgraphs[0].outputs, model.metadata, model.signatureDefs = list(outputs), None, None
        return packed(model)

    def _parameters(
        self,
        shape: tuple[int, ...],
        axis: int,
        x: Value,
        tensor: QuantTensor,
        *,
        scales: int | None = None,
        on_axis: int | None = None,
    ) -> tuple[int, int]:
        assert x.tensor is not None
        count = shape[axis]
        fan_in = int(np.prod(shape)) // count
        spread = float(tensor.scale) / (float(x.tensor.scale) * 40 * np.sqrt(fan_in))
        scale = (spread * np.exp2(self.rng.uniform(-1, 1, scales or count))).astype(np.float32)
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        bias = self.rng.integers(-2000, 2000, count).astype(np.int32)
        w = self.constant("w", weights, scale, 0, axis if on_axis is None else on_axis)
        return w, self.constant(
            "b",
            bias,
            x.tensor.scale * np.broadcast_to(scale, count) if scales in (None, 1) else scale,
        )


def packed(model: Any) -> bytes:
    """Return the bytes of a model of the schema's object classes."""
    import flatbuffers  # type: ignore[import-untyped]

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def write(path: Path, content: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content)
    return path


def edited(content: bytes, change: Callable[[Any], None]) -> bytes:
    """Return the file with something changed in its one graph."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    change(model.subgraphs[0])
    return packed(model)

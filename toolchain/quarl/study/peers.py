"""The standard int8 converters, as second opinions: TFLiteConverter and
onnxruntime.quantize_static, each as its manual says.

In: our float policy and the calibration observations. Out: the converted model, and what its own
runtime answers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.emitters import emit_float_onnx
from quarl.errors import InputError, ToolMissingError
from quarl.graph.policy import INPUT, Activation, Conv2D, Dense, Flatten, Policy
from quarl.importers.beside_tensorflow import prepare_for_tensorflow

Outputs: TypeAlias = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Observations [n, *shape] in environment units -> network outputs float32 [n, count]."""


def keras_model(policy: Policy) -> Any:
    """Return the policy as a Keras model with a batch of one, the form TFLiteConverter needs."""
    import keras  # type: ignore[import-untyped]

    x = inputs = keras.Input(batch_shape=(1, *policy.contract.observation.graph_shape))
    values = {INPUT: x}
    for node in policy.nodes:
        x = values[node.inputs[0]]
        match node.op:
            case Dense(weights=weights, bias=bias):
                layer = keras.layers.Dense(len(weights))
                parameters = [weights.T, bias]
            case Conv2D(weights=weights, bias=bias, stride=stride):
                layer = keras.layers.Conv2D(len(weights), weights.shape[1:3], strides=stride)
                parameters = [weights.transpose(1, 2, 3, 0), bias]
            case Activation(function=function):
                layer, parameters = keras.layers.Activation(function), []
            case Flatten():
                layer, parameters = keras.layers.Flatten(), []
            case _:
                raise InputError(
                    f"{node.name}: {type(node.op).__name__} is not handed to TFLiteConverter: "
                    "compare it without the method tflite"
                )
        values[node.name] = layer(x)
        if parameters:
            layer.set_weights(parameters)
    return keras.Model(inputs, values[policy.nodes[-1].name])


def tflite_converter(policy: Policy, obs: NDArray[Any]) -> bytes:
    """Return TFLiteConverter's full int8 model, calibrated on observations [n, *shape].

    Raises:
        InputError: the policy has an operation that is not handed to Keras.
        ToolMissingError: TensorFlow is not installed.
    """
    prepare_for_tensorflow()
    try:
        import tensorflow as tf  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            "TFLiteConverter needs TensorFlow: pip install 'quarl[tf]', or omit the method tflite"
        ) from error

    converter = tf.lite.TFLiteConverter.from_keras_model(keras_model(policy))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    rows = policy.graph_input(obs)
    converter.representative_dataset = lambda: ([rows[i : i + 1]] for i in range(len(rows)))
    converter.inference_input_type = converter.inference_output_type = tf.int8
    model: bytes = converter.convert()
    return model


def tflite_outputs(policy: Policy, model: bytes) -> Outputs:
    """Return what an int8 .tflite by TFLiteConverter answers in LiteRT, its own scales at both
    ends.
    """
    from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    (in_scale, in_zero), (out_scale, out_zero) = source["quantization"], target["quantization"]

    def outputs(obs: NDArray[Any]) -> NDArray[np.float32]:
        integers = np.clip(
            np.rint(policy.graph_input(obs) / np.float32(in_scale)) + in_zero, -128, 127
        ).astype(np.int8)
        made = np.empty((len(obs), policy.contract.action.count), np.float32)
        for row in range(len(obs)):  # the converter fixes the batch
            interpreter.set_tensor(source["index"], integers[row : row + 1])
            interpreter.invoke()
            made[row] = (
                interpreter.get_tensor(target["index"])[0].astype(np.float32) - out_zero
            ) * np.float32(out_scale)
        return made

    return outputs


def quantize_static(policy: Policy, obs: NDArray[Any]) -> bytes:
    """Return onnxruntime's static QDQ model (MinMax, per channel), calibrated on observations [n,
    *shape].
    """
    from onnxruntime.quantization import (  # type: ignore[import-untyped]
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import (  # type: ignore[import-untyped]
        quant_pre_process,
    )

    rows = policy.graph_input(obs)

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._parts: Iterator[Any] = iter(np.array_split(rows, max(1, len(rows) // 50)))

        def get_next(self) -> dict[str, Any] | None:
            part = next(self._parts, None)
            return None if part is None else {"observation": part}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "float.onnx").write_bytes(emit_float_onnx(policy))
        quant_pre_process(str(folder / "float.onnx"), str(folder / "ready.onnx"))
        quantize_static(
            str(folder / "ready.onnx"),
            str(folder / "int8.onnx"),
            Rows(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return (folder / "int8.onnx").read_bytes()


def onnx_outputs(policy: Policy, model: bytes) -> Outputs:
    """Return what a float-in, float-out .onnx answers in ONNX Runtime."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def outputs(obs: NDArray[Any]) -> NDArray[np.float32]:
        made: NDArray[np.float32] = session.run(None, {name: policy.graph_input(obs)})[0]
        return made

    return outputs

"""What each Keras layer means, by its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import (
    Activation,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Function,
    MaxPool2D,
    Padding,
)
from quarl.importers.draft import Head, affine, average, same_padding
from quarl.importers.keras.description import LayerSpec
from quarl.importers.keras.walk import Walk

NORMALIZATION_EPSILON = (
    1e-7  # keras.config.epsilon(), the floor of the standard deviation in Normalization
)


def _dense(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape, units = walk.shape(inputs[0]), int(layer.config["units"])
    if len(shape) != 1:
        raise walk.unsupported(
            layer,
            f"is applied to shape {shape}, only vectors are carried over (put a Flatten before it)",
        )
    kernel = walk.variable(layer, place, 0, ("kernel",), (shape[0], units))
    bias = _bias(walk, layer, place, units)
    return walk.activation(
        layer,
        layer.config.get("activation"),
        walk.add(layer, Dense(np.ascontiguousarray(kernel.T), bias), inputs),
    )


def _conv2d(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config, shape, filters = layer.config, walk.shape(inputs[0]), int(layer.config["filters"])
    kernel_size, stride, padding = _window(
        walk, layer, shape, config["kernel_size"], config["strides"]
    )
    if config.get("groups", 1) != 1:
        raise walk.unsupported(
            layer, f"has {config['groups']} groups, carried over are one group and DepthwiseConv2D"
        )
    kernel = walk.variable(layer, place, 0, ("kernel",), (*kernel_size, shape[2], filters))
    op = Conv2D(
        np.ascontiguousarray(kernel.transpose(3, 0, 1, 2)),
        _bias(walk, layer, place, filters),
        stride,
        padding,
    )
    return walk.activation(layer, config.get("activation"), walk.add(layer, op, inputs))


def _depthwise_conv2d(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config, shape = layer.config, walk.shape(inputs[0])
    kernel_size, stride, padding = _window(
        walk, layer, shape, config["kernel_size"], config["strides"]
    )
    if config.get("depth_multiplier", 1) != 1:
        raise walk.unsupported(
            layer, f"has depth_multiplier {config['depth_multiplier']}, only 1 is carried over"
        )
    kernel = walk.variable(
        layer, place, 0, ("kernel", "depthwise_kernel"), (*kernel_size, shape[2], 1)
    )
    op = DepthwiseConv2D(
        np.ascontiguousarray(kernel[..., 0].transpose(2, 0, 1)),
        _bias(walk, layer, place, shape[2]),
        stride,
        padding,
    )
    return walk.activation(layer, config.get("activation"), walk.add(layer, op, inputs))


def _bias(walk: Walk, layer: LayerSpec, place: str, count: int) -> NDArray[np.float32]:
    if not layer.config.get("use_bias", True):
        return np.zeros(count, np.float32)
    return walk.variable(layer, place, 1, ("bias",), (count,))


def _window(
    walk: Walk, layer: LayerSpec, shape: tuple[int, ...], size: Any, strides: Any
) -> tuple[tuple[int, int], tuple[int, int], Padding]:
    """Return the kernel size, the stride and the explicit padding of a convolution or a pooling."""
    config = layer.config
    if len(shape) != 3:
        raise walk.unsupported(
            layer, f"is applied to shape {shape}, it needs [height, width, channels]"
        )
    if config.get("data_format") not in (None, "channels_last"):
        raise walk.unsupported(
            layer, f"has data_format {config['data_format']!r}, only channels_last is carried over"
        )
    if _pair(config.get("dilation_rate", 1)) != (1, 1):
        raise walk.unsupported(
            layer, f"has dilation_rate {config['dilation_rate']}, only 1 is carried over"
        )
    kernel_size, stride, padding = _pair(size), _pair(strides), config.get("padding", "valid")
    if min(*kernel_size, *stride) < 1 or padding not in ("valid", "same"):
        raise walk.unsupported(
            layer, f"has kernel size {kernel_size}, stride {stride} and padding {padding!r}"
        )
    if padding == "valid":
        return kernel_size, stride, ((0, 0), (0, 0))
    rows, cols = (same_padding(shape[a], kernel_size[a], stride[a]) for a in (0, 1))
    return kernel_size, stride, (rows, cols)


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _average_pooling(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape, size = walk.shape(inputs[0]), layer.config["pool_size"]
    kernel_size, stride, padding = _window(
        walk, layer, shape, size, layer.config.get("strides") or size
    )
    if padding != ((0, 0), (0, 0)):
        raise walk.unsupported(
            layer,
            "pads, and counts fewer values at the border than inside, which no convolution "
            "does (use padding='valid')",
        )
    return walk.add(layer, average(*kernel_size, shape[2], stride), inputs)


def _max_pooling(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape, size = walk.shape(inputs[0]), layer.config["pool_size"]
    kernel_size, stride, padding = _window(
        walk, layer, shape, size, layer.config.get("strides") or size
    )
    return walk.add(layer, MaxPool2D(kernel_size, stride, padding), inputs)


def _global_average_pooling(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape = walk.shape(inputs[0])
    if len(shape) != 3 or layer.config.get("data_format") not in (None, "channels_last"):
        raise walk.unsupported(
            layer, f"is applied to shape {shape}, it needs [height, width, channels], channels last"
        )
    pooled = walk.add(layer, average(shape[0], shape[1], shape[2], (1, 1)), inputs)
    return (
        pooled if layer.config.get("keepdims") else walk.add(layer, Flatten(), [pooled], ".flatten")
    )


def _batch_normalization(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config, shape = layer.config, walk.shape(inputs[0])
    channels = shape[-1]
    _check_last_axis(walk, layer, shape)
    names = [
        name
        for name, used in (
            ("gamma", config.get("scale", True)),
            ("beta", config.get("center", True)),
        )
        if used
    ]
    names += ["moving_mean", "moving_variance"]
    found = {
        name: walk.variable(layer, place, index, (name,), (channels,)).astype(np.float64)
        for index, name in enumerate(names)
    }
    scale = found.get("gamma", np.ones(channels)) / np.sqrt(
        found["moving_variance"] + float(config["epsilon"])
    )
    return walk.add(
        layer,
        affine(
            scale, found.get("beta", np.zeros(channels)) - found["moving_mean"] * scale, channels
        ),
        inputs,
    )


def _normalization(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config, shape = layer.config, walk.shape(inputs[0])
    if config.get("invert") or (config.get("axis") is None and config.get("mean") is None):
        raise walk.unsupported(layer, "with invert=True or axis=None cannot be carried over")
    if config.get("axis") is not None:
        _check_last_axis(walk, layer, shape)
    if config.get("mean") is not None:
        mean, variance = (
            np.ravel(np.asarray(config[key], np.float64)) for key in ("mean", "variance")
        )
    else:
        mean, variance = (
            walk.variable(layer, place, index, (name,), (shape[-1],)).astype(np.float64)
            for index, name in enumerate(("mean", "variance"))
        )
    scale = 1 / np.maximum(np.sqrt(variance), NORMALIZATION_EPSILON)
    return walk.add(layer, affine(scale, -mean * scale, shape[-1]), inputs)


def _check_last_axis(walk: Walk, layer: LayerSpec, shape: tuple[int, ...]) -> None:
    axis = layer.config.get("axis", -1)
    axes = [axis] if isinstance(axis, int) else list(axis)
    if axes not in ([-1], [len(shape)]):
        raise walk.unsupported(layer, f"works along axis {axis}, only the last one is carried over")


def _rescaling(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    scale, offset = (
        np.ravel(np.asarray(layer.config.get(key, default), np.float64))
        for key, default in (("scale", 1), ("offset", 0))
    )
    return walk.add(layer, affine(scale, offset, walk.shape(inputs[0])[-1]), inputs)


def _activation(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    return walk.activation(layer, layer.config["activation"], inputs[0], suffix=False)


def _relu(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config = layer.config
    slope, threshold, maximum = (
        config.get(key) for key in ("negative_slope", "threshold", "max_value")
    )
    if slope or threshold or maximum not in (None, 6):
        raise walk.unsupported(
            layer,
            f"has slope {slope}, threshold {threshold}, maximum {maximum}: carried over are "
            "0, 0 and none or 6",
        )
    return walk.add(layer, Activation("relu" if maximum is None else "relu6"), inputs)


def _elu(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    if layer.config.get("alpha", 1) != 1:
        raise walk.unsupported(layer, f"has alpha {layer.config['alpha']}, only 1 is carried over")
    return walk.add(layer, Activation("elu"), inputs)


def _softmax(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    if layer.config.get("axis", -1) not in (-1, len(walk.shape(inputs[0]))):
        raise walk.unsupported(
            layer, f"works along axis {layer.config['axis']}, only the last one is carried over"
        )
    return walk.add(layer, Head("softmax"), inputs)


def _flatten(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    if layer.config.get("data_format") not in (None, "channels_last"):
        raise walk.unsupported(layer, "with channels_first cannot be carried over")
    return inputs[0] if len(walk.shape(inputs[0])) == 1 else walk.add(layer, Flatten(), inputs)


def _reshape(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape, target = walk.shape(inputs[0]), tuple(layer.config["target_shape"])
    if target == shape:
        return inputs[0]
    if target in ((-1,), (int(np.prod(shape)),)):
        return _flatten(walk, layer, inputs, place)
    raise walk.unsupported(
        layer, f"turns shape {shape} into {target}, only flattening is carried over"
    )


def _concatenate(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    _check_last_axis(walk, layer, walk.shape(inputs[0]))
    return walk.add(layer, Concat(), inputs) if len(inputs) > 1 else inputs[0]


def _nothing(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    """Dropout and noise act in training only; casts and Identity change nothing here."""
    return inputs[0]


def _function(function: Function) -> Callable[[Walk, LayerSpec, list[str], str], str]:
    return lambda walk, layer, inputs, place: walk.add(layer, Activation(function), inputs)


LAYERS: dict[str, Callable[[Walk, LayerSpec, list[str], str], str]] = {
    "Activation": _activation,
    "AveragePooling2D": _average_pooling,
    "BatchNormalization": _batch_normalization,
    "Cast": _nothing,
    "Concatenate": _concatenate,
    "Conv2D": _conv2d,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise_conv2d,
    "Dropout": _nothing,
    "ELU": _elu,
    "Elu": _elu,
    "Flatten": _flatten,
    "GaussianDropout": _nothing,
    "GaussianNoise": _nothing,
    "GlobalAveragePooling2D": _global_average_pooling,
    "Identity": _nothing,
    "MaxPooling2D": _max_pooling,
    "Normalization": _normalization,
    "ReLU": _relu,
    "Relu": _function("relu"),
    "Relu6": _function("relu6"),
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Sigmoid": _function("sigmoid"),
    "Softmax": _softmax,
    "SpatialDropout2D": _nothing,
    "Tanh": _function("tanh"),
}

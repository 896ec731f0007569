"""What each Keras layer means, by its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import (
    Activation,
    Add,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Function,
    MaxPool2D,
    Padding,
)
from quarl.importers.draft import Head, Linear, affine, average, same_padding
from quarl.importers.keras.arithmetic import UNARY, clip
from quarl.importers.keras.description import LayerSpec
from quarl.importers.keras.walk import Meanings, Walk
from quarl.importers.keras.windows import WINDOWS, dense_rows, flattened
from quarl.importers.normalisation import Normalisation, normalised

NORMALIZATION_EPSILON = (
    1e-7  # keras.config.epsilon(), the floor of the standard deviation in Normalization
)


def _dense(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape, units = walk.shape(inputs[0]), int(layer.config["units"])
    if len(shape) == 2:
        return dense_rows(walk, layer, inputs, place)
    if len(shape) != 1:
        raise walk.unsupported(
            layer,
            f"is applied to shape {shape}, only vectors and windows are carried over (put a "
            "Flatten before it)",
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


def _layer_normalization(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config, shape = layer.config, walk.shape(inputs[0])
    _check_last_axis(walk, layer, shape)
    if len(shape) != 1:
        raise walk.unsupported(layer, f"is applied to shape {shape}, one vector is carried over")
    is_rms = layer.kind == "RMSNormalization"
    names = ["scale"] if is_rms else ["gamma"] * bool(config.get("scale", True))
    names += ["beta"] * (not is_rms and bool(config.get("center", True)))
    found = {
        name: walk.variable(layer, place, index, (name,), shape).astype(np.float64)
        for index, name in enumerate(names)
    }
    count = shape[0]
    how = Normalisation(
        found.get("scale", found.get("gamma", np.ones(count))),
        found.get("beta", np.zeros(count)),
        float(config["epsilon"]),
        is_centred=not (is_rms or config.get("rms_scaling")),
    )
    return normalised(lambda op, names, suffix: walk.add(layer, op, names, suffix), inputs[0], how)


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
    """max(x, t) below a maximum, and slope * (x - t) below the threshold t."""
    config = layer.config
    slope, threshold = (float(config.get(key) or 0) for key in ("negative_slope", "threshold"))
    maximum = config.get("max_value")
    if threshold == 0 and slope == 0:
        return clip(walk, layer, inputs[0], 0, np.inf if maximum is None else float(maximum))
    if threshold != 0:
        raise walk.unsupported(
            layer, f"has the threshold {threshold}, where it jumps: only 0 is carried over"
        )
    function = f"leaky_relu({slope!r})"
    top = walk.add(layer, Activation(function), inputs)
    return top if maximum is None else clip(walk, layer, top, -np.inf, float(maximum))


def _leaky_relu(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config = layer.config
    slope = config.get("negative_slope", config.get("alpha", 0.2 if layer.is_operation else 0.3))
    return walk.add(layer, Activation(f"leaky_relu({float(slope)!r})"), inputs)


def _prelu(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    """relu(x) - slope * relu(-x), a slope per channel."""
    shape = walk.builder.shapes[inputs[0]]
    shared = [int(axis) - 1 for axis in layer.config.get("shared_axes") or ()]
    lengths = tuple(1 if axis in shared else length for axis, length in enumerate(shape))
    slopes = walk.variable(layer, place, 0, ("alpha",), lengths)
    if slopes.size not in (1, shape[-1]):
        raise walk.unsupported(
            layer, f"has slopes of shape {lengths}, one per channel is carried over: shared_axes"
        )
    count, slope = shape[-1], slopes.reshape(-1).astype(np.float64)
    if slope.size == 1 or (slope == slope[0]).all():
        return walk.add(layer, Activation(f"leaky_relu({float(slope[0])!r})"), inputs)
    up = walk.add(layer, Activation("relu"), inputs, ".up")
    turned = walk.add(layer, affine(-1, 0, count), inputs, ".turned")
    down = walk.add(layer, Activation("relu"), [turned], ".down")
    below = walk.add(layer, affine(-slope, 0, count), [down], ".below")
    return walk.add(layer, Add(), [up, below])


def _elu(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    alpha = float(layer.config.get("alpha", 1))
    return walk.add(layer, Activation("elu" if alpha == 1 else f"elu({alpha!r})"), inputs)


def _celu(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    return walk.add(layer, Activation(f"celu({float(layer.config.get('alpha', 1))!r})"), inputs)


def _gelu(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    is_tanh = bool(layer.config.get("approximate", True))
    return walk.add(layer, Activation("gelu_tanh" if is_tanh else "gelu"), inputs)


def _clip(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    low, high = (layer.config.get(key) for key in ("x_min", "x_max"))
    return clip(
        walk,
        layer,
        inputs[0],
        -np.inf if low is None else float(low),
        np.inf if high is None else float(high),
    )


def _mean(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape, axis = walk.shape(inputs[0]), layer.config.get("axis")
    axes = [axis] if isinstance(axis, int) else list(axis or ())
    if len(shape) != 1 or axes not in ([-1], [1]) or not layer.config.get("keepdims"):
        raise walk.unsupported(
            layer, f"averages axes {axes} of {shape}, carried over is the last one with keepdims"
        )
    return walk.add(layer, Linear(np.full((1, shape[0]), 1 / shape[0]), np.zeros(1)), inputs)


def _average(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    total = inputs[0]
    for number, value in enumerate(inputs[1:]):
        total = walk.add(layer, Add(), [total, value], f".sum{number}")
    count = walk.builder.shapes[total][-1]
    return walk.add(layer, affine(1 / len(inputs), 0, count), [total])


def _softmax(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    if layer.config.get("axis", -1) not in (-1, len(walk.shape(inputs[0]))):
        raise walk.unsupported(
            layer, f"works along axis {layer.config['axis']}, only the last one is carried over"
        )
    return walk.add(layer, Head("softmax"), inputs)


def _flatten(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    if layer.config.get("data_format") not in (None, "channels_last"):
        raise walk.unsupported(layer, "with channels_first cannot be carried over")
    match len(walk.shape(inputs[0])):
        case 1:
            return inputs[0]
        case 2:
            return flattened(walk, layer, inputs[0])
    return walk.add(layer, Flatten(), inputs)


def _reshape(walk: Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape, target = walk.shape(inputs[0]), tuple(layer.config["target_shape"])
    if target == shape:
        return inputs[0]
    if target in ((-1,), (int(np.prod(shape)),)):
        return _flatten(walk, layer, inputs, place)
    if len(shape) < 3 and len(target) == 2 and np.prod(target) == np.prod(shape):
        made = flattened(walk, layer, inputs[0])
        walk.windows[made] = target
        return made
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


LAYERS: Meanings = {
    **WINDOWS,
    **{name: _function(function) for name, function in UNARY.items()},
    "Activation": _activation,
    "Average": _average,
    "Celu": _celu,
    "Clip": _clip,
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
    "Gelu": _gelu,
    "LeakyReLU": _leaky_relu,
    "LeakyRelu": _leaky_relu,
    "Mean": _mean,
    "GaussianDropout": _nothing,
    "GaussianNoise": _nothing,
    "GlobalAveragePooling2D": _global_average_pooling,
    "Identity": _nothing,
    "LayerNormalization": _layer_normalization,
    "MaxPooling2D": _max_pooling,
    "Normalization": _normalization,
    "PReLU": _prelu,
    "RMSNormalization": _layer_normalization,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "SpatialDropout1D": _nothing,
    "SpatialDropout2D": _nothing,
}

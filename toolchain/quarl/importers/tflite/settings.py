"""What the options of a `.tflite` operator say, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]


def names_of(members: type) -> dict[int, str]:
    """Return number -> name of one of the schema's enumerations."""
    return {value: name for name, value in vars(members).items() if isinstance(value, int)}


_FUSED = names_of(schema.ActivationFunctionType)
_PADDINGS = names_of(schema.Padding)


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator's options say; for those it has not, the value that changes nothing."""

    fused: str = "NONE"
    padding: str = "VALID"
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    depth_multiplier: int = 1
    axis: int = -1
    beta: float = 1.0  # of a softmax; the slope of a leaky ReLU
    kernel: tuple[int, int] = (1, 1)  # of a pooling
    keeps_axes: bool = False  # of a reduction
    is_approximate: bool = False  # of a GELU: with tanh
    # of a strided slice: begins, ends that are open, ellipses, new and dropped axes
    mask: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    is_packed: bool = False  # weights in an order of their own


def _fully_connected(options: Any) -> Settings:
    return Settings(
        fused=_fused(options),
        is_packed=options.WeightsFormat() != schema.FullyConnectedOptionsWeightsFormat.DEFAULT,
    )


def _convolution(options: Any) -> Settings:
    return Settings(
        fused=_fused(options),
        padding=_PADDINGS.get(options.Padding(), f"padding {options.Padding()}"),
        stride=(int(options.StrideH()), int(options.StrideW())),
        dilation=(int(options.DilationHFactor()), int(options.DilationWFactor())),
        depth_multiplier=int(options.DepthMultiplier())
        if hasattr(options, "DepthMultiplier")
        else 1,
    )


def _pooling(options: Any) -> Settings:
    return Settings(
        fused=_fused(options),
        padding=_PADDINGS.get(options.Padding(), f"padding {options.Padding()}"),
        stride=(int(options.StrideH()), int(options.StrideW())),
        kernel=(int(options.FilterHeight()), int(options.FilterWidth())),
    )


def _reduction(options: Any) -> Settings:
    return Settings(keeps_axes=bool(options.KeepDims()))


def _concatenation(options: Any) -> Settings:
    return Settings(fused=_fused(options), axis=int(options.Axis()))


def _add(options: Any) -> Settings:
    return Settings(fused=_fused(options))


def _softmax(options: Any) -> Settings:
    return Settings(beta=float(options.Beta()))


def _leaky_relu(options: Any) -> Settings:
    return Settings(beta=float(options.Alpha()))


def _gelu(options: Any) -> Settings:
    return Settings(is_approximate=bool(options.Approximate()))


def _strided_slice(options: Any) -> Settings:
    return Settings(
        mask=(
            int(options.BeginMask()),
            int(options.EndMask()),
            int(options.EllipsisMask()),
            int(options.NewAxisMask()),
            int(options.ShrinkAxisMask()),
        )
    )


def _fused(options: Any) -> str:
    code = options.FusedActivationFunction()
    return _FUSED.get(code, f"function {code}")


OPTIONS: Mapping[str, tuple[str, Callable[[Any], Settings]]] = {
    "FULLY_CONNECTED": ("FullyConnectedOptions", _fully_connected),
    "CONV_2D": ("Conv2DOptions", _convolution),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", _convolution),
    "CONCATENATION": ("ConcatenationOptions", _concatenation),
    "ADD": ("AddOptions", _add),
    "AVERAGE_POOL_2D": ("Pool2DOptions", _pooling),
    "MAX_POOL_2D": ("Pool2DOptions", _pooling),
    "DIV": ("DivOptions", _add),
    "GELU": ("GeluOptions", _gelu),
    "LEAKY_RELU": ("LeakyReluOptions", _leaky_relu),
    "MEAN": ("ReducerOptions", _reduction),
    "MUL": ("MulOptions", _add),
    "STRIDED_SLICE": ("StridedSliceOptions", _strided_slice),
    "SUB": ("SubOptions", _add),
    "SUM": ("ReducerOptions", _reduction),
    "SOFTMAX": ("SoftmaxOptions", _softmax),
}

"""Layers that compute in the integers of decision 0001 and can still be trained.

An integer is held in float32, which is exact below 2^24. Gradients pass straight through rounding
(Bengio et al., arXiv 1308.3432); step sizes are parameters (LSQ, Esser et al., arXiv 1902.08153),
on a log scale, so that they stay positive and one rate fits all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quarl.graph.functions import Call, Expression, expanded, parse
from quarl.graph.policy import Dense, DepthwiseConv2D, Function, Weighted
from quarl.graph.quant_policy import EXACT_FLOAT_BOUND, QuantTensor, QuantWeighted
from quarl.quantize.quantizer import function_table
from quarl.quantize.weight_rounding import least_error_share, weight_scales
from quarl.quantize.widths import largest_weight


class _Rounding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()  # half even

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _ScaledRounding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, low: float, high: float) -> Tensor:
        integers = (x * factor).round_()
        made = integers.clamp(low, high)
        ctx.save_for_backward(x, factor, made != integers)
        return made

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, factor, is_clamped = ctx.saved_tensors
        inside = gradient.masked_fill(is_clamped, 0)
        of_factor = (inside * x).sum_to_size(factor.shape)
        return inside.mul_(factor), of_factor, None, None


class _Replacing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, smooth: Tensor, exact: Tensor) -> Tensor:
        return exact

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def rounded(x: Tensor) -> Tensor:
    """Return x rounded half even; the gradient is that of x."""
    if not x.requires_grad:
        return x.round()
    result: Tensor = _Rounding.apply(x)  # type: ignore[no-untyped-call]
    return result


def scaled_integers(x: Tensor, factor: Tensor, low: float, high: float) -> Tensor:
    """Return x * factor, rounded half even and clamped; the gradient is that of x * factor, and 0
    where it was clamped.

    One function instead of four: millions of weights are then read half as often.
    """
    result: Tensor = _ScaledRounding.apply(x, factor, low, high)  # type: ignore[no-untyped-call]
    return result


class Scale(nn.Module):
    """A step size of activations, shared by all tensors that a concat, add or copy joins."""

    start: Tensor

    def __init__(self, start: np.float32, *, is_learned: bool) -> None:
        super().__init__()
        self.register_buffer("start", torch.tensor(float(start)))
        self.log = nn.Parameter(torch.zeros(()), requires_grad=is_learned)

    def forward(self) -> Tensor:
        """Return the step, a float32 scalar."""
        return self.start * self.log.exp()

    @torch.no_grad()
    def start_from(self, step: np.float32) -> None:
        """Start from this step instead."""
        self.start.fill_(float(step))
        self.log.zero_()

    def of(self, tensor: QuantTensor) -> QuantTensor:
        """Return the tensor with the step as it stands."""
        return replace(tensor, scale=np.float32(self().item()))


class Constants(NamedTuple):
    """What a layer computes with while its parameters stand still."""

    weights: Tensor  # integers [out, in]
    bias: Tensor  # integers [out]
    multiplier: Tensor  # [out]


Clamp = tuple[int, int]
"""The least and the largest offset of a tensor."""


class FakeLayer(nn.Module):
    """A dense, convolution or depthwise layer on offsets (q - zero_point) in NHWC.

    Weights are learned in units of their row's largest and biases in quarters of the layer's range:
    one learning rate then fits every layer and width.
    """

    peak: Tensor
    start: Tensor
    bias_unit: Tensor

    def __init__(self, op: Weighted, bits: int, in_scale: np.float32, spread: float) -> None:
        super().__init__()
        self.op, self.bits, self.most = op, bits, largest_weight(bits)
        rows = op.weights.reshape(len(op.weights), -1).astype(np.float64)
        share = least_error_share(rows, self.most)[:, None] if bits < 8 else np.float64(1)
        step = weight_scales(
            rows * share, op.bias.astype(np.float64), in_scale, EXACT_FLOAT_BOUND, self.most
        )
        # a dead row learns in steps of its own size
        peak = np.maximum(np.abs(rows).max(axis=1), step.astype(np.float64))
        self.register_buffer("peak", torch.tensor(peak, dtype=torch.float32)[:, None])
        self.register_buffer("start", torch.from_numpy(step.copy()))
        self.register_buffer("bias_unit", torch.tensor(spread, dtype=torch.float32))
        self.weight = nn.Parameter(torch.tensor(rows / peak[:, None], dtype=torch.float32))
        self.bias = nn.Parameter(torch.tensor(op.bias / spread, dtype=torch.float32))
        self.log = nn.Parameter(torch.zeros(len(rows)))

    def integers(self, in_scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights [out, in], biases [out] and weight steps [out] as the artifact holds
        them.
        """
        step = self.start * self.log.exp()
        weights = scaled_integers(self.weight, self.peak / step[:, None], -self.most, self.most)
        bias = rounded(self.bias * self.bias_unit / (in_scale * step))
        return weights, bias, step

    def constants(self, in_scale: Tensor, out_scale: Tensor) -> Constants:
        """Return what the layer computes with, for these steps."""
        weights, bias, step = self.integers(in_scale)
        return Constants(weights, bias, (in_scale * step) / out_scale)

    def forward(self, x: Tensor, constants: Constants, clamp: Clamp | None) -> Tensor:
        """Return accumulators times multipliers [n, ..., out], rounded and clamped; without a clamp
        they are not rounded either.
        """
        sums = self._accumulate(x, constants.weights, constants.bias)
        if clamp is None:
            return sums * constants.multiplier
        return scaled_integers(sums, constants.multiplier, *clamp)

    def _accumulate(self, x: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
        op = self.op
        if isinstance(op, Dense):
            return torch.addmm(bias, x, weights.T)
        (top, bottom), (left, right) = op.padding
        if top or bottom or left or right:
            x = nn.functional.pad(x, (0, 0, left, right, top, bottom))
        kernels = weights.reshape(op.weights.shape)
        is_depthwise = isinstance(op, DepthwiseConv2D)
        kernels = kernels[:, None] if is_depthwise else kernels.permute(0, 3, 1, 2)
        groups = len(op.weights) if is_depthwise else 1
        image = x.permute(0, 3, 1, 2)
        return nn.functional.conv2d(image, kernels, bias, op.stride, groups=groups).permute(
            0, 2, 3, 1
        )

    @torch.no_grad()
    def start_from(self, op: QuantWeighted, in_scale: float) -> None:
        """Start from the weights, biases and steps of fitted integers."""
        step = op.weight_scale.astype(np.float64)
        rows = op.weights.reshape(len(step), -1) * step[:, None]
        self.weight.copy_(torch.from_numpy(rows) / self.peak.double())
        self.bias.copy_(torch.from_numpy(op.bias * in_scale * step) / self.bias_unit)
        self.start.copy_(torch.from_numpy(step))
        self.log.zero_()

    @torch.no_grad()
    def real(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the latent float weights, in the shape of the operation, and biases."""
        weights = (self.weight * self.peak).numpy().reshape(self.op.weights.shape)
        return weights, (self.bias * self.bias_unit).numpy()


class FakeTable(nn.Module):
    """An elementwise function as the table of every input integer, made from the steps as they
    stand.
    """

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, source: QuantTensor, target: QuantTensor, scales: Any) -> Tensor:
        """Return the offsets of `target` for offsets x of `source`; the gradient is the
        function's.

        Args:
            scales: the steps of both, as tensors.
        """
        in_scale, out_scale = scales
        exact = look_up(self.entries(source, target), x, source)
        smooth = _smooth(self.function, x * in_scale) / out_scale
        replaced: Tensor = _Replacing.apply(smooth, exact)  # type: ignore[no-untyped-call]
        return replaced

    def entries(self, source: QuantTensor, target: QuantTensor) -> Tensor:
        """Return the table as offsets of `target`."""
        table = function_table(self.function, source, target).table.astype(np.float32)
        return torch.from_numpy(table - np.float32(target.zero_point))


OPERATORS: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "div": torch.div,
    "expm1": torch.expm1,
    "max": torch.maximum,
    "min": torch.minimum,
    "mul": torch.mul,
    "neg": torch.neg,
    "pow": torch.pow,
    "sub": torch.sub,
    "relu6": nn.functional.relu6,
    "elu": nn.functional.elu,
    "softplus": nn.functional.softplus,
}


def look_up(entries: Tensor, x: Tensor, source: QuantTensor) -> Tensor:
    """Return the entries for offsets x of `source`."""
    return entries[x.detach().long() + (source.zero_point - source.qmin)]


def _smooth(function: Function, x: Tensor) -> Tensor:
    return _evaluated(expanded(parse(function)), x)


def _evaluated(expression: Expression, x: Tensor) -> Tensor:
    if not isinstance(expression, Call):
        return x if isinstance(expression, str) else torch.full_like(x, expression)
    parts = [_evaluated(part, x) for part in expression.arguments]
    operator = OPERATORS.get(expression.name) or getattr(torch, expression.name)
    result: Tensor = operator(*parts)
    return result

"""Filling a block: the learner's float32 weights, in place, in the precision of the actors.

In: weights and the running ranges of observations and activations. Out: the bytes that are sent.
The integers are those of a `QuantPolicy` with one scale per observation feature, weights rounded to
the nearest, and a wide head (or a table for a squashed action). There is no calibration pass: the
ranges come from the learner's own batches.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.block import (
    CLAMP,
    REAL,
    TANH,
    Block,
    NetShape,
    Precision,
    header_of,
    layers_of,
    new_block,
    part,
    seal,
)
from quarl.graph.quant_policy import EXACT_FLOAT_BOUND, PRODUCT_BOUND, QuantTensor
from quarl.graph.rescale import rescale_factor
from quarl.quantize.layer_fit import NARROW_BIAS_BOUND
from quarl.quantize.qparams import function_tensor
from quarl.quantize.quantizer import function_table
from quarl.quantize.weight_rounding import WEIGHT_MAX, channel_steps

Layers: TypeAlias = Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Weights [out, in] and bias [out] of each layer, contiguous."""

DECAY = 0.99  # a range shrinks by 1 % a refresh where nothing holds it open; growth is immediate
SMALLEST_RANGE = 1e-6
TANH_REACH = 3.5  # beyond it tanh is within half an output step of 1
WIDE_SHARE = 7 / 8  # of 2^24 that a wide head's sums may take, beside its bias


@dataclass(frozen=True, slots=True)
class Ranges:
    """What the learner has seen: ranges of the observations, and the largest size of each layer's
    results before its function, the head's too where it is squashed.
    """

    low: NDArray[np.float64]  # [obs_len]
    high: NDArray[np.float64]
    peaks: NDArray[np.float64]  # [layers]

    @staticmethod
    def of(obs: NDArray[np.float32], peaks: Sequence[float]) -> Ranges:
        """Return the ranges of one batch of observations [n, obs_len]."""
        low, high = obs.min(axis=0).astype(np.float64), obs.max(axis=0).astype(np.float64)
        return Ranges(low, high, np.array(peaks, np.float64))

    def widened(self, batch: Ranges) -> Ranges:
        """Return these ranges, a little narrower, widened to those of a newer batch."""
        middle = (self.low + self.high) / 2
        return Ranges(
            np.minimum(batch.low, middle + DECAY * (self.low - middle)),
            np.maximum(batch.high, middle + DECAY * (self.high - middle)),
            np.maximum(batch.peaks, DECAY * self.peaks),
        )


class Filler:
    """Fills one block again and again; the block of a call is overwritten by the next."""

    def __init__(
        self, kernel: ctypes.CDLL, shape: NetShape, precision: Precision, *, centered: bool
    ) -> None:
        self._kernel, self._shape, self._precision = kernel, shape, precision
        self._centered = centered and not shape.squashed  # argmax heads: the mean row tells nothing
        self._block = new_block(shape, precision)

    def fill(self, layers: Layers, ranges: Ranges, version: int, learner_step: int) -> Block:
        """Return the block of these weights, sealed.

        Raises:
            ValueError: weights that are not finite: the training diverged.
        """
        if self._centered:
            weights, bias = layers[-1]
            head = np.ascontiguousarray(weights - weights.mean(axis=0)), bias - bias.mean()
            layers = (*layers[:-1], head)
        if self._precision == "int8":
            self._fill_int8(layers, ranges)
        else:
            self._fill_float(layers)
        seal(self._block, version, learner_step)
        return self._block

    def _fill_float(self, layers: Layers) -> None:
        for index, (weights, bias) in enumerate(layers):
            row = layers_of(self._block)[index]
            self._kernel.ql_actor_pack_float(self._block.ctypes.data, index, weights.ctypes.data)
            part(self._block, int(row["bias"]), np.float32, len(bias))[:] = bias

    def _fill_int8(self, layers: Layers, ranges: Ranges) -> None:
        header = header_of(self._block)[0]
        inv_scale, zero_point = _observation(ranges)
        count = len(inv_scale)
        part(self._block, int(header["inv_scale"]), np.float32, count)[:] = inv_scale
        part(self._block, int(header["zero_point"]), np.int32, count)[:] = zero_point
        step = 1 / inv_scale.astype(np.float64)  # of each feature, folded into the first layer
        weights, bias = layers[0]
        first = (weights * step).astype(np.float32)
        wide = bias.astype(np.float64) - first.astype(np.float64) @ zero_point
        tensor = QuantTensor(np.float32(1), 0)
        for index in range(len(layers)):
            if index:
                first, wide = layers[index][0], layers[index][1].astype(np.float64)
            tensor = self._fill_layer(index, first, wide, tensor, float(ranges.peaks[index]))

    def _fill_layer(
        self,
        index: int,
        weights: NDArray[np.float32],
        bias: NDArray[np.float64],
        tensor: QuantTensor,
        peak: float,
    ) -> QuantTensor:
        """Write one layer and return the tensor it makes."""
        row = layers_of(self._block)[index]
        count = len(bias)
        sizes, totals = np.empty(count, np.float32), np.empty(count, np.float32)
        self._kernel.ql_actor_row_sizes(
            *(weights.ctypes.data, *weights.shape, sizes.ctypes.data, totals.ctypes.data)
        )
        sums = totals.astype(np.float64)
        if not np.isfinite(sums).all() or not np.isfinite(bias).all():
            raise ValueError(f"layer {index}: a weight is NaN or infinite")
        is_wide = int(row["kind"]) == REAL
        limit = EXACT_FLOAT_BOUND if is_wide else NARROW_BIAS_BOUND
        least = sizes.astype(np.float64) / WEIGHT_MAX
        if is_wide:  # sums stay below 2^24, whatever the integers round to
            room = EXACT_FLOAT_BOUND * WIDE_SHARE / tensor.largest_offset - weights.shape[1] / 2
            least = np.maximum(least, sums / room)
        steps = channel_steps(least, bias, tensor.scale, limit)
        reach = (sums * tensor.largest_offset * np.float64(tensor.scale) + np.abs(bias)).max()
        made = _sum_tensor(int(row["kind"]), peak, float(reach))
        part(self._block, int(row["step"]), np.float32, count)[:] = steps
        multiplier = part(self._block, int(row["multiplier"]), np.float32, count)
        multiplier[:] = rescale_factor(tensor.scale, steps, made.scale)
        unit = np.float64(tensor.scale) * steps.astype(np.float64)
        whole = np.rint(bias / unit).astype(np.int32)
        self._kernel.ql_actor_pack_int8(
            *(self._block.ctypes.data, index, weights.ctypes.data, whole.ctypes.data),
            tensor.zero_point,
        )
        row["zero_point"], row["qmin"], row["qmax"] = made.zero_point, made.qmin, made.qmax
        row["sum_scale"] = made.scale
        if int(row["kind"]) == TANH:
            output = function_tensor("tanh", -1.0, 1.0, 8)
            table = function_table("tanh", made, output).table
            part(self._block, int(row["table"]), np.uint8, 256)[:] = table + 128
            made = output
        row["out_scale"], row["out_zero_point"] = made.scale, made.zero_point
        return made


def _observation(ranges: Ranges) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return 1 / scale and zero point of each feature: its range's middle becomes that of the
    integers, -0.5.
    """
    middle, width = (ranges.low + ranges.high) / 2, ranges.high - ranges.low
    # float32 tells no steps finer than this apart so far from zero
    width = np.maximum(width, np.maximum(SMALLEST_RANGE, np.abs(middle) * 2.0**-13))
    inv_scale = (255 / width).astype(np.float32)
    zero_point = np.rint(-0.5 - middle * inv_scale.astype(np.float64)).astype(np.int32)
    return inv_scale, zero_point


def _sum_tensor(kind: int, peak: float, reach: float) -> QuantTensor:
    """Return the tensor of a layer's sums: what they can reach stays below the arithmetic's
    limit.
    """
    if kind == REAL:
        return QuantTensor(np.float32(1), 0)
    least = max(reach / (PRODUCT_BOUND / 4), SMALLEST_RANGE / 255)
    if kind == CLAMP:
        return QuantTensor(np.float32(max(peak / 255, least)), -128)
    return QuantTensor(np.float32(max(min(peak, TANH_REACH) / 127, least)), 0)

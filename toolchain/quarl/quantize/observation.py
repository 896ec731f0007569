"""How raw observations become integers, and what the first layers then read.

In: a policy's units and its calibration. Out: the observation quantiser, and units with the scales
and the normaliser folded in, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import UnsupportedError
from quarl.graph.contract import Observation
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import INT8_MIN, ObservationQuantizer, QuantTensor
from quarl.quantize.bit_widths import fits_wide
from quarl.quantize.calibration import Calibration
from quarl.quantize.qparams import LARGEST, spanning_tensor
from quarl.quantize.settings import QuantSettings
from quarl.quantize.transforms import Unit, fold_input, input_readers, pictures

# |observation * inv_scale| stays below it, so that float32 holds eighths of a step and zero points
# are exact
FARTHEST_STEP = 2.0**21


def widest_observation(
    policy: Policy,
    units: tuple[Unit, ...],
    calibration: Calibration,
    settings: QuantSettings,
    peak: float | None = None,
) -> tuple[ObservationQuantizer, tuple[Unit, ...]]:
    """Return the observation quantiser with the most bits, up to `input_bits`, that its readers'
    accumulators allow.

    Args:
        peak: the largest number that is joined with the observation, which then shares its scale.
    """
    most = 8 if pictures(units) else settings.input_bits  # a picture has no more
    for bits in range(most, 8, -1):
        observation, folded = observation_quantizer(
            policy, units, calibration, bits, feature_scales=settings.feature_scales, peak=peak
        )
        if observation.is_pixels or all(
            fits_wide(unit, observation.tensor) for unit in input_readers(folded)
        ):
            return observation, folded
    return observation_quantizer(
        policy,
        units,
        calibration,
        min(8, most),
        feature_scales=settings.feature_scales,
        peak=peak,
    )


def observation_quantizer(
    policy: Policy,
    units: tuple[Unit, ...],
    calibration: Calibration,
    bits: int,
    *,
    feature_scales: bool,
    peak: float | None = None,
) -> tuple[ObservationQuantizer, tuple[Unit, ...]]:
    """Return the observation quantiser and the units that read its integers; scales and normaliser
    are folded into both, exactly.

    One exception: of a feature that never moves, so far from zero that float32 hardly tells its
    steps apart, the folded step is kept as small as that of other features; it stands for less than
    the real one, and the weights beside it keep their resolution.
    """
    observation = policy.contract.observation
    if observation.is_image:
        return ObservationQuantizer(
            np.zeros(0, np.float32), np.zeros(0, np.int32), QuantTensor(np.float32(1 / 255), -128)
        ), units
    count = observation.shape[0]
    normalizer = observation.normalizer
    mean = np.zeros(count) if normalizer is None else np.array(normalizer.mean, np.float64)
    std = np.ones(count) if normalizer is None else normalizer.std
    values = (
        calibration.obs.astype(np.float64)
        if normalizer is None
        else normalizer.apply(calibration.obs)
    )
    low, high = values.min(axis=0), values.max(axis=0)
    spans = _Spans(low, high, mean, std, np.inf if normalizer is None else normalizer.clip_obs)
    quantizer, wanted = (spans.one_scale_each if feature_scales else spans.one_scale)(bits)
    for picture in pictures(units):
        quantizer, wanted = _with_picture(quantizer, wanted, picture, normalizer is not None)
    if not feature_scales and normalizer is None:
        return quantizer, units
    if peak is not None:
        quantizer = replace(quantizer, tensor=_shared_tensor(quantizer.tensor, peak))
    inv_scale, zero_point, tensor = quantizer.inv_scale, quantizer.zero_point, quantizer.tensor
    is_still, seen = spans.is_still, spans.middle
    # The layers read tensor.scale * (q - tensor.zero_point). Their weights get each feature's step,
    # their biases what is left at `seen`:
    # what the rounding of zero_point and of inv_scale took.
    real_step = 1 / (inv_scale.astype(np.float64) * std)
    step = np.where(is_still, np.minimum(real_step, wanted), real_step)
    offset = seen - step * (
        (seen * std + mean) * inv_scale.astype(np.float64) + zero_point - tensor.zero_point
    )
    return quantizer, fold_input(units, step / np.float64(tensor.scale), offset)


def _with_picture(
    quantizer: ObservationQuantizer,
    wanted: NDArray[np.float64],
    picture: slice,
    is_normalized: bool,
) -> tuple[ObservationQuantizer, NDArray[np.float64]]:
    """Return the quantiser that takes a picture's bytes as they are, less 128, and the steps.

    Raises:
        UnsupportedError: a normaliser, which would make other numbers of the bytes.
    """
    if is_normalized:
        raise UnsupportedError(
            "the observation is normalised and holds a picture: only pixels as they are can be "
            "read; train with a normaliser of the vectors alone, inside the network"
        )
    inv_scale, zero_point = quantizer.inv_scale.copy(), quantizer.zero_point.copy()
    inv_scale[picture], zero_point[picture], wanted[picture] = 1, INT8_MIN, 1
    tensor = QuantTensor(np.float32(1), INT8_MIN)  # whose zero is black, as a padding is
    return ObservationQuantizer(inv_scale, zero_point, tensor), wanted


def _shared_tensor(tensor: QuantTensor, peak: float) -> QuantTensor:
    """Return the tensor of an observation, scaled so that what it is joined with fits too: its own
    scale is in the weights that read it.
    """
    largest = 1 if peak <= 1 else peak * tensor.largest_offset / tensor.qmax
    return replace(tensor, scale=np.float32(largest / tensor.largest_offset))


@dataclass(frozen=True, slots=True, eq=False)
class _Spans:
    """Where each feature lies, float64 [features] each; a value v stands for v * std + mean of the
    environment.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    limit: float  # |v| is clipped here

    @property
    def is_still(self) -> NDArray[np.bool_]:
        """Whether a feature never moves."""
        still: NDArray[np.bool_] = self.high - self.low < 1e-9 * np.maximum(1, np.abs(self.high))
        return still

    @property
    def middle(self) -> NDArray[np.float64]:
        """The middle of each range."""
        middle: NDArray[np.float64] = (self.low + self.high) / 2
        return middle

    def one_scale_each(self, bits: int) -> tuple[ObservationQuantizer, NDArray[np.float64]]:
        """Return a quantiser with a scale for each feature, and the step of each."""
        margin = np.where(self.is_still, np.maximum(1, 1e-6 * np.abs(self.middle)), 0)
        low = np.maximum(self.low - margin, -self.limit)
        high = np.minimum(self.high + margin, self.limit)
        half = 2 ** (bits - 1)
        wanted = (high - low) / (2 * half - 1)
        inv_scale = self._inverse(wanted)
        middle = ((low + high) / 2 * self.std + self.mean) * inv_scale.astype(np.float64)
        # Where steps cannot be as fine as wanted, integers are left over. An end at which the
        # normaliser clips becomes the last integer, so that the integers clip there too.
        left_over = (2 * half - 1) * (1 - wanted * self.std * inv_scale)
        side = (high == self.limit).astype(np.int32) - (low == -self.limit)
        # The middle of the range becomes that of the integers, -0.5, but for that.
        zero_point = np.rint(-0.5 - middle + side * left_over / 2).astype(np.int32)
        tensor = QuantTensor(np.float32(1), 0, -half, half - 1)
        return ObservationQuantizer(inv_scale, zero_point, tensor), wanted

    def one_scale(self, bits: int) -> tuple[ObservationQuantizer, NDArray[np.float64]]:
        """Return a quantiser with one scale for all, and the step of each feature."""
        tensor = spanning_tensor(float(self.low.min()), float(self.high.max()), bits)
        wanted = np.full(len(self.low), np.float64(tensor.scale))
        inv_scale = self._inverse(wanted)
        zero_point = np.rint(-self.mean * inv_scale.astype(np.float64)).astype(np.int32)
        quantizer = ObservationQuantizer(
            inv_scale, zero_point + np.int32(tensor.zero_point), tensor
        )
        return quantizer, wanted

    def _inverse(self, wanted: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return float32 [features]: the steps in a unit of the environment."""
        ends = (self.low * self.std + self.mean, self.high * self.std + self.mean)
        largest = np.maximum(np.abs(ends[0]), np.abs(ends[1]))
        finest = FARTHEST_STEP / np.maximum(largest, FARTHEST_STEP / LARGEST)
        return np.minimum(1 / (wanted * self.std), finest).astype(np.float32)


def real_input(
    observation: Observation, graph_obs: NDArray[Any], quantizer: ObservationQuantizer
) -> NDArray[Any]:
    """Return what the folded float units read: pixels / 255, or the unrounded, unclamped values the
    integers stand for.
    """
    if observation.is_image:
        return graph_obs.astype(np.float32) / np.float32(255)
    tensor = quantizer.tensor
    steps = (
        graph_obs.astype(np.float64) * quantizer.inv_scale
        + quantizer.zero_point
        - tensor.zero_point
    )
    normalizer = observation.normalizer
    if normalizer is not None:  # the normaliser's clip, in steps
        limit = np.array([normalizer.clip_obs]) * normalizer.std
        mean = np.array(normalizer.mean, np.float64)
        low, high = (
            (mean + side) * quantizer.inv_scale + quantizer.zero_point - tensor.zero_point
            for side in (-limit, limit)
        )
        steps = np.clip(steps, low, high)
    return steps * np.float64(tensor.scale)
